"""Model folder and dataset -> the format of the model and the prompts of every split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsallis_run.config import ModelConfig, RunConfig
from tsallis_run.data import ids_hash, load_splits
from tsallis_run.prompts import ChatFormat, build_prompts, chat_format, check_lengths, longest_sequence_tokens
from tsallis_run.types import Example, Prompt, RationaleEnd, UserError

NO_LIMIT_TOKENS = 2**31
"""Of a model that states none."""


@dataclass(frozen=True)
class Inputs:
    """Everything that is asked, as the model reads it."""

    model_folder: Path
    format: ChatFormat
    train: tuple[Prompt, ...]
    validation: tuple[Prompt, ...]
    test: tuple[Prompt, ...]
    dropped: dict[str, int]
    """Reason -> number of rows left out."""
    max_length_tokens: int
    """Room for the longest sequence of the run."""

    @property
    def ids_hash(self) -> str:
        """Which examples they are, as a hash."""
        return ids_hash([prompt.example for prompt in (*self.train, *self.validation, *self.test)])


def read_inputs(config: RunConfig, model_folder: Path) -> Inputs:
    """Loads the dataset and turns every example into a prompt.

    Raises:
        UserError: for rows, splits or prompts that the run cannot use.
    """
    format = chat_format(model_folder, config.model)
    splits = load_splits(config.dataset, seed=config.seed)
    dropped = dict(splits.dropped)

    def prompts(name: str, examples: tuple[Example, ...]) -> tuple[Prompt, ...]:
        kept, num_long = build_prompts(examples, format, config)
        if num_long:
            dropped[f"{name}: longer than max_prompt_tokens"] = num_long
        if not kept:
            raise UserError(
                f"dataset.max_prompt_tokens: must leave prompts in the {name} split, "
                f"got {config.dataset.max_prompt_tokens}, which leaves none of {len(examples)}; raise it"
            )
        return kept

    train, validation = prompts("train", splits.train), prompts("validation", splits.validation)
    test = prompts("test", splits.test)
    everything = (*train, *validation, *test)
    architecture = _architecture(model_folder, config.model)
    _check_vocabulary(everything, format, architecture)
    limit = int(getattr(architecture, "max_position_embeddings", None) or NO_LIMIT_TOKENS)
    check_lengths(everything, format, config, limit)
    length = longest_sequence_tokens(everything, format, config)
    return Inputs(model_folder, format, train, validation, test, dropped, length)


def _architecture(folder: Path, config: ModelConfig) -> Any:
    """The model's own configuration."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=config.trust_remote_code)
    except Exception as error:  # a broken folder raises whatever its reader happens to meet
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"model.path: must hold a model's config.json, got {str(folder)!r}: {reason}") from None


def _check_vocabulary(prompts: Sequence[Prompt], format: ChatFormat, architecture: Any) -> None:
    """Every token that is asked for has a row in the embedding."""
    forced = {token for end in RationaleEnd for token in format.bridge(end)}
    asked = {token for prompt in prompts for ids in (prompt.ids, *prompt.gold_ids) for token in ids}
    largest, size = max(asked | forced | {format.end_id}), int(architecture.get_text_config().vocab_size)
    if largest >= size:
        token = format.tokenizer.convert_ids_to_tokens(largest)
        raise UserError(
            f"model.path: must have an embedding for every token of its tokenizer, got {size} of them and the token "
            f"{token!r} with id {largest}; take model and tokenizer from one place"
        )

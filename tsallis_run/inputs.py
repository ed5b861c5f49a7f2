"""Model folder and dataset -> the format of the model and the prompts of every split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsallis_run.complaint import first_line
from tsallis_run.config import ModelConfig, RunConfig
from tsallis_run.data import ids_hash, load_splits
from tsallis_run.data.label_noise import is_wrong, wrong_answers
from tsallis_run.data.order import visits_at
from tsallis_run.prompts import (
    ChatFormat,
    build_prompts,
    chat_format,
    check_lengths,
    longest_sequence_tokens,
    with_answer,
)
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
    wrong: dict[str, Prompt]
    """Example id -> the prompt with its wrong label, of training examples that label noise may strike; {} without."""

    @property
    def ids_hash(self) -> str:
        """Which examples they are, as a hash."""
        return ids_hash([prompt.example for prompt in (*self.train, *self.validation, *self.test)])

    def batch(self, step: int, config: RunConfig) -> list[Prompt]:
        """The prompts of a training step (from 0) over all ranks, each with the label that it has at this visit."""
        visits = visits_at(self.train, step, config.prompts_per_step, seed=config.seed)
        return [self._labelled(prompt, visit, config) for prompt, visit in visits]

    def _labelled(self, prompt: Prompt, visit: int, config: RunConfig) -> Prompt:
        noise, id = config.dataset.noise, prompt.example.id
        return self.wrong[id] if noise and is_wrong(id, visit, noise, seed=config.seed) else prompt


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
    wrong = _with_wrong_labels(train, format, config)
    everything = (*train, *validation, *test, *wrong.values())
    architecture = _architecture(model_folder, config.model)
    _check_vocabulary(everything, format, architecture)
    limit = int(getattr(architecture, "max_position_embeddings", None) or NO_LIMIT_TOKENS)
    check_lengths(everything, format, config, limit)
    length = longest_sequence_tokens(everything, format, config)
    return Inputs(model_folder, format, train, validation, test, dropped, length, wrong)


def _with_wrong_labels(train: Sequence[Prompt], format: ChatFormat, config: RunConfig) -> dict[str, Prompt]:
    noise = config.dataset.noise
    if noise is None:
        return {}
    answers = wrong_answers([prompt.example for prompt in train], noise, seed=config.seed)
    return {
        prompt.example.id: with_answer(prompt, answers[prompt.example.id], format)
        for prompt in train
        if prompt.example.id in answers
    }


def _architecture(folder: Path, config: ModelConfig) -> Any:
    """The model's own configuration."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=config.trust_remote_code)
    except Exception as error:  # a broken folder raises whatever its reader happens to meet
        raise UserError(
            f"model.path: must hold a model's config.json, got {str(folder)!r}: {first_line(error)}"
        ) from None


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

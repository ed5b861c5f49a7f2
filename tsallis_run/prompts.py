"""Example -> prompt ids and gold-answer ids. The only place that knows a template.

A sequence is always [x; z; bridge; answer]: the prompt x with the opening of the rationale, the sampled
rationale z, the forced ids of the bridge, the answer with its end token. The bridge is the same in
scoring, reward sampling and evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tsallis_run.complaint import first_line
from tsallis_run.config import ModelConfig, RunConfig
from tsallis_run.types import Example, Prompt, RationaleEnd, UserError

PLAIN_CHAT_TEMPLATE = (
    "{% for m in messages %}{{ m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
)
_PROBE = "RATIONALE"
_USER_TURN = [{"role": "user", "content": _PROBE}]
_CONVERSATION = [{"role": "user", "content": "x"}, {"role": "assistant", "content": _PROBE}]


@dataclass(frozen=True)
class ChatFormat:
    """How one model's conversations look, as token ids; built once by `chat_format`."""

    tokenizer: Any
    """A Hugging Face tokenizer."""
    chat_template: str | None
    """None: the tokenizer's own."""
    end_id: int
    """The one end token: it stops sampling and closes y*, in training, rewards and evaluation alike."""
    marker_id: int | None
    """The end-of-thinking token; None where the model has none and a rationale ends with its turn."""
    opening: str
    """Opens the rationale, behind the template's generation prompt."""
    answer_opening: str
    """Template text between the closing token of the rationale and the answer."""

    @property
    def rationale_stop_ids(self) -> tuple[int, ...]:
        """Sampling a rationale ends behind the first of these."""
        return (self.end_id,) if self.marker_id is None else (self.marker_id, self.end_id)

    def rationale_end(self, ids: Sequence[int]) -> RationaleEnd:
        """How the sampled rationale `ids` came to its end."""
        last = ids[-1] if ids else None
        if last is not None and last == self.marker_id:
            return RationaleEnd.MARKER
        return RationaleEnd.END_OF_TURN if last == self.end_id else RationaleEnd.BUDGET

    def bridge(self, end: RationaleEnd) -> tuple[int, ...]:
        """The forced ids between a rationale that ended in this way and the answer.

        Closes the rationale where it is not closed yet: with delimiters an end-of-turn token does not
        close it, without them it does.
        """
        opening = self.encode(self.answer_opening)
        if self.marker_id is not None:
            return opening if end is RationaleEnd.MARKER else (self.marker_id, *opening)
        return opening if end is RationaleEnd.END_OF_TURN else (self.end_id, *opening)

    def gold_ids(self, answer: str) -> tuple[int, ...]:
        """y* as ids behind the bridge, closed by the end token.

        Raises:
            UserError: where the answer's first characters merge with the template's last ones.
        """
        opening, whole = self.encode(self.answer_opening), self.encode(self.answer_opening + answer)
        if whole[: len(opening)] != opening:
            raise UserError(
                f"model.thinking.answer_opening: must stay whole in front of an answer, got {self.answer_opening!r}, "
                f"which merges with {answer!r} in this tokenizer; end it with a line break"
            )
        return (*whole[len(opening) :], self.end_id)

    def prompt_ids(self, text: str) -> tuple[int, ...]:
        """x: the user's text in the chat template, the rationale opened."""
        rendered = _render(self.tokenizer, self.chat_template, [{"role": "user", "content": text}])
        return self.encode(rendered if rendered.endswith(self.opening) else rendered + self.opening)

    def encode(self, text: str) -> tuple[int, ...]:
        """Text -> ids, nothing added."""
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: Sequence[int]) -> str:
        """Ids -> text, special tokens left out: an answer."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def decode_all(self, ids: Sequence[int]) -> str:
        """Ids -> text, special tokens shown: what was really written."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False))

    def save_tokenizer(self, folder: Path) -> None:
        """Writes the tokenizer with the chat template that was used."""
        if self.chat_template is not None:
            self.tokenizer.chat_template = self.chat_template
        self.tokenizer.save_pretrained(folder)


def chat_format(folder: Path, config: ModelConfig) -> ChatFormat:
    """Reads the tokenizer in `folder` and works out where its rationales begin and end.

    Raises:
        UserError: where the tokenizer has no end token, no chat template, or lacks the wanted marker.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=config.trust_remote_code)
    except Exception as error:  # a broken folder raises whatever its reader happens to meet
        raise UserError(f"model.path: must hold a tokenizer, got {str(folder)!r}: {first_line(error)}") from None
    if tokenizer.eos_token_id is None:
        raise UserError(f"model.path: the tokenizer must have an end token, got none in {str(folder)!r}")
    template = PLAIN_CHAT_TEMPLATE if config.chat_template == "plain" else config.chat_template
    if template is None and tokenizer.chat_template is None:
        raise UserError(
            "model.chat_template: must be set, the tokenizer has none of its own; set model.chat_template=plain"
        )
    _check_template(tokenizer, template)
    end_id, marker_id = int(tokenizer.eos_token_id), _marker_id(tokenizer, config)
    if marker_id is not None:
        thinking = config.thinking
        return ChatFormat(tokenizer, template, end_id, marker_id, thinking.begin, thinking.answer_opening)
    return ChatFormat(tokenizer, template, end_id, None, "", _answer_turn(tokenizer, template, end_id))


def build_prompts(examples: Sequence[Example], format: ChatFormat, config: RunConfig) -> tuple[tuple[Prompt, ...], int]:
    """Returns the prompts of `examples` and how many were left out for `dataset.max_prompt_tokens`."""
    prompts = [build_prompt(example, format, config) for example in examples]
    limit = config.dataset.max_prompt_tokens
    kept = tuple(prompt for prompt in prompts if limit is None or len(prompt.ids) <= limit)
    return kept, len(prompts) - len(kept)


def build_prompt(example: Example, format: ChatFormat, config: RunConfig) -> Prompt:
    """Returns the example as the model reads it; golds that tokenise alike count once."""
    golds = dict.fromkeys(format.gold_ids(gold) for gold in example.golds)
    return Prompt(example, format.prompt_ids(prompt_text(example, config)), tuple(golds))


def with_answer(prompt: Prompt, answer: str, format: ChatFormat) -> Prompt:
    """Returns the prompt with `answer` as its one gold answer."""
    example = replace(prompt.example, answer=answer, aliases=())
    return replace(prompt, example=example, gold_ids=(format.gold_ids(answer),))


def prompt_text(example: Example, config: RunConfig) -> str:
    """The linearised input; the task description before and the answer format after it where asked for."""
    parts = [
        config.dataset.task_description if config.start.instructions else "",
        "\n".join(part for part in (example.context, example.question) if part),
        config.dataset.answer_format if config.start.answer_format else "",
    ]
    return "\n\n".join(part for part in parts if part)


def longest_sequence_tokens(prompts: Sequence[Prompt], format: ChatFormat, config: RunConfig) -> int:
    """Returns room for the longest [x; z; bridge; answer] that a run over `prompts` can meet."""
    golds = max((len(ids) for prompt in prompts for ids in prompt.gold_ids), default=0)
    answer = max(golds, config.rollout.max_answer_tokens)
    bridge = max(len(format.bridge(end)) for end in RationaleEnd)
    return max(len(prompt.ids) for prompt in prompts) + config.rollout.max_rationale_tokens + bridge + answer


def check_lengths(prompts: Sequence[Prompt], format: ChatFormat, config: RunConfig, model_limit_tokens: int) -> None:
    """Raises UserError where a prompt with its rationale, bridge and answer exceeds what the model takes."""
    longest = max(prompts, key=lambda prompt: len(prompt.ids))
    behind = longest_sequence_tokens(prompts, format, config) - len(longest.ids)
    room = model_limit_tokens - behind
    if len(longest.ids) > room:
        raise UserError(
            f"dataset.max_prompt_tokens: must be <= {room} (the model takes {model_limit_tokens} tokens, "
            f"{behind} of them are kept for rationale and answer), got {config.dataset.max_prompt_tokens} and example "
            f"{longest.example.id!r}, whose prompt has {len(longest.ids)} tokens; set it to leave longer prompts out"
        )


def _check_template(tokenizer: Any, template: str | None) -> None:
    for turns, what in ((_USER_TURN, "the user's text"), (_CONVERSATION, "the assistant's text")):
        rendered = _render(tokenizer, template, turns)
        if _PROBE not in rendered:
            raise UserError(
                f"model.chat_template: must keep {what}, got {rendered[:80]!r} without it; "
                "set model.chat_template=plain or a template that does"
            )


def _marker_id(tokenizer: Any, config: ModelConfig) -> int | None:
    thinking = config.thinking
    ids = tokenizer.encode(thinking.end, add_special_tokens=False)
    if thinking.style == "turn" or (thinking.style == "auto" and len(ids) != 1):
        return None
    if len(ids) != 1:
        raise UserError(
            f"model.thinking.end: must be one token of the vocabulary, got {thinking.end!r}, which is {len(ids)}; "
            "set model.thinking.style=turn"
        )
    return int(ids[0])


def _answer_turn(tokenizer: Any, template: str | None, end_id: int) -> str:
    """The text between the end of one assistant turn and the content of the next."""
    rendered = _render(tokenizer, template, _CONVERSATION)
    behind = rendered[rendered.rindex(_PROBE) + len(_PROBE) :]
    end = tokenizer.decode([end_id])
    if not behind.startswith(end):
        raise UserError(
            f"model.chat_template: must close an assistant turn with the end token {end!r}, got {behind!r}; "
            "set model.chat_template=plain or a template that does"
        )
    return behind.removeprefix(end)


def _render(tokenizer: Any, template: str | None, conversation: list[dict[str, str]]) -> str:
    settings = {"chat_template": template, "tokenize": False, "add_generation_prompt": True}
    try:
        return str(tokenizer.apply_chat_template(conversation, **settings))
    except Exception as error:  # a template is a program: it divides by zero, adds text to numbers
        raise UserError(
            f"model.chat_template: must be a Jinja template for a user's turn, got {type(error).__name__}: {error}; "
            "set model.chat_template=plain or a template"
        ) from None

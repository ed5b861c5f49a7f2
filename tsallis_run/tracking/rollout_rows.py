"""rollouts/*.jsonl: one sampled rationale a line, as text. Imports stay light: the report reads them without torch."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsallis_run.disk import write_atomically
from tsallis_run.tracking.records import RunFolder, read_rows
from tsallis_run.types import UserError

FILE_NAME = re.compile(r"(?:(?P<kind>step|validation)-(?P<step>\d+)|test)\.jsonl")


@dataclass(frozen=True)
class RolloutRow:
    """One rollout, readable."""

    step: int
    """The optimizer step that it feeds; in an evaluation, the number of steps behind the weights."""
    split: str
    """train, validation or test."""
    example_id: str
    prompt: str
    gold: str
    aliases: tuple[str, ...]
    """Gold answers beside `gold`."""
    rationale: str
    """What was sampled, nothing forced in it."""
    end: str
    """marker, end_of_turn or budget."""
    bridge: str
    """The forced text between rationale and answer."""
    answer: str | None
    """None where none was sampled."""
    answer_ended: bool | None
    """False where the answer was cut off."""
    right: bool | None
    """In training whether the answer is rewarded, in an evaluation whether it counts; None without an answer."""
    elected: bool | None
    """Whether the majority of the group voted for the answer; None in training."""
    log_p_answer: float | None
    """log p(y*|x,z) in nats; None where the gold answer has no mass, or was not scored."""
    rationale_coefficient: float | None
    """None in an evaluation, as the next one."""
    answer_coefficient: float | None
    policy_version: int


ABSENT: dict[str, Any] = {"split": "train", "aliases": (), "answer_ended": None, "right": None, "elected": None}
"""What rows of earlier versions lack."""


@dataclass(frozen=True)
class RolloutFile:
    """A file of rollouts: those of one training step, of one validation or of the test."""

    path: Path
    split: str
    step: int | None
    """None of the test, whose file does not name it."""

    @classmethod
    def of(cls, folder: RunFolder, split: str, step: int) -> RolloutFile:
        """Where the rollouts of this split and step lie."""
        names = {"train": f"step-{step:06d}", "validation": f"validation-{step:06d}", "test": "test"}
        return cls(folder.rollouts / f"{names[split]}.jsonl", split, None if split == "test" else step)

    @property
    def title(self) -> str:
        """`step 50`, `validation at step 50` or `test`."""
        return {"train": f"step {self.step}", "validation": f"validation at step {self.step}", "test": "test"}[
            self.split
        ]


def rollout_files(folder: RunFolder) -> list[RolloutFile]:
    """The files that a run has: training steps, validations and the test, each in the order of their steps."""
    paths = sorted(folder.rollouts.iterdir()) if folder.rollouts.is_dir() else []
    matches = [(path, match) for path in paths if (match := FILE_NAME.fullmatch(path.name))]
    files = [
        RolloutFile(path, _split_of(match["kind"]), int(step) if (step := match["step"]) else None)
        for path, match in matches
    ]
    return sorted(files, key=lambda file: (("train", "validation", "test").index(file.split), file.step or 0))


def _split_of(kind: str | None) -> str:
    return {"step": "train", "validation": "validation", None: "test"}[kind]


def write_rows(folder: RunFolder, rows: Sequence[RolloutRow]) -> Path:
    """Writes the rollouts of one step and split in one stroke; returns the file."""
    path = RolloutFile.of(folder, rows[0].split, rows[0].step).path
    path.parent.mkdir(exist_ok=True)
    lines = (json.dumps(dataclasses.asdict(row), ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    write_atomically(path, "".join(lines))
    return path


def read_rollouts(path: Path) -> list[RolloutRow]:
    """The rollouts of one file; keys it does not know are left out, so that other versions' files are read.

    Raises:
        UserError: where a line is no rollout.
    """
    return [_parse(path, number, row) for number, row in enumerate(read_rows(path), 1)]


def _parse(path: Path, number: int, row: dict[str, Any]) -> RolloutRow:
    known = {field.name: row[field.name] for field in dataclasses.fields(RolloutRow) if field.name in row}
    values = ABSENT | known
    try:
        return RolloutRow(**(values | {"aliases": tuple(values["aliases"])}))
    except TypeError as error:
        fault = str(error).removeprefix("RolloutRow.__init__() ")
        raise UserError(f"{path}, line {number}: must be a rollout, got one {fault}") from None

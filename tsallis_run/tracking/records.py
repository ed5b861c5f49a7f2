"""The run folder: config.yaml, metrics.jsonl, results.json and where the rest lies.

metrics.jsonl is the record of a run; whatever else shows numbers mirrors it. Imports stay light: the report
reads these files without torch.
"""

from __future__ import annotations

import dataclasses
import json
import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tsallis_run.complaint import first_line
from tsallis_run.disk import flush, write_atomically
from tsallis_run.types import UserError

if TYPE_CHECKING:
    import tsallis_run.config

MetricsRow = dict[str, float | int | str]
"""One line of metrics.jsonl: flat, `step` and `split` among its keys."""
ASIDE = ".attempt-"
"""Stands behind the name of a folder whose place another run has taken, before a number."""


@dataclass(frozen=True)
class RunFolder:
    """Where the records of one run lie."""

    path: Path

    @classmethod
    def create(cls, path: Path, config: tsallis_run.config.RunConfig) -> RunFolder:
        """Makes the folder and writes the resolved configuration into it; an earlier end is none any more.

        Raises:
            UserError: where nothing can be written.
        """
        folder = cls(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            folder.results.unlink(missing_ok=True)
            write_atomically(folder.config_yaml, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
        except OSError as error:
            raise UserError(f"output_dir: must be a folder that can be written, got {path}: {error.strerror}") from None
        return folder

    @property
    def config_yaml(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def manifest(self) -> Path:
        """Versions, commit, devices, command."""
        return self.path / "manifest.json"

    @property
    def metrics(self) -> Path:
        """One JSON object a line: the record."""
        return self.path / "metrics.jsonl"

    @property
    def rollouts(self) -> Path:
        """The folder of rollout tables, one file a step."""
        return self.path / "rollouts"

    @property
    def tensorboard(self) -> Path:
        """The folder of TensorBoard's event files, one for each start."""
        return self.path / "tensorboard"

    @property
    def checkpoints(self) -> Path:
        """The folder of resumable states, one folder a step."""
        return self.path / "checkpoints"

    @property
    def best(self) -> Path:
        """The best weights as an ordinary Hugging Face folder."""
        return self.path / "best"

    @property
    def results(self) -> Path:
        """How the run ended, and its numbers."""
        return self.path / "results.json"

    def holds_a_run(self) -> bool:
        """True where a run left its configuration or its results."""
        return self.config_yaml.is_file() or self.results.is_file()

    @property
    def bad_batches(self) -> Path:
        """The folder of batches whose step was left out."""
        return self.path / "bad-batches"

    def holds_records(self) -> bool:
        """True where a run got as far as its first record: what began in the folder goes on there, or nothing does.

        A run that ended before leaves the folder to the corrected command.
        """
        has_rows = self.metrics.is_file() and self.metrics.stat().st_size > 0
        return has_rows or self.checkpoints.exists() or self.is_finished()

    def forget(self) -> None:
        """Takes back what a run wrote that ended by a user's mistake before its first record: it was none."""
        if self.holds_records():
            return
        for file in (self.config_yaml, self.manifest):
            file.unlink(missing_ok=True)
        with suppress(OSError):  # logs of workers lie there, or somebody's files
            self.path.rmdir()

    def set_aside(self) -> None:
        """Gives its place to another run of the same name; `is_aside` from then on."""
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}{ASIDE}{number}")).exists():
            number += 1
        self.path.rename(aside)

    @property
    def is_aside(self) -> bool:
        """True where a later run has taken its place."""
        return ASIDE in self.path.name

    def is_finished(self) -> bool:
        """True where results.json says so."""
        return self.results.is_file() and read_results(self).status == "finished"

    def read_config(self) -> dict[str, Any]:
        """config.yaml as plain data, ready for `tsallis_run.config.validate`.

        Raises:
            UserError: where it is missing, or no YAML mapping.
        """
        if not self.config_yaml.is_file():
            raise UserError(f"resume: must be a run folder with its config.yaml, got {self.path}; check the path")
        try:
            data = yaml.safe_load(self.config_yaml.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
            raise UserError(f"{self.config_yaml}: must be YAML, got {first_line(error)}") from None
        if not isinstance(data, dict):
            raise UserError(f"{self.config_yaml}: must hold a mapping, got {type(data).__name__}")
        return data


class MetricsFile:
    """metrics.jsonl, written: a `Tracker`.

    A line counts once its newline is written, so a run that was killed while writing leaves all its earlier rows.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if path.exists():
            write_atomically(path, _complete_lines(path))

    def log(self, row: MetricsRow) -> None:
        """Appends one row; it is in the file when this returns."""
        assert {"step", "split"} <= row.keys(), f"a row needs step and split, got {sorted(row)}"
        for name, value in row.items():
            finite = not isinstance(value, float) or math.isfinite(value)
            assert finite, f"step {row['step']}: {row['split']} {name} must be finite, got {value}"
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")
        flush(self._path)

    def rewind(self, step: int, validated_step: int) -> list[MetricsRow]:
        """Forgets what a run writes anew that goes on after `step`, and returns what is left.

        That is every later training row, every validation after `validated_step`, and the test.
        """
        newest = {"train": step, "validation": validated_step}
        rows = read_rows(self._path) if self._path.exists() else []
        kept = [row for row in rows if row["split"] in newest and int(row["step"]) <= newest[str(row["split"])]]
        if kept != rows:
            write_atomically(self._path, "".join(json.dumps(row) + "\n" for row in kept))
        return kept


def read_rows(path: Path) -> list[MetricsRow]:
    """The rows of metrics.jsonl, oldest first; a last line without its newline was cut and is left out.

    Raises:
        UserError: where a line before the last is no JSON object.
    """
    return [_parse_row(path, number, line) for number, line in enumerate(_complete_lines(path).split("\n")[:-1], 1)]


def _complete_lines(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data[: data.rfind(b"\n") + 1].decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: must be UTF-8, got {error}") from None


def _parse_row(path: Path, number: int, line: str) -> MetricsRow:
    try:
        row = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"{path}, line {number}: must be a JSON object, got {error}") from None
    if not isinstance(row, dict):
        raise UserError(f"{path}, line {number}: must be a JSON object, got {line[:60]}")
    return row


@dataclass(frozen=True)
class Results:
    """results.json: how a run ended."""

    status: str
    """finished, failed or stopped."""
    best_step: int | None
    """Step of the best validation maj@n; None without a validation."""
    estimator: str
    q: float | str | None
    """A schedule in words; None for an estimator that uses no q."""
    model: str
    dataset: str
    start: str
    seed: int
    validation: dict[str, float]
    """Of the best step: pass@1, pass@n and maj@n as fractions, each with `_low` and `_high`, and num_examples."""
    test: dict[str, float]
    """The same of the test split; empty where it was not reached."""
    reason: str | None = None
    """Why it failed, in one line; None of the others."""

    @classmethod
    def of(
        cls,
        config: tsallis_run.config.RunConfig,
        *,
        status: str,
        best_step: int | None,
        validation: dict[str, float],
        test: dict[str, float],
        reason: str | None = None,
    ) -> Results:
        """What `config` says of a run, with how it went."""
        return cls(
            status=status,
            best_step=best_step,
            estimator=config.estimator.name,
            q=config.q if isinstance(config.q, float) else config.q_label,
            model=config.model.name,
            dataset=config.dataset.name,
            start=config.start.name,
            seed=config.seed,
            validation=validation,
            test=test,
            reason=reason,
        )


def write_results(folder: RunFolder, results: Results) -> None:
    """Writes results.json in one stroke: a reader sees the old file or the new one."""
    write_atomically(folder.results, json.dumps(dataclasses.asdict(results), indent=2, allow_nan=False) + "\n")


def read_results(folder: RunFolder) -> Results:
    """Reads results.json; keys it does not know are left out.

    Raises:
        UserError: where it is no JSON object or lacks a key.
    """
    names = [field.name for field in dataclasses.fields(Results)]
    try:
        data = json.loads(folder.results.read_text(encoding="utf-8"))
        return Results(**{name: data[name] for name in names if name in data})
    except (ValueError, TypeError, RecursionError) as error:
        fault = f"{type(error).__name__}: {error}"
        raise UserError(f"{folder.results}: must be a JSON object with {', '.join(names)}, got {fault}") from None

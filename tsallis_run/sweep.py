"""A sweep: equal points run once, finished points not again, one table at the end. Knows nothing of Hydra.

The folder of a sweep and of each point follow from what they mean, so that the same command finds its points again.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tsallis_run.config import RunConfig
from tsallis_run.launch import launch
from tsallis_run.launch.nodes import this_node
from tsallis_run.report import render, result_table
from tsallis_run.resume import changes, is_over, saved_config
from tsallis_run.tracking.records import RunFolder
from tsallis_run.types import ExitStatus, UserError

LABEL_LIMIT = 120
"""Characters of a point's label; file systems take names of 255 bytes."""


@dataclass(frozen=True)
class Combination:
    """One choice of every value of a sweep."""

    swept: Mapping[str, str]
    """Key -> value of what the sweep varies."""
    overrides: tuple[str, ...]
    """All that the command and the sweep's file set, in Hydra's grammar."""

    def __str__(self) -> str:
        return " ".join(f"{key}={value}" for key, value in self.swept.items())


@dataclass(frozen=True)
class Candidate:
    """A combination that makes a valid run."""

    combination: Combination
    config: RunConfig


@dataclass(frozen=True)
class Point:
    """A run of a sweep, with its place."""

    label: str
    """Names its folder; can be pasted into an override as it stands."""
    overrides: tuple[str, ...]
    config: RunConfig
    """`output_dir` is its folder."""

    @property
    def folder(self) -> RunFolder:
        """Where it runs."""
        return RunFolder(Path(str(self.config.output_dir)))


@dataclass(frozen=True)
class Sweep:
    """Points that differ, in the order of the command."""

    folder: Path
    points: tuple[Point, ...]
    repeats: tuple[tuple[str, str], ...]
    """Label of a combination that came out equal to an earlier one, with the earlier one's label."""


class Standing(StrEnum):
    """What lies in a point's folder."""

    NEW = "new"
    FINISHED = "finished"
    RESUMABLE = "resumable"
    """It was interrupted after a complete checkpoint."""
    UNFINISHED = "unfinished"
    """Nothing to go on from: it ended before a checkpoint, or it was another run."""


def plan(candidates: Sequence[Candidate], *, name: str, root: Path, folder: Path | None) -> Sweep:
    """Gives every distinct candidate its place.

    Args:
        name: the sweep's name, or the keys it varies.
        root: where sweeps lie.
        folder: the sweep's own folder; None for one that follows from the points.
    """
    identities = sorted({candidate.config.identity for candidate in candidates})
    meaning = hashlib.sha256(" ".join(identities).encode()).hexdigest()[:8]
    place = root / f"{name}-{meaning}" if folder is None else folder
    points: dict[str, Point] = {}
    repeats: list[tuple[str, str]] = []
    for candidate in candidates:
        label, identity = _label(candidate), candidate.config.identity
        if identity in points:
            repeats.append((label, points[identity].label))
            continue
        if label in {point.label for point in points.values()}:
            label = f"{label}-{identity}"
        points[identity] = _placed(candidate, label, place)
    return Sweep(place, tuple(points.values()), tuple(repeats))


def standing(config: RunConfig) -> Standing:
    """What lies in the folder that `config` is to run in."""
    folder = RunFolder(Path(str(config.output_dir)))
    if not folder.path.exists():
        return Standing.NEW
    if not _is_run_of(config, folder):
        return Standing.UNFINISHED
    if is_over(folder.path, config.model_copy(update={"force": False})):
        return Standing.FINISHED
    has_checkpoint = any(folder.checkpoints.glob("step-*/COMPLETE"))
    return Standing.RESUMABLE if has_checkpoint else Standing.UNFINISHED


def run_point(config: RunConfig) -> int:
    """Runs a point in processes of its own, from where its folder has got to; returns the exit status."""
    match standing(config):
        case Standing.FINISHED:
            return ExitStatus.FINISHED
        case Standing.RESUMABLE:
            return launch(config.model_copy(update={"resume": config.output_dir}))
        case Standing.UNFINISHED if this_node(config.launch, os.environ).is_first:
            RunFolder(Path(str(config.output_dir))).set_aside()
    return launch(config)


def exit_status(sweep: Sweep, statuses: Mapping[str, int]) -> int:
    """The status of the whole sweep: finished only if every point is."""
    if all(standing(point.config) is Standing.FINISHED for point in sweep.points):
        return ExitStatus.FINISHED
    return ExitStatus.STOPPED if ExitStatus.STOPPED in statuses.values() else ExitStatus.FAILED


def summary(sweep: Sweep, statuses: Mapping[str, int]) -> str:
    """The table of results, and a line on each point.

    Args:
        statuses: label -> exit status of the points that were run now.
    """
    folders = [point.folder.path for point in sweep.points if point.folder.holds_a_run()]
    table = [render(result_table(folders)).rstrip()] if folders else []
    points = [f"{_outcome(point, statuses):<40} {point.folder.path}" for point in sweep.points]
    repeats = [f"{'not run, the same as ' + first:<40} {label}" for label, first in sweep.repeats]
    return "\n".join([*table, "", *points, *repeats])


def quoted(value: str) -> str:
    """A string in Hydra's grammar for overrides."""
    return "'" + value.replace("'", "\\'") + "'"


def _outcome(point: Point, statuses: Mapping[str, int]) -> str:
    status = statuses.get(point.label)
    if standing(point.config) is Standing.FINISHED:
        return "skipped, finished before" if status is None else "finished"
    if status is None:
        return "not finished"
    if status == ExitStatus.STOPPED:
        return "stopped, the same command goes on"
    return f"failed with exit status {status}"


def _label(candidate: Candidate) -> str:
    """`estimator-garl+q-0.75`: Hydra's grammar takes neither = nor , in a plain value such as resume=FOLDER."""
    pairs = [f"{key.lstrip('+~')}-{value}" for key, value in candidate.combination.swept.items()]
    label = "+".join(re.sub(r"[^\w.-]+", "_", pair).strip("_") for pair in pairs) or "single"
    if len(label) <= LABEL_LIMIT:
        return label
    return f"{label[: LABEL_LIMIT - 9]}-{candidate.config.identity}"


def _placed(candidate: Candidate, label: str, sweep_folder: Path) -> Point:
    """The candidate with its folder; at W&B grouped with its sweep and named by what varies, unless asked otherwise."""
    path, wandb = str(sweep_folder / label), candidate.config.tracker.wandb
    name = wandb.name or str(candidate.combination)[:LABEL_LIMIT]
    shown = {"group": wandb.group or sweep_folder.name, **({"name": name} if name else {})}
    tracker = candidate.config.tracker.model_copy(update={"wandb": wandb.model_copy(update=shown)})
    config = candidate.config.model_copy(update={"output_dir": path, "tracker": tracker})
    places = {"output_dir": path, **{f"tracker.wandb.{key}": value for key, value in shown.items()}}
    place = tuple(f"{key}={quoted(value)}" for key, value in places.items())
    return Point(label, (*candidate.combination.overrides, *place), config)


def _is_run_of(config: RunConfig, folder: RunFolder) -> bool:
    """Whether the run that lies in `folder` is the one of `config`; one that is not valid any more is another."""
    try:
        return not any(changes(saved_config(folder), config))
    except UserError:
        return False

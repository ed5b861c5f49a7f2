"""The sweeper that Hydra calls for `tsallis-run -m`: expands, composes and checks the points, then launches them.

Hydra imports every plugin whenever any Hydra application starts: the project's own modules are imported on use.
"""

from __future__ import annotations

import itertools
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict, read_write

if TYPE_CHECKING:
    from tsallis_run.sweep import Candidate, Combination, Point


class TsallisSweeper(Sweeper):
    """Runs each point in processes of its own under any launcher, equal points once, finished points not again."""

    def __init__(self, params: Mapping[str, object] | None, points: Sequence[str] | None) -> None:
        self._params = [f"{key}={value}" for key, value in (params or {}).items()]
        self._points = list(points or [])

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before `sweep`. The points have a task function of their own, `PointRunner`."""
        self._context = hydra_context
        self._config = config

    def sweep(self, arguments: list[str]) -> None:
        """Runs what the command's overrides, the grid and the list of points make together.

        Ends the process: 0 if every point is finished, 75 if it was stopped, else 1.

        Raises:
            UserError: with the faults of all points, before any of them starts.
        """
        from tsallis_run.sweep import Standing, exit_status, plan, standing, summary

        combinations = list(self._combinations(arguments))
        keys = (key.lstrip("+~") for key in combinations[0].swept)
        name = self._config.hydra.runtime.choices.get("sweep") or "+".join(keys) or "single"
        folder = Path(self._config.output_dir) if self._config.output_dir else None
        candidates = self._compose(combinations)
        sweep = plan(candidates, name=name, root=Path(self._config.hydra.sweep.dir), folder=folder)
        waiting = [point for point in sweep.points if standing(point.config) is not Standing.FINISHED]
        print(f"sweep in {sweep.folder}: {len(sweep.points)} distinct points, {len(waiting)} to run", flush=True)
        statuses = self._launch(waiting, sweep.folder) if waiting else {}
        print(summary(sweep, statuses), flush=True)
        sys.exit(exit_status(sweep, statuses))

    def _combinations(self, arguments: Sequence[str]) -> Iterator[Combination]:
        """Each point of the list with the whole grid; the point wins over the grid, the command over both."""
        from tsallis_run.sweep import Combination

        grid, command = _parse(self._params), _parse(arguments)
        _refuse_places(command)
        for point in self._points or [""]:
            listed = _parse(shlex.split(point))
            given = {**grid, **listed, **command}
            varied = {key for key, override in given.items() if override.is_sweep_override()}
            varied |= listed.keys() - command.keys()
            for values in itertools.product(*(_values(override) for override in given.values())):
                chosen = dict(zip(given, values, strict=True))
                chosen.pop("output_dir", None)
                swept = {key: text.partition("=")[2] for key, text in chosen.items() if key in varied}
                yield Combination(swept, tuple(chosen.values()))

    def _compose(self, combinations: Sequence[Combination]) -> list[Candidate]:
        """Composes and validates every point.

        Raises:
            UserError: with each fault once, and the points that have it unless all do.
        """
        from tsallis_run.cli import compose_valid
        from tsallis_run.sweep import Candidate
        from tsallis_run.types import UserError

        candidates: list[Candidate] = []
        faulty: dict[str, list[str]] = {}
        for combination in combinations:
            try:
                config = compose_valid(combination.overrides, self._compose_one)
            except UserError as error:
                for fault in str(error).splitlines():
                    faulty.setdefault(fault, []).append(str(combination))
            else:
                candidates.append(Candidate(combination, config))
        if faulty:
            everywhere = len(combinations)
            raise UserError("\n".join(_fault_line(fault, points, everywhere) for fault, points in faulty.items()))
        return candidates

    def _compose_one(self, overrides: list[str]) -> DictConfig:
        return self._context.config_loader.load_sweep_config(self._config, overrides)

    def _launch(self, points: Sequence[Point], folder: Path) -> dict[str, int]:
        """Hands the points to Hydra's launcher; returns their exit statuses, by label."""
        from tsallis_run.sweep import quoted
        from tsallis_run.types import UserError

        with read_write(self._config), open_dict(self._config):
            self._config.hydra.sweep.dir = str(folder)
            self._config.launch = self._shared_launch(points)
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=self._context, task_function=PointRunner(), config=self._config
        )
        jobs = [[*point.overrides, f"hydra.sweep.dir={quoted(str(folder))}"] for point in points]
        try:
            returns = launcher.launch(jobs, initial_job_idx=0)
        except UserError:
            raise
        except Exception as error:
            # A cluster's launcher raises what it likes; the folders tell which points have finished all the same.
            print(f"tsallis-run: hydra/launcher: {type(error).__name__}: {error}", file=sys.stderr)
            return {}
        return {point.label: _status(point.label, job) for point, job in zip(points, returns, strict=True)}

    def _shared_launch(self, points: Sequence[Point]) -> dict[str, object]:
        """The launch part of the points: a cluster's launcher asks for the same machines for them all."""
        from tsallis_run.types import UserError

        first, *others = (point.config.launch for point in points)
        if any(other != first for other in others) and self._config.hydra.runtime.choices["hydra/launcher"] != "basic":
            raise UserError(
                "launch: must be the same for all points that are submitted together, got several; make a sweep of each"
            )
        return first.model_dump(mode="json")


class PointRunner:
    """Hydra's task for a point; returns the exit status of its run.

    Once a point was told to stop, so was the sweep: points that the same process would run after it do not start.
    """

    def __init__(self) -> None:
        self._stopped = False

    def __call__(self, composed: DictConfig) -> int:
        """Runs the point from where its folder has got to."""
        from tsallis_run.cli import check
        from tsallis_run.complaint import print_mistake
        from tsallis_run.sweep import run_point
        from tsallis_run.types import ExitStatus, UserError

        if self._stopped:
            return ExitStatus.STOPPED
        try:
            config = check(composed)
            print(f"point {config.output_dir}", flush=True)
            status = run_point(config)
        except UserError as error:
            print_mistake(error)
            return ExitStatus.USER_ERROR
        self._stopped = status == ExitStatus.STOPPED
        return status


def _parse(texts: Sequence[str]) -> dict[str, Override]:
    """Overrides by key; the last of a key counts."""
    return {override.get_key_element(): override for override in OverridesParser.create().parse_overrides(list(texts))}


def _values(override: Override) -> list[str]:
    """The override once for every value it sweeps over."""
    from tsallis_run.types import UserError

    if not override.is_sweep_override():
        return [str(override.input_line)]
    if not override.is_discrete_sweep():
        raise UserError(f"{override.key_or_group}: must be a list or a range of values, got {override.input_line}")
    return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]


def _refuse_places(command: Mapping[str, Override]) -> None:
    from tsallis_run.types import UserError

    if "resume" in command:
        raise UserError(
            f"resume: must not be part of a sweep (the same command goes on with its unfinished points), "
            f"got {command['resume'].input_line}; leave it out"
        )
    if "output_dir" in command and command["output_dir"].is_sweep_override():
        raise UserError(
            f"output_dir: must be one folder, that of the sweep, got {command['output_dir'].input_line}; "
            "each point has its own folder in it"
        )


def _fault_line(fault: str, points: Sequence[str], everywhere: int) -> str:
    return fault if len(points) == everywhere else f"{fault} ({'; '.join(points)})"


def _status(label: str, job: JobReturn) -> int:
    from tsallis_run.types import ExitStatus

    if job.status is JobStatus.COMPLETED:
        return int(job.return_value)
    print(f"tsallis-run: {label}: {job._return_value!r}", file=sys.stderr)
    return ExitStatus.FAILED

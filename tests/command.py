"""The command `tsallis-run` within the test's own process."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pytest
from hydra.core.plugins import Plugins

from tsallis_run import cli
from tsallis_run.config import RunConfig
from tsallis_run.sweep import Combination, Point


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    output: str
    errors: str


class Command:
    """Runs `tsallis-run ARGUMENTS...` and catches what it says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capfd = capfd
        monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # the command sets it: put back after the test

    def __call__(self, *arguments: str) -> Ended:
        self._monkeypatch.setattr(sys, "argv", ["tsallis-run", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        output, errors = self._capfd.readouterr()
        return Ended(int(ended.value.code or 0), output, errors)


def catch_launches(monkeypatch: pytest.MonkeyPatch, max_points: int | None = None) -> list[RunConfig]:
    """What reaches a launch from now on, of a run or of a sweep's first points; nothing is run.

    Hydra's launcher would compose every point a second time. Its plugins are modules that it loads by itself.
    """
    configs: list[RunConfig] = []
    sweeper = Plugins.instance().class_name_to_class["hydra_plugins.tsallis_sweeper.TsallisSweeper"]
    all_combinations = sweeper._combinations

    def combinations(self: object, arguments: Sequence[str]) -> Iterator[Combination]:
        return islice(all_combinations(self, arguments), max_points)

    def launch_points(self: object, points: Sequence[Point], folder: Path) -> dict[str, int]:
        configs.extend(point.config for point in points)
        return {}

    monkeypatch.setattr(sweeper, "_combinations", combinations)
    monkeypatch.setattr(sweeper, "_launch", launch_points)
    monkeypatch.setattr(cli, "launch", lambda config: configs.append(config) or 1)
    return configs

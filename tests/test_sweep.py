"""Sweeps: which points there are, where they run, what a second command does, how a failure is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from command import Command

from tsallis_run import sweep
from tsallis_run.config import RunConfig
from tsallis_run.tracking.records import Results, RunFolder, write_results
from tsallis_run.types import ExitStatus


class Launches:
    """Stands in for `launch`: notes every run, and ends it as `outcome` says."""

    def __init__(self) -> None:
        self.configs: list[RunConfig] = []
        self.outcome: Callable[[RunConfig], int] = lambda config: 0
        self.writes_results = True

    def __call__(self, config: RunConfig) -> int:
        self.configs.append(config)
        folder = RunFolder(Path(str(config.output_dir)))
        if config.resume is None:
            RunFolder.create(folder.path, config)
        status = self.outcome(config)
        if status == ExitStatus.FINISHED and self.writes_results:
            write_results(folder, Results.of(config, status="finished", best_step=0, validation={}, test={}))
        return status

    @property
    def names(self) -> list[str]:
        """The folders' names, in the order of the launches."""
        return [Path(str(config.output_dir)).name for config in self.configs]

    @property
    def runs(self) -> list[tuple[str, float | None, int]]:
        """Estimator, q and seed, in the order of the launches."""
        return [(config.estimator.name, config.q, config.seed) for config in self.configs]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    monkeypatch.chdir(tmp_path)
    return Command(monkeypatch, capfd)


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> Launches:
    stand_in = Launches()
    monkeypatch.setattr(sweep, "launch", stand_in)
    return stand_in


def own_sweep(content: str) -> tuple[str, ...]:
    """Writes a sweep file and returns the arguments that choose it."""
    folder = Path("mine", "sweep")
    folder.mkdir(parents=True)
    (folder / "own.yaml").write_text(f"# @package _global_\n{content}\n")
    return ("--config-dir", "mine", "-m", "+sweep=own")


def test_every_combination_of_the_command_line_runs_once(command: Command, launches: Launches) -> None:
    assert command("-m", "estimator=garl,paft", "q=0,0.5,1", "num_steps=2").status == 0
    assert launches.runs == [(name, q, 0) for name in ("garl", "paft") for q in (0.0, 0.5, 1.0)]
    assert {config.num_steps for config in launches.configs} == {2}


def test_ranges_expand_as_hydra_writes_them(command: Command, launches: Launches) -> None:
    assert command("-m", "seed=range(3)").status == 0
    assert launches.runs == [("paft", 0.75, seed) for seed in (0, 1, 2)]


def test_a_grid_in_a_sweep_file_multiplies_with_the_command_line(command: Command, launches: Launches) -> None:
    chosen = own_sweep(
        "hydra: {sweeper: {params: {q: '0,1'}}}\nestimator: {jackknife: true}\ndefaults: [{override /estimator: garl}]"
    )
    assert command(*chosen, "seed=3,4").status == 0
    assert launches.runs == [("garl", q, seed) for q in (0.0, 1.0) for seed in (3, 4)]
    assert all(config.estimator.jackknife for config in launches.configs)


def test_points_in_a_sweep_file_each_run_with_the_command_line(command: Command, launches: Launches) -> None:
    chosen = own_sweep("hydra: {sweeper: {points: ['estimator=grpo', 'estimator=garl q=1']}}")
    assert command(*chosen, "seed=3,4").status == 0
    assert launches.runs == [("grpo", None, 3), ("grpo", None, 4), ("garl", 1.0, 3), ("garl", 1.0, 4)]


def test_the_command_line_wins_over_the_sweep_file(command: Command, launches: Launches) -> None:
    chosen = own_sweep("hydra: {sweeper: {params: {q: '0,1'}, points: ['estimator=garl seed=1']}}")
    assert command(*chosen, "q=0.25", "seed=7").status == 0
    assert launches.runs == [("garl", 0.25, 7)]


def test_points_that_mean_the_same_run_once(command: Command, launches: Launches) -> None:
    ended = command("-m", "estimator=grpo,garl", "q=0,0.5")
    assert launches.runs == [("grpo", None, 0), ("garl", 0.0, 0), ("garl", 0.5, 0)]
    assert "not run, the same as estimator-grpo+q-0  estimator-grpo+q-0.5" in ended.output.splitlines()


def test_a_sweep_over_nothing_is_one_point(command: Command, launches: Launches) -> None:
    """So that a single run can go to a cluster: -m hydra/launcher=submitit_slurm q=0.5."""
    assert command("-m", "q=0.5").status == 0
    assert launches.names == ["single"]


def test_names_of_folders_can_be_pasted_into_an_override(command: Command, launches: Launches) -> None:
    """resume=FOLDER and model.path=FOLDER/best would not parse with the = and , of Hydra's own job names."""
    command("-m", "estimator=garl,paft", "optimizer.betas=[0.9,0.99],[0.8,0.9]")
    assert launches.names[0] == "estimator-garl+optimizer.betas-_0.9_0.99"
    ended = command(f"resume={launches.configs[0].output_dir}", "q=1")
    assert "q: must stay 0.75" in ended.errors


def test_values_that_make_the_same_name_get_folders_of_their_own(command: Command, launches: Launches) -> None:
    command("-m", "model.revision='a b','a/b'")
    assert len(set(launches.names)) == 2
    assert all(name.startswith("model.revision-") for name in launches.names)


def test_long_names_are_cut_and_stay_distinct(command: Command, launches: Launches) -> None:
    command("-m", f"model.revision={'x' * 300},{'x' * 301}")
    assert len(set(launches.names)) == 2
    assert all(len(name) <= sweep.LABEL_LIMIT for name in launches.names)


def test_the_same_command_skips_what_is_finished(command: Command, launches: Launches) -> None:
    command("-m", "q=0,1")
    ended = command("-m", "q=0,1")
    assert (ended.status, len(launches.configs)) == (0, 2)
    assert ended.output.count("skipped, finished before") == 2


def test_a_point_that_finished_on_another_machine_is_skipped(command: Command, launches: Launches) -> None:
    command("-m", "q=0,1", "output_dir=mine")
    ended = command("-m", "q=0,1", "output_dir=mine", "zero=stage2", "optimizer.micro_batch_tokens=99", "force=true")
    assert (ended.status, len(launches.configs)) == (0, 2)


def test_the_same_points_in_another_order_are_the_same_sweep(command: Command, launches: Launches) -> None:
    command("-m", "q=0,1")
    assert command("-m", "q=1,0").status == 0
    assert len(launches.configs) == 2


def test_other_settings_are_another_sweep(command: Command, launches: Launches) -> None:
    command("-m", "q=0,1")
    command("-m", "q=0,1", "num_steps=2")
    assert len({Path(str(config.output_dir)).parent for config in launches.configs}) == 2


def test_a_failing_point_does_not_end_the_sweep_and_is_told_in_the_end(command: Command, launches: Launches) -> None:
    launches.outcome = lambda config: 1 if config.q == 0 else 0
    ended = command("-m", "q=0,0.5,1")
    assert (ended.status, len(launches.configs)) == (1, 3)
    outcomes = [line.rsplit(maxsplit=1) for line in ended.output.splitlines()[-3:]]
    assert [(outcome.strip(), Path(path).name) for outcome, path in outcomes] == [
        ("failed with exit status 1", "q-0"),
        ("finished", "q-0.5"),
        ("finished", "q-1"),
    ]


def test_a_point_that_raises_counts_as_failed(command: Command, launches: Launches) -> None:
    def outcome(config: RunConfig) -> int:
        raise OSError("no space left on device")

    launches.outcome = outcome
    ended = command("-m", "q=0,1")
    assert (ended.status, len(launches.configs)) == (1, 2)
    assert "tsallis-run: q-0: OSError('no space left on device')" in ended.errors.splitlines()


def test_a_point_that_says_finished_without_results_is_not_believed(command: Command, launches: Launches) -> None:
    launches.writes_results = False
    assert command("-m", "q=0").status == 1


def test_the_end_of_a_sweep_is_one_table(command: Command, launches: Launches) -> None:
    ended = command("-m", "estimator=garl,grpo", "q=0.5")
    rows = [line.split()[:6] for line in ended.output.splitlines() if " reversal " in line]
    assert rows == [
        ["garl", "0.5", "cold", "reversal", "0", "finished"],
        ["grpo", "-", "cold", "reversal", "0", "finished"],
    ]


def test_an_unfinished_point_is_moved_aside_and_run_anew(command: Command, launches: Launches) -> None:
    launches.outcome = lambda config: 1
    command("-m", "q=0,1")
    command("-m", "q=0,1")
    launches.outcome = lambda config: 0
    assert command("-m", "q=0,1").status == 0
    parent = Path(str(launches.configs[0].output_dir)).parent
    assert sorted(path.name for path in parent.iterdir()) == [
        *("q-0", "q-0.attempt-1", "q-0.attempt-2"),
        *("q-1", "q-1.attempt-1", "q-1.attempt-2"),
    ]


def test_a_point_with_a_complete_checkpoint_is_resumed(command: Command, launches: Launches) -> None:
    launches.outcome = lambda config: ExitStatus.STOPPED
    command("-m", "q=0.5")
    folder = RunFolder(Path(str(launches.configs[0].output_dir)))
    (folder.checkpoints / "step-000010").mkdir(parents=True)
    assert sweep.standing(launches.configs[0]) is sweep.Standing.UNFINISHED, "the marker is written last"
    (folder.checkpoints / "step-000010" / "COMPLETE").touch()
    launches.outcome = lambda config: 0
    assert command("-m", "q=0.5").status == 0
    assert launches.configs[1].resume == str(folder.path)


def test_what_another_run_left_in_a_points_folder_is_not_taken_for_it(command: Command, launches: Launches) -> None:
    command("-m", "q=0,1", "output_dir=mine", "num_steps=2")
    assert command("-m", "q=0,1", "output_dir=mine", "num_steps=3").status == 0
    assert [config.num_steps for config in launches.configs] == [2, 2, 3, 3]
    assert Path("mine", "q-0.attempt-1").is_dir()


def test_a_sweep_in_a_folder_of_its_own_can_grow(command: Command, launches: Launches) -> None:
    command("-m", "q=0,1", "output_dir=mine")
    assert command("-m", "q=0,0.5,1", "output_dir=mine").status == 0
    assert launches.names == ["q-0", "q-1", "q-0.5"]
    assert sorted(path.name for path in Path().iterdir()) == ["mine"], "nothing lies elsewhere"


def test_a_stopped_point_stops_the_sweep(command: Command, launches: Launches) -> None:
    launches.outcome = lambda config: ExitStatus.STOPPED
    ended = command("-m", "q=0,0.5,1")
    assert (ended.status, launches.names) == (75, ["q-0"])
    assert ended.output.count("stopped, the same command goes on") == 3


def test_points_are_grouped_by_their_sweep_at_wandb(command: Command, launches: Launches) -> None:
    command("-m", "q=0,1")
    command("-m", "q=0,1", "seed=1", "tracker.wandb.group=mine")
    groups = [config.tracker.wandb.group for config in launches.configs]
    assert groups == [Path(str(launches.configs[0].output_dir)).parent.name] * 2 + ["mine"] * 2


def test_points_are_named_at_wandb_by_what_varies(command: Command, launches: Launches) -> None:
    command("-m", "seed=3", "estimator=garl,grpo", "q=0.5")
    command("-m", "q=0,1", "tracker.wandb.name=mine")
    command("-m", "q=0")
    names = [config.tracker.wandb.name for config in launches.configs]
    assert names == ["estimator=garl", "estimator=grpo", "mine", "mine", None]


def test_faults_of_points_are_told_together_before_any_starts(command: Command, launches: Launches) -> None:
    ended = command("-m", "estimator=garl,grpo", "rollouts_per_prompt=1,4", "q=0,2", "num_steps=0")
    assert (ended.status, launches.configs, list(Path().iterdir())) == (2, [], [])
    assert ended.errors.splitlines() == [
        "tsallis-run: num_steps: must be greater than or equal to 1, got 0",
        "tsallis-run: rollouts_per_prompt: must be >= 2 for estimator=garl (its baseline leaves one rollout out), "
        "got 1 (estimator=garl rollouts_per_prompt=1 q=0; estimator=garl rollouts_per_prompt=1 q=2)",
        "tsallis-run: q: must be less than or equal to 1, got 2 "
        "(estimator=garl rollouts_per_prompt=1 q=2; estimator=garl rollouts_per_prompt=4 q=2)",
        "tsallis-run: rollouts_per_prompt: must be >= 2 for estimator=grpo (rewards are centred within a group), got 1 "
        "(estimator=grpo rollouts_per_prompt=1 q=0; estimator=grpo rollouts_per_prompt=1 q=2)",
    ]


def test_a_rule_across_fields_names_its_points(command: Command, launches: Launches) -> None:
    ended = command("-m", "estimator=paft,grpo", "rollouts_per_prompt=1")
    assert ended.errors == (
        "tsallis-run: rollouts_per_prompt: must be >= 2 for estimator=grpo (rewards are centred within a group), got 1 "
        "(estimator=grpo)\n"
    )
    assert launches.configs == []


def test_a_launcher_that_fails_leaves_its_message_and_the_table(
    command: Command, launches: Launches, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hydra._internal.core_plugins.basic_launcher import BasicLauncher

    def launch(self: object, job_overrides: object, initial_job_idx: int) -> None:
        raise RuntimeError("the cluster is closed")

    monkeypatch.setattr(BasicLauncher, "launch", launch)
    ended = command("-m", "q=0,1")
    assert (ended.status, ended.errors) == (1, "tsallis-run: hydra/launcher: RuntimeError: the cluster is closed\n")
    assert ended.output.count("not finished") == 2

"""Every file under conf/ and sweeps/ composes and makes a valid run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from command import Command, catch_launches
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from tsallis_run import cli
from tsallis_run.config import RunConfig

CONF = cli.configuration_folder()
CHOICES = sorted(
    f"{path.parent.name}={path.stem}"
    for path in CONF.glob("*/[!_]*.yaml")  # _base.yaml and its like are parts of choices
    if path.parent.name not in {"hydra", "sweep"}
)
SWEEPS = sorted(path.stem for path in CONF.glob("sweep/*.yaml"))
NEEDS = {"model=custom": ["model.path=some/model"]}
"""What a choice leaves to the user."""


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    monkeypatch.chdir(tmp_path)
    return Command(monkeypatch, capfd)


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[RunConfig]:
    return catch_launches(monkeypatch)


def test_the_globs_find_the_files() -> None:
    assert {"model=tiny", "dataset=finqa", "estimator=grpo", "experiment=paper_finqa", "zero=stage3"} <= set(CHOICES)
    assert {"paper_table1", "q_grid"} <= set(SWEEPS)


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_makes_a_valid_run(command: Command, launched: list[RunConfig], choice: str) -> None:
    ended = command(choice, *NEEDS.get(choice, []))
    assert ended.errors == ""
    assert len(launched) == 1


PRESETS = {
    "rb_rloo": (0.0, {"kind": "garl", "baseline": True, "jackknife": False, "answer_term": True}),
    "iwae": (1.0, {"kind": "garl", "baseline": False, "jackknife": False, "answer_term": True}),
    "em": (1.0, {"kind": "paft", "num_resamples": None}),
    "star": (1.0, {"kind": "reward", "baseline": "none", "scale": "mean^q"}),
    "maxrl": (1.0, {"kind": "reward", "baseline": "mean", "scale": "mean^q"}),
    "reward": (0.75, {"kind": "reward", "baseline": "mean", "scale": "mean^q"}),
    "grpo": (None, {"kind": "reward", "baseline": "mean", "scale": "std", "epsilon": 1e-6}),
    "dr_grpo": (None, {"kind": "reward", "baseline": "mean", "scale": "none"}),
    "rloo": (None, {"kind": "reward", "baseline": "leave_one_out", "scale": "none"}),
    "rlvr": (None, {"kind": "reward", "baseline": "none", "scale": "none"}),
}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_setting_of_a_general_estimator_under_its_own_name(
    command: Command, launched: list[RunConfig], name: str
) -> None:
    command(f"estimator={name}")
    q, settings = PRESETS[name]
    estimator = launched[0].estimator.model_dump()
    assert (estimator["name"], launched[0].q) == (name, q)
    assert settings.items() <= estimator.items()
    assert launched[0].loss.length_normalization == ("token" if name == "grpo" else "none")


DIFFERENCES = sorted([*CONF.glob("experiment/*.yaml"), *CONF.glob("scale/*.yaml")])


@pytest.mark.parametrize("path", DIFFERENCES, ids=lambda path: path.stem)
def test_an_experiment_file_holds_differences_only(path: Path) -> None:
    content = OmegaConf.load(path)
    choices = content.pop("defaults", [])
    groups = [
        f"{key.removeprefix('override /')}={value}"
        for item in choices
        if item not in ("paper", "_self_")
        for key, value in item.items()
    ]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        without = compose("config", groups)
    settings = list(leaves(content))
    assert settings
    assert [key for key, value in settings if OmegaConf.select(without, key) == value] == []


def leaves(section: DictConfig, above: str = "") -> Iterator[tuple[str, object]]:
    """Every setting of a file, by its dotted key."""
    for key, value in section.items():
        if isinstance(value, DictConfig):
            yield from leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


@pytest.mark.parametrize("name", [name for name in SWEEPS if not name.startswith("paper_")])
def test_every_sweep_launches_several_distinct_valid_points(
    command: Command, launched: list[RunConfig], name: str
) -> None:
    ended = command("-m", f"+sweep={name}")
    assert ended.errors == ""
    assert len(launched) > 1
    assert len({config.identity for config in launched}) == len(launched)


QS = (0.0, 0.25, 0.5, 0.75, 1.0)
DATASETS = ("finqa", "hotpotqa", "musique")
RUNS: dict[str, set[tuple[str, str, str, float | None]]] = {
    "paper_table1": {("finqa", "cold", "grpo", None), *(("finqa", "cold", "garl", q) for q in QS)},
    "paper_table2": {
        *((data, "warm", "grpo", None) for data in DATASETS),
        *((data, "cold", "garl", q) for data in DATASETS for q in (0.75, 1.0)),
    },
    "paper_table3": {
        *((data, "warm", estimator, None) for data in DATASETS for estimator in ("none", "grpo")),
        *((data, "warm", "garl", q) for data in DATASETS for q in (0.0, 0.25, 0.75)),
        *((data, "warm", "paft", q) for data in DATASETS for q in (0.25, 0.75)),
    },
    "paper_figure3": {("finqa", "cold", "garl", q) for q in QS},
    "paper_figure4": {("hotpotqa", "warm", estimator, 0.25) for estimator in ("garl", "paft")},
}
"""Sweep -> (dataset, start, estimator, q) of every run; the model as it is has the estimator none."""


def test_every_sweep_of_the_paper_is_spelt_out() -> None:
    assert RUNS.keys() == {name for name in SWEEPS if name.startswith("paper_")}


@pytest.mark.parametrize("name", RUNS)
def test_a_sweep_of_the_paper_has_its_runs_in_the_papers_setting(
    command: Command, launched: list[RunConfig], name: str
) -> None:
    ended = command("-m", f"+sweep={name}", "dataset.path=null")
    assert ended.errors == ""
    runs = [
        (run.dataset.name, run.start.name, "none", None)
        if run.task == "evaluate"
        else (run.dataset.name, run.start.name, run.estimator.name, run.q)
        for run in launched
    ]
    assert (set(runs), len(runs)) == (RUNS[name], len(RUNS[name]))
    shared = {(run.model.path, run.rollouts_per_prompt, run.evaluation.num_samples) for run in launched}
    assert shared == {("Qwen/Qwen3-0.6B", 32, 16)}


def test_the_points_of_figure_3_are_found_among_those_of_table_1(command: Command, launched: list[RunConfig]) -> None:
    command("-m", "+sweep=paper_table1", "output_dir=mine")
    table = {config.output_dir: config.identity for config in launched}
    command("-m", "+sweep=paper_figure3", "output_dir=mine")
    figure = {config.output_dir: config.identity for config in launched[len(table) :]}
    assert len(figure) == 5
    assert figure.items() <= table.items()


def test_a_small_scale_makes_a_sweep_of_the_paper_small(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    launched = catch_launches(monkeypatch, max_points=2)
    command("-m", "+sweep=paper_table1", "scale=small")
    (small,) = {
        (run.model.name, run.dataset.name, run.num_steps, run.dataset.num_train, run.rollout.max_rationale_tokens)
        for run in launched
    }
    assert small == ("smollm2_135m", "finqa", 2, 16, 16)


@pytest.mark.parametrize(("dataset", "budget_tokens"), [("finqa", 4096), ("hotpotqa", 3072), ("musique", 2048)])
def test_the_papers_budgets_keep_128_tokens_for_the_answer(
    command: Command, launched: list[RunConfig], dataset: str, budget_tokens: int
) -> None:
    command(f"experiment=paper_{dataset}")
    rollout = launched[0].rollout
    assert (rollout.max_rationale_tokens + rollout.max_answer_tokens, rollout.max_answer_tokens) == (budget_tokens, 128)

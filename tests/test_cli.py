"""The command line: help, exit statuses, what a mistake is answered with, resuming."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from command import Command

import tsallis_run
from tsallis_run import cli
from tsallis_run.config import RunConfig
from tsallis_run.tracking.records import RunFolder

ESTIMATORS = "dr_grpo, em, garl, grpo, iwae, maxrl, paft, rb_rloo, reward, rloo, rlvr, star"
MODELS = "custom, qwen3_0_6b, smollm2_135m, tiny"
SWEEPS = ", ".join(sorted(path.stem for path in cli.configuration_folder().glob("sweep/*.yaml")))

STAND_IN = """
import sys, types
from pathlib import Path
from tsallis_run.types import UserError

def train(config, folder):
    print(f"trains q={config.q} resume={config.resume} ranks={config.launch.num_processes}", flush=True)
    if config.seed == 2:
        raise UserError("model.path: must be a folder with a model, got x; check the path")
    if config.seed == 1:
        raise RuntimeError("out of memory")
    return config.seed

sys.modules["tsallis_run.train"] = types.ModuleType("tsallis_run.train")
sys.modules["tsallis_run.train"].train = train
"""
"""Takes the place of the training in the child process; its exit status is the seed."""


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """The command, run from an empty folder, its child processes without a training."""
    child_path = tmp_path / "child"
    child_path.mkdir()
    (child_path / "sitecustomize.py").write_text(STAND_IN)
    source = Path(tsallis_run.__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(child_path), str(source)]))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return Command(monkeypatch, capfd)


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[RunConfig]:
    """What reached the launch; nothing is run."""
    configs: list[RunConfig] = []
    monkeypatch.setattr(cli, "launch", lambda config: configs.append(config) or 0)
    return configs


def test_help_shows_every_group_with_its_choices_and_examples(command: Command) -> None:
    shown = command("--help")
    assert shown.status == 0
    for line in (
        "dataset: finqa, gsm8k, hotpotqa, musique, reversal",
        f"estimator: {ESTIMATORS}",
        f"sweep: {SWEEPS}",
        "rollout: transformers, vllm, vllm_server",  # not the parts of which they are made
        "zero: auto, stage0, stage1, stage2, stage3",
        "  tsallis-run -m +sweep=q_grid",
    ):
        assert line in shown.output.splitlines()


def test_the_command_imports_neither_torch_nor_an_engine() -> None:
    program = (
        "import sys; sys.argv = ['tsallis-run', '--help']\n"
        "from tsallis_run.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "sys.exit(str(sorted({'torch', 'vllm', 'deepspeed', 'transformers', 'wandb'} & sys.modules.keys())))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(tsallis_run.__file__).parents[1])}
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert ended.stderr.strip() == "[]"


def test_a_reader_that_has_seen_enough_is_no_failure() -> None:
    program = "from tsallis_run.cli import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(Path(tsallis_run.__file__).parents[1])}
    command = [sys.executable, "-c", program, "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_overrides_reach_the_run(command: Command, launched: list[RunConfig]) -> None:
    assert command("estimator=garl", "q=0.25", "rollout.max_rationale_tokens=9").status == 0
    (config,) = launched
    assert (config.estimator.name, config.q, config.rollout.max_rationale_tokens) == ("garl", 0.25, 9)


MISTAKES = {
    ("nmu_steps=3",): "nmu_steps: no such key; did you mean num_steps?",
    ("max_rationale_tokens=3",): "max_rationale_tokens: no such key; did you mean rollout.max_rationale_tokens?",
    (
        "estimator=paft",
        "estimator.baseline=true",
    ): "estimator.baseline: no such key; it belongs to another choice of estimator",
    ("q=1.5",): "q: must be less than or equal to 1, got 1.5",
    ("estimator=grpo", "rollouts_per_prompt=1"): (
        "rollouts_per_prompt: must be >= 2 for estimator=grpo (rewards are centred within a group), got 1"
    ),
    ("dataset=finqa", "dataset.path=nowhere"): (
        "dataset.path: must be an existing file or folder in the official schema, got 'nowhere'; check the path"
    ),
    ("estimator=garrl",): f"estimator: must be one of {ESTIMATORS}, got garrl; did you mean garl?",
    ("num_steps=many",): ("num_steps: must be a valid integer, unable to parse string as an integer, got 'many'"),
    ("q=0,1",): "q: must be one value for one run, got 0,1; add -m to run them all, or write a list as [a,b]",
    ("num_steps",): "num_steps: must be key=value, got num_steps; tsallis-run --help shows examples",
    ("=3",): "=3: must be key=value, got =3; tsallis-run --help shows examples",
    ("model=null",): f"model: must be one of {MODELS}, got null",
    ("model=",): f"model: must be one of {MODELS}, got nothing",
    ("model=[tiny,custom]",): f"model: must be one of {MODELS}, got [tiny,custom]; did you mean custom?",
    ("~model",): f"model: must be one of {MODELS}, got none; leave ~model out",
    ("rollout=_base",): "rollout: must be one of transformers, vllm, vllm_server, got _base",
    ("estimator=../model/tiny",): f"estimator: must be one of {ESTIMATORS}, got ../model/tiny",
    ("hydra=1",): "hydra: must be set key by key, got hydra=1; write hydra.KEY=...",
    ("-m", "q=0,1", "model=null"): f"model: must be one of {MODELS}, got null",
    ("model.path=~/x",): "model.path: must not begin with ~ (no shell opens it there), got ~/x; write $HOME/x",
    ("tracker.wandb.project=a b,c=d",): (
        "tracker.wandb.project: must consist of letters, digits and - _ . / : + % @ ? | *, or be quoted twice, "
        "got a b,c=d; write \"tracker.wandb.project='a b,c=d'\""
    ),
    (f"seed={'1' * 5000}",): f"seed: must be a shorter value, got seed={'1' * 75}...",
    ("--config-dir", "nowhere"): "--config-dir: must be a folder, got nowhere; check the path",
    ("--resolve",): "--resolve: must come with --cfg or --help, got neither; write --cfg job --resolve",
    ("tracker.wandb.api_key=do-not-tell",): (
        "tracker.wandb.api_key: no such key; secrets are no settings, set them in the environment "
        "(WANDB_API_KEY, HF_TOKEN)"
    ),
    ("q=${seeed}",): "q: Interpolation key 'seeed' not found, got q=${seeed}",
    ("+q=1",): "q: must be set without + (it has a value already), got +q=1; write q=1",
    ("+experiment=smoke_real",): (
        "experiment: must be set without + (it has a value already), got +experiment=smoke_real; "
        "write experiment=smoke_real"
    ),
    ("+sweep=q_grid",): "sweep: must be run with -m, got +sweep=q_grid; write tsallis-run -m +sweep=q_grid",
    ("hydra/launcher=slurm_dry",): (
        "hydra/launcher: must be used with -m, got slurm_dry without; write tsallis-run -m ... hydra/launcher=slurm_dry"
    ),
    ("sweep=q_grid",): "sweep: must be added with +, got sweep=q_grid; write +sweep=q_grid",
    ("-m", "+sweep=q_gird"): f"sweep: must be one of {SWEEPS}, got q_gird; did you mean q_grid?",
    ("-m", "resume=RUN"): (
        "resume: must not be part of a sweep (the same command goes on with its unfinished points), got resume=RUN; "
        "leave it out"
    ),
    ("resume=nowhere",): "resume: must be a run folder with its config.yaml, got nowhere; check the path",
    ("tracker.wandb.mode=on",): "tracker.wandb.mode: must be 'offline', 'online' or 'disabled', got 'on'",
    ("hydra.foo=1",): "hydra.foo: Key 'foo' not in 'HydraConf', got hydra.foo=1",
}


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.items(), ids=lambda value: " ".join(value)[:40])
def test_a_mistake_is_told_in_one_line_and_nothing_is_made(
    command: Command, launched: list[RunConfig], arguments: tuple[str, ...], message: str
) -> None:
    ended = command(*arguments)
    assert ended.errors.splitlines() == [f"tsallis-run: {message}"]
    assert (ended.status, ended.output, launched, list(Path().iterdir())) == (2, "", [], [])


def test_all_mistakes_of_a_command_are_told_together(command: Command, launched: list[RunConfig]) -> None:
    ended = command("estimator=garrl", "q=1.5", "nmu_steps=3", "seed", "num_steps=0")
    assert ended.status == 2
    assert {line.removeprefix("tsallis-run: ").split(":")[0] for line in ended.errors.splitlines()} == {
        "estimator",
        "q",
        "nmu_steps",
        "seed",
        "num_steps",
    }
    assert launched == []


def test_all_mistakes_of_a_sweep_are_told_together_also_where_composition_stops_early(command: Command) -> None:
    ended = command("-m", "q=0,1.5", "estimator=garl,garrl", "nmu_steps=3")
    assert ended.status == 2
    assert [line.split(":")[1] for line in ended.errors.splitlines()] == [" nmu_steps", " q", " estimator"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("nmu_steps: 3", "nmu_steps: no such key; did you mean num_steps?"),
        (
            "rollout: {max_rationale: 3}",
            "rollout.max_rationale: no such key; did you mean rollout.max_rationale_tokens?",
        ),
        (
            "defaults: [{override /model: tinny}]",
            "model: must be one of custom, qwen3_0_6b, smollm2_135m, tiny, got tinny; did you mean tiny?",
        ),
    ],
)
def test_a_misspelling_inside_an_experiment_file_is_a_mistake(
    command: Command, launched: list[RunConfig], content: str, message: str
) -> None:
    folder = Path("mine", "experiment")
    folder.mkdir(parents=True)
    (folder / "own.yaml").write_text(f"# @package _global_\n{content}\n")
    ended = command("--config-dir", "mine", "experiment=own")
    assert (ended.status, ended.errors, launched) == (2, f"tsallis-run: {message}\n", [])


@pytest.mark.parametrize(
    "content", [b"q: \xff", b"q: " + b"[" * 3000, b"seed: " + b"1" * 5000], ids=["no UTF-8", "brackets", "digits"]
)
def test_an_experiment_file_that_cannot_be_read_is_a_mistake(command: Command, content: bytes) -> None:
    folder = Path("mine", "experiment")
    folder.mkdir(parents=True)
    (folder / "own.yaml").write_bytes(b"# @package _global_\n" + content)
    ended = command("--config-dir", "mine", "experiment=own")
    assert ended.status == 2
    assert re.fullmatch(
        r"tsallis-run: configuration: must be files in UTF-8 that YAML can read, got .*\n", ended.errors
    )


def test_an_experiment_file_that_is_no_yaml_is_a_mistake(command: Command, launched: list[RunConfig]) -> None:
    folder = Path("mine", "experiment")
    folder.mkdir(parents=True)
    (folder / "own.yaml").write_text("# @package _global_\nq: [0.5\n")
    ended = command("--config-dir", "mine", "experiment=own")
    assert (ended.status, launched) == (2, [])
    assert re.fullmatch(r"tsallis-run: YAML: .*own\.yaml.*\n", ended.errors)


def test_a_run_gets_a_new_folder_named_after_what_it_is(command: Command) -> None:
    ended = command("estimator=garl", "q=0.5")
    assert (ended.status, ended.output.splitlines()[0], ended.errors) == (0, "trains q=0.5 resume=None ranks=1", "")
    (folder,) = Path("outputs").glob("*/*")
    assert re.fullmatch(r"outputs/\d{4}-\d\d-\d\d/\d\d-\d\d-\d\d-garl-q0\.5-reversal", str(folder))
    saved = yaml.safe_load((folder / "config.yaml").read_text())
    assert (saved["q"], saved["output_dir"]) == (0.5, str(folder))
    assert list(Path().iterdir()) == [Path("outputs")], "Hydra leaves nothing of its own"


def test_the_exit_status_is_that_of_the_training(command: Command) -> None:
    assert command("seed=75", "output_dir=stopped").status == 75


def test_a_failure_in_the_training_ends_with_1_and_its_traceback(command: Command) -> None:
    ended = command("seed=1", "output_dir=failed")
    assert ended.status == 1
    assert ended.errors.startswith("tsallis-run: Traceback")
    assert ended.errors.endswith("RuntimeError: out of memory\n")


def test_a_mistake_that_only_the_training_can_find_ends_with_2_and_no_traceback(command: Command) -> None:
    ended = command("seed=2", "output_dir=mistaken")
    message = "tsallis-run: model.path: must be a folder with a model, got x; check the path\n"
    assert (ended.status, ended.errors) == (2, message)


def test_resuming_takes_every_setting_from_the_folder(command: Command) -> None:
    command("q=0.5", "seed=75", "output_dir=mine")
    ended = command("resume=mine")
    assert (ended.status, ended.output) == (75, "trains q=0.5 resume=mine ranks=1\n")
    assert list(Path().iterdir()) == [Path("mine")]


def test_resuming_a_folder_that_was_moved_runs_where_it_lies(command: Command, launched: list[RunConfig]) -> None:
    RunFolder.create(Path("before"), _default_config(command, launched))
    Path("before").rename("behind")
    assert command("resume=behind").status == 0
    assert (launched[-1].output_dir, launched[-1].resume) == ("behind", "behind")


def test_resuming_refuses_what_makes_it_another_run_and_lists_it(command: Command) -> None:
    command("seed=75", "output_dir=mine")
    Path("mine/checkpoints").mkdir()
    ended = command("resume=mine", "q=1", "estimator=garl", "tracker.wandb.mode=disabled")
    assert ended.status == 2
    remedy = "leave it as it was, choose another output_dir for a new run, or set force=true"
    assert ended.errors.splitlines() == [
        f"tsallis-run: estimator.name: must stay paft for the run in mine to go on, got garl; {remedy}",
        f"tsallis-run: q: must stay 0.75 for the run in mine to go on, got 1.0; {remedy}",
    ]
    forced = command("resume=mine", "q=1", "force=true")
    assert (forced.status, forced.output.splitlines()[0]) == (75, "trains q=1.0 resume=mine ranks=1")
    assert yaml.safe_load(Path("mine/config.yaml").read_text())["q"] == 1.0


def test_the_same_command_goes_on_and_another_with_its_folder_is_refused(command: Command) -> None:
    command("seed=75", "output_dir=mine")
    Path("mine/metrics.jsonl").write_text('{"step": 0, "split": "validation"}\n')
    assert command("seed=75", "output_dir=mine", "tracker.wandb.mode=disabled").status == 75
    assert yaml.safe_load(Path("mine/config.yaml").read_text())["tracker"]["wandb"]["mode"] == "disabled"
    ended = command("seed=74", "output_dir=mine")
    assert (ended.status, ended.errors.split(",")[0]) == (
        2,
        "tsallis-run: seed: must stay 75 for the run in mine to go on",
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("output_dir=elsewhere",), "output_dir: must be the folder that resume names, got elsewhere; leave it out"),
        (
            ("experiment=smoke_real",),
            "resume: must come with settings of the run alone (the others come from mine/config.yaml), "
            "got experiment=smoke_real; leave it out",
        ),
    ],
)
def test_resuming_refuses_what_is_no_setting_of_the_run(
    command: Command, arguments: tuple[str, ...], message: str
) -> None:
    command("seed=75", "output_dir=mine")
    ended = command("resume=mine", *arguments)
    assert (ended.status, ended.errors) == (2, f"tsallis-run: {message}\n")


def test_resuming_may_change_where_and_how_it_runs(command: Command, launched: list[RunConfig]) -> None:
    RunFolder.create(Path("mine"), _default_config(command, launched))
    settings = ("launch.num_processes=2", "zero=stage3", "num_steps=500", "checkpoint.keep=5")
    assert command("resume=mine", "output_dir=mine", *settings).status == 0
    config = launched[-1]
    assert (config.launch.num_processes, config.zero.stage, config.num_steps, config.checkpoint.keep) == (2, 3, 500, 5)
    ended = command("resume=mine", "launch.num_processes=3")
    assert "prompts_per_step: must be a multiple of " in ended.errors


@pytest.mark.parametrize("override", ["output_dir=", "resume="])
def test_an_empty_folder_name_is_a_mistake(command: Command, launched: list[RunConfig], override: str) -> None:
    ended = command(override)
    assert (ended.status, launched) == (2, [])
    assert re.match(rf"tsallis-run: {override[:-1]}: .*at least 1 character", ended.errors)


@pytest.mark.parametrize("layout", ["installed", "checkout"])
def test_every_layout_finds_its_choices_and_its_sweeps(layout: str, tmp_path: Path) -> None:
    """Ten points are launched: a sweep file that was not found would leave one point, of the defaults."""
    site = tmp_path / "site"
    package, conf = Path(tsallis_run.__file__).parent, cli.configuration_folder()
    shutil.copytree(package, site / "tsallis_run", ignore=shutil.ignore_patterns("conf", "__pycache__"))
    plugin = Path(str(importlib.import_module("hydra_plugins.tsallis_sweeper").__file__))
    (site / "hydra_plugins").mkdir()
    shutil.copy(plugin, site / "hydra_plugins")
    if layout == "installed":
        shutil.copytree(conf, site / "tsallis_run" / "conf")
    else:
        shutil.copytree(conf, site / "conf", ignore=shutil.ignore_patterns("sweep"))
        shutil.copytree(conf / "sweep", site / "sweeps")
        (site / "conf" / "sweep").symlink_to("../sweeps")
    program = (
        "from tsallis_run import cli, sweep\n"
        "sweep.launch = lambda config: print('launched', config.output_dir) or 1\n"
        "cli.main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, "-m", "+sweep=q_grid"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
    )
    assert ended.returncode == 1, ended.stderr
    assert len(re.findall("^launched", ended.stdout, re.MULTILINE)) == 10


def _default_config(command: Command, launched: list[RunConfig]) -> RunConfig:
    assert command().status == 0
    return launched[-1]

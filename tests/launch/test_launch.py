"""What a launch starts, and what a rank makes of its run folder."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import ModuleType

import pytest
from small import run_config

from tsallis_run.config import RunConfig
from tsallis_run.launch import launch, start
from tsallis_run.launch.__main__ import main
from tsallis_run.launch.environment import child_environment
from tsallis_run.launch.rank import read_run
from tsallis_run.tracking.records import Results, RunFolder, write_results
from tsallis_run.types import STOP_SIGNALS, ExitStatus, UserError

RANK_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """No rank's, whatever engines of other tests have left there; and put back as it was."""
    before = dict(os.environ)
    for name in RANK_VARIABLES:
        os.environ.pop(name, None)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(autouse=True)
def _own_folder_and_signals(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Command lines of the children; none is run, each ends with 75."""
    commands: list[list[str]] = []

    def run_child(command: Sequence[str], environment: Mapping[str, str]) -> int:
        commands.append(list(command))
        return 75

    monkeypatch.setattr(start, "run_child", run_child)
    return commands


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, RunConfig, RunFolder]]:
    """What reached the training and the evaluation; neither is run."""
    calls: list[tuple[str, RunConfig, RunFolder]] = []
    for name, function in (("train", "train"), ("evaluate_only", "evaluate_only")):
        module = ModuleType(f"tsallis_run.{name}")

        def note(config: RunConfig, folder: RunFolder, name: str = name) -> int:
            calls.append((name, config, folder))
            return 0

        setattr(module, function, note)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return calls


def test_one_process_is_the_rank_itself(started: list[list[str]]) -> None:
    assert launch(run_config("output_dir=mine")) == 75
    assert started == [[sys.executable, "-m", "tsallis_run.launch", "mine"]]
    assert Path("mine", "config.yaml").is_file()


def test_several_ranks_run_under_a_process_that_starts_them(started: list[list[str]]) -> None:
    launch(run_config("output_dir=mine", "launch.num_processes=4"))
    assert started[0][-2:] == ["--ranks", "4"]


def test_a_resumed_run_starts_in_its_own_folder_and_makes_none(started: list[list[str]]) -> None:
    RunFolder.create(Path("mine"), run_config())
    launch(run_config("resume=mine"))
    assert started == [[sys.executable, "-m", "tsallis_run.launch", "mine", "--resume"]]
    assert list(Path().iterdir()) == [Path("mine")]


def test_a_finished_run_is_not_run_again(started: list[list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    folder = RunFolder.create(Path("mine"), run_config("output_dir=mine"))
    results = Results.of(run_config(), status="finished", best_step=0, validation={}, test={"maj@16": 0.5})
    write_results(folder, results)
    assert launch(run_config("output_dir=mine")) == launch(run_config("resume=mine")) == 0
    assert started == []
    assert "finished before, nothing is left to do" in capsys.readouterr().out
    launch(run_config("output_dir=mine", "num_steps=401"))
    assert len(started) == 1


def test_runs_that_start_in_the_same_second_get_folders_of_their_own() -> None:
    now = datetime(2026, 5, 7, 12, 30, 1)
    paths = [start._new_folder(run_config("q=0.5"), now) for _ in range(3)]
    assert [str(path) for path in paths] == [
        "outputs/2026-05-07/12-30-01-paft-q0.5-reversal",
        "outputs/2026-05-07/12-30-01-paft-q0.5-reversal-2",
        "outputs/2026-05-07/12-30-01-paft-q0.5-reversal-3",
    ]


def test_the_name_of_a_run_without_q_leaves_it_out() -> None:
    path = start._new_folder(run_config("estimator=grpo"), datetime(2026, 5, 7, 12, 30, 1))
    assert path.name == "12-30-01-grpo-reversal"


def test_an_evaluation_is_named_after_what_it_does() -> None:
    path = start._new_folder(run_config("task=evaluate"), datetime(2026, 5, 7, 12, 30, 1))
    assert path.name == "12-30-01-evaluate-reversal"


def test_servers_that_are_not_there_are_told_before_anything_starts(started: list[list[str]]) -> None:
    dead = run_config("rollout=vllm_server", "rollout.urls=[http://127.0.0.1:9]", "output_dir=mine")
    with pytest.raises(UserError, match=r"rollout\.urls: must be running vLLM servers, got http://127\.0\.0\.1:9: "):
        launch(dead)
    assert (started, list(Path().iterdir())) == ([], [])


@pytest.mark.parametrize("records", [False, True])
def test_a_users_mistake_leaves_no_folder_unless_a_run_had_begun_in_it(
    monkeypatch: pytest.MonkeyPatch, records: bool
) -> None:
    def run_child(command: Sequence[str], environment: Mapping[str, str]) -> int:
        folder = RunFolder(Path(command[3]))
        folder.manifest.write_text("{}")
        if records:
            folder.metrics.write_text("{}\n")
        return ExitStatus.USER_ERROR

    monkeypatch.setattr(start, "run_child", run_child)
    assert launch(run_config("output_dir=mine")) == 2
    assert Path("mine").exists() == Path("mine", "config.yaml").exists() == records


def test_a_schedule_of_q_makes_a_plain_folder_name() -> None:
    path = start._new_folder(run_config("experiment=sft_then_rl"), datetime(2026, 5, 7, 12, 30, 1))
    assert path.name == "12-30-01-garl-q1-0-step-at-200-reversal"


def test_a_rank_reads_its_run_from_the_folder(trained: list[tuple[str, RunConfig, RunFolder]]) -> None:
    RunFolder.create(Path("mine"), run_config("q=0.25", "output_dir=elsewhere"))
    assert main(["mine"]) == 0
    ((task, config, folder),) = trained
    assert (task, config.q, config.output_dir, config.resume) == ("train", 0.25, "mine", None)
    assert folder == RunFolder(Path("mine"))


def test_a_rank_of_a_resumed_run_knows_it(trained: list[tuple[str, RunConfig, RunFolder]]) -> None:
    RunFolder.create(Path("mine"), run_config())
    main(["mine", "--resume"])
    assert trained[0][1].resume == "mine"


def test_the_task_decides_what_a_rank_does(trained: list[tuple[str, RunConfig, RunFolder]]) -> None:
    RunFolder.create(Path("mine"), run_config("task=evaluate"))
    main(["mine"])
    assert trained[0][0] == "evaluate_only"


def test_the_number_of_ranks_is_what_runs_now(
    trained: list[tuple[str, RunConfig, RunFolder]], monkeypatch: pytest.MonkeyPatch
) -> None:
    RunFolder.create(Path("mine"), run_config("launch.num_processes=2"))
    monkeypatch.setenv("WORLD_SIZE", "4")
    main(["mine"])
    assert trained[0][1].launch.num_processes == 4


def test_a_rank_without_a_run_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nowhere"]) == 2
    message = "tsallis-run: resume: must be a run folder with its config.yaml, got nowhere; check the path\n"
    assert capsys.readouterr().err == message


def test_a_config_yaml_that_is_not_valid_any_more_is_a_mistake() -> None:
    folder = RunFolder.create(Path("mine"), run_config())
    folder.config_yaml.write_text(folder.config_yaml.read_text().replace("num_steps:", "nmu_steps:"))
    with pytest.raises(UserError, match=r"nmu_steps: no such key; did you mean num_steps\?"):
        read_run(folder, resume=True)


@pytest.mark.parametrize("rank", ["0", "1"])
def test_under_torchrun_the_process_is_the_rank_and_rank_0_makes_the_folder(
    trained: list[tuple[str, RunConfig, RunFolder]],
    started: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    rank: str,
) -> None:
    for name, value in {"RANK": rank, "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1", "TSALLIS_RUN_COMMAND": ""}.items():
        monkeypatch.setenv(name, value)
    assert launch(run_config("output_dir=mine")) == 0
    assert (trained[0][1].launch.num_processes, trained[0][2]) == (2, RunFolder(Path("mine")))
    assert started == []
    assert Path("mine", "config.yaml").exists() == (rank == "0")


def test_a_rank_of_torchrun_that_is_told_to_stop_before_its_training_ends_with_75(
    trained: list[tuple[str, RunConfig, RunFolder]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "0")
    launch(run_config("output_dir=mine"))
    with pytest.raises(SystemExit) as ended:
        signal.raise_signal(signal.SIGTERM)
    assert ended.value.code == 75


def test_a_rank_of_torchrun_leaves_no_folder_after_a_users_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(config: RunConfig, folder: RunFolder) -> int:
        raise UserError("dataset: must be here")

    module = ModuleType("tsallis_run.train")
    monkeypatch.setattr(module, "train", train, raising=False)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(UserError, match="dataset: must be here"):
        launch(run_config("output_dir=mine"))
    assert list(Path().iterdir()) == []


def test_under_torchrun_the_ranks_need_a_folder_they_agree_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(UserError, match="output_dir: must be set where several machines, torchrun or srun start the"):
        launch(run_config())


def test_ranks_that_cannot_share_the_prompts_leave_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(UserError, match=r"prompts_per_step: must be a multiple of launch\.num_processes=3, got 8"):
        launch(run_config("output_dir=mine"))
    assert list(Path().iterdir()) == []


def test_a_task_of_srun_is_a_rank(
    trained: list[tuple[str, RunConfig, RunFolder]], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"STEP_NUM_TASKS": "4", "STEP_NUM_NODES": "2", "STEP_NODELIST": "node[1-2]", "PROCID": "0", "LOCALID": "0"}
    for name, value in {**told, "JOB_ID": "17", "STEP_ID": "0"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert launch(run_config("output_dir=mine")) == 0
    assert (trained[0][1].launch.num_processes, trained[0][1].launch.num_nodes) == (2, 2)
    assert os.environ["MASTER_ADDR"] == "node1"


@pytest.mark.parametrize(("host", "first"), [("localhost", True), ("192.0.2.1", False)])
def test_of_several_machines_the_first_makes_the_folder(started: list[list[str]], host: str, first: bool) -> None:
    launch(run_config("output_dir=mine", "launch.num_nodes=2", f"launch.rendezvous={host}:29500"))
    machines = ["--ranks", "1", "--nodes", "2", "--rendezvous", f"{host}:29500"]
    assert started[0][3:] == ["mine", *machines, *(["--first"] if first else [])]
    assert Path("mine", "config.yaml").exists() == first


def test_several_machines_need_a_folder_they_agree_on(started: list[list[str]]) -> None:
    with pytest.raises(UserError, match="output_dir: must be set where several machines"):
        launch(run_config("launch.num_nodes=2", "launch.rendezvous=localhost:29500"))
    assert (started, list(Path().iterdir())) == ([], [])


@pytest.mark.parametrize(
    ("overrides", "outside", "threads"),
    [
        (("launch.threads_per_process=3",), {"OMP_NUM_THREADS": "7"}, "3"),
        (("launch.threads_per_process=null",), {"OMP_NUM_THREADS": "7"}, "7"),
        (("model=smollm2_135m",), {}, "6"),
        ((), {}, "1"),  # the tiny model's own setting
        (("launch.num_processes=2", "model=smollm2_135m"), {}, "3"),  # 6 cores // 2 ranks
        (("launch.num_processes=8", "model=smollm2_135m"), {}, "1"),
    ],
)
def test_ranks_share_the_cores(
    monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...], outside: dict[str, str], threads: str
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    assert child_environment(run_config(*overrides), outside)["OMP_NUM_THREADS"] == threads


def test_the_childs_environment_keeps_what_was_there_and_knows_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/opt/bin/tsallis-run", "q=0.5", "model.path=a b"])
    environment = child_environment(run_config(), {"HF_HUB_OFFLINE": "1", "GLIBC_TUNABLES": "glibc.malloc.check=3"})
    assert environment["GLIBC_TUNABLES"] == "glibc.malloc.check=3"
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert environment["TSALLIS_RUN_COMMAND"] == "tsallis-run q=0.5 'model.path=a b'"

"""What a worker does besides serving: it takes weights from shared memory, and it ends with the run and not before."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from small import run_config

import tsallis_run
from tsallis_run.config import VllmServerRollout
from tsallis_run.engine.server.shared_weights import ALIGNMENT_BYTES, SharedWeights, read_shared_weights
from tsallis_run.engine.server.worker_process import worker_command, worker_environment
from tsallis_run.types import STOP_SIGNALS, UserError

WORKER = """
import runpy, subprocess, sys, time
from multiprocessing import resource_tracker
from pathlib import Path
from tsallis_run.engine.server import worker

def serve(*_arguments, **_settings):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path("pids").write_text(f"{__import__('os').getpid()} {child.pid}")
    while True:
        resource_tracker.ensure_running()  # as any use of shared memory does
        time.sleep(0.02)

runpy.run_module = serve
worker.main()
"""
"""A worker whose server is a sleep, with a process that it has started."""

RUN = """
import os, sys, time
from pathlib import Path
from tsallis_run.engine.server.worker_process import WorkerProcess
worker = WorkerProcess([sys.executable, "-c", Path("worker.py").read_text()], os.environ, Path("log"))
time.sleep(600)
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_worker_outlives_stop_signals_and_not_the_run(tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    environment = {**os.environ, "PYTHONPATH": str(Path(tsallis_run.__file__).parents[1])}
    run = subprocess.Popen([sys.executable, "-c", RUN], cwd=tmp_path, env=environment)
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "pids").exists() or not (tmp_path / "pids").read_text():
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.02)
        pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
        for number in STOP_SIGNALS * 2:
            os.killpg(pids[0], number)
            time.sleep(0.1)
        assert [is_running(pid) for pid in pids] == [True, True]
    finally:
        run.kill()
        run.wait()
    deadline = time.monotonic() + 20
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline, "the worker outlives the run"
        time.sleep(0.02)


def server_rollout(*overrides: str) -> VllmServerRollout:
    rollout = run_config("rollout=vllm_server", *overrides).rollout
    assert isinstance(rollout, VllmServerRollout)
    return rollout


def test_a_workers_environment_is_that_of_the_run_without_its_rank() -> None:
    ours = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "HF_HOME": "/models", "VLLM_LOGGING_LEVEL": "INFO"}
    theirs = worker_environment(server_rollout(), 0, ours, num_gpus=0)
    assert not {"RANK", "LOCAL_RANK", "WORLD_SIZE", "CUDA_VISIBLE_DEVICES"} & theirs.keys()
    assert (theirs["HF_HOME"], theirs["VLLM_LOGGING_LEVEL"]) == ("/models", "INFO")
    assert (theirs["VLLM_NO_USAGE_STATS"], theirs["DO_NOT_TRACK"], theirs["VLLM_SERVER_DEV_MODE"]) == ("1", "1", "1")


@pytest.mark.parametrize(("visible", "expected"), [(None, "4,5"), ("0,1,2,3,12,13,14,15", "12,13"), ("", "4,5")])
def test_a_worker_gets_gpus_of_its_own_behind_those_of_the_ranks(visible: str | None, expected: str) -> None:
    overrides = ["rollout.num_workers=2", "rollout.tensor_parallel_size=2"]
    environment = {"LOCAL_WORLD_SIZE": "2"} | ({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})
    assert (
        worker_environment(server_rollout(*overrides), 1, environment, num_gpus=8)["CUDA_VISIBLE_DEVICES"] == expected
    )


def test_more_workers_than_gpus_are_the_users_mistake() -> None:
    rollout = server_rollout("rollout.num_workers=8")
    with pytest.raises(UserError, match=r"rollout.num_workers: must fit the GPUs .* \(8 on this machine\), got 8"):
        worker_environment(rollout, 0, {}, num_gpus=8)


def test_a_worker_listens_on_this_machine_only_and_starts_on_random_weights() -> None:
    command = worker_command({"load_format": "dummy", "enforce_eager": False}, server_rollout(), 5000, on_gpu=True)
    settings = dict(itertools.pairwise(command))
    assert (settings["--host"], settings["--port"], settings["--load-format"]) == ("127.0.0.1", "5000", "dummy")
    assert "--no-enforce-eager" in command


WEIGHTS = {
    "matrix": torch.randn(3, 5),
    "half": torch.randn(7).to(torch.bfloat16),
    "transposed": torch.randn(4, 6).T,
    "number": torch.tensor(2.5),
}


def test_shared_weights_arrive_bit_by_bit() -> None:
    shared = SharedWeights(WEIGHTS.items(), version=3)
    read = dict(read_shared_weights(shared.path, 3))
    assert list(read) == list(WEIGHTS)
    for name, weight in WEIGHTS.items():
        assert read[name].dtype == weight.dtype
        assert torch.equal(read[name], weight)
        assert read[name].data_ptr() % ALIGNMENT_BYTES == 0
    shared.close()


def test_another_process_reads_them_and_nothing_is_left_when_they_are_closed() -> None:
    shared = SharedWeights(WEIGHTS.items(), version=3)
    program = (
        "import sys; from tsallis_run.engine.server.shared_weights import read_shared_weights\n"
        "print(sum(weight.float().sum() for _, weight in read_shared_weights(sys.argv[1], 3)).item())"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(tsallis_run.__file__).parents[1])}
    command = [sys.executable, "-c", program, shared.path]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
    expected = sum(weight.float().sum() for weight in WEIGHTS.values())
    assert float(done.stdout) == pytest.approx(float(expected), abs=1e-5)
    shared.close()
    assert not Path(shared.path).exists()


def test_weights_of_another_version_than_announced_are_refused() -> None:
    shared = SharedWeights(WEIGHTS.items(), version=3)
    with pytest.raises(ValueError, match="are of version 3, version 4 was announced"):
        list(read_shared_weights(shared.path, 4))
    shared.close()

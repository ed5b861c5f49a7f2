"""One of two ranks that share a given server, a fake one, for test_server_engine."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from engine.fake_server import serve, usual_answer
from small import run_config
from torch import Tensor

from tsallis_run import ranks
from tsallis_run.config import VllmServerRollout
from tsallis_run.engine.server.engine import VllmServerEngine
from tsallis_run.engine.vllm_settings import ServedModel
from tsallis_run.policy.model_folder import model_folder
from tsallis_run.types import CompletionRequest, EngineError

REQUESTS = [CompletionRequest((5, 6), 3, (), seed) for seed in range(4)]


def start_server(calls: list[str]) -> str:
    """Takes new weights twice and refuses them from then on."""

    def answer(path: str, body: Any) -> tuple[int, str]:
        calls.append(path)
        if path == "/update_weights" and calls.count(path) > 2:
            return 500, "out of memory"
        return usual_answer(path, body)

    fake = serve(0, answer)
    threading.Thread(target=fake.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{fake.server_port}"


def build(url: str) -> VllmServerEngine:
    config = run_config("rollout=vllm_server", f"rollout.urls=[{url}]", "launch.num_processes=2")
    assert isinstance(config.rollout, VllmServerRollout)
    model = ServedModel(model_folder(config.model, seed=0), "float32", 64, trust_remote_code=False)
    return VllmServerEngine(model, config.rollout, tolerance_nats=1e-3, run_folder=Path())


def main(file: Path) -> None:
    ranks.join()
    calls: list[str] = []
    url = [start_server(calls) if ranks.is_first() else ""]
    dist.broadcast_object_list(url)
    engine, num_drawn, told = build(url[0]), 0, ""

    def weights() -> Iterator[tuple[str, Tensor]]:
        nonlocal num_drawn
        for name in ("a", "b", "c"):
            num_drawn += 1
            yield name, torch.ones(2)

    completions = []
    for version in (1, 2):
        engine.load_weights(weights(), version)
        completions += engine.complete(REQUESTS)
    try:
        engine.load_weights(weights(), 3)
    except EngineError as error:
        told = str(error)
    failed = "out of memory" in told
    own = [[num_drawn, len(completions), float(failed), engine.policy_version]]
    everywhere = ranks.gathered(own)
    if ranks.is_first():
        found = {"ranks": torch.tensor(everywhere), "updates": torch.tensor(calls.count("/update_weights"))}
        torch.save(found, file)
    ranks.wait_for_all()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

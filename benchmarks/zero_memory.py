"""Bytes per weight that DeepSpeed holds at each ZeRO stage, for docs/scaling.md.

    python benchmarks/zero_memory.py            two ranks; takes minutes

Counts the tensors that are alive, not what an allocator takes: so a CPU machine measures what a GPU would hold.
Models of two sizes tell what grows with the model (bytes per weight) from what does not (buckets, in GB).
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

WIDTH = 1024
DEPTHS = (12, 24)
"""Stacks of square matrices, 12.6 and 25.2 million weights, whose activations weigh little beside them."""

NUM_RANKS = 2


def bytes_alive() -> int:
    """Of every tensor's memory, shared memory counted once."""
    import torch

    gc.collect()
    storages = {}
    for thing in gc.get_objects():
        if isinstance(thing, torch.Tensor):
            for tensor in (thing, thing.grad if thing.is_leaf else None):
                if tensor is not None:
                    storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
    return sum(storages.values())


def measure(dtype: str, stage: int, depth: int) -> tuple[int, int]:
    """Bytes alive between two micro-batches of a step, and between two steps; run by every rank."""
    import deepspeed
    import torch
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from tsallis_run import ranks
    from tsallis_run.config import validate
    from tsallis_run.policy.zero import _settings

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    ranks.join()
    with initialize_config_dir(str(Path(__file__).resolve().parents[1] / "conf"), version_base=None):
        composed = compose("config", [f"zero=stage{stage}", f"model.dtype={dtype}"])
    settings = _settings(validate(OmegaConf.to_container(composed, resolve=True)))
    precision = getattr(torch, dtype)
    model = torch.nn.Sequential(*(torch.nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(depth))).to(precision)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    engine = deepspeed.initialize(model=model, optimizer=optimizer, config=settings)[0]
    for _ in range(2):
        for last in (False, True):
            engine.set_gradient_accumulation_boundary(last)
            engine.backward(engine(torch.ones(1, WIDTH, dtype=precision)).float().square().mean())
            if not last:
                within = bytes_alive()
        engine.step()
    return within, bytes_alive()


def measured(dtype: str, stage: int, depth: int) -> tuple[int, int]:
    """What rank 0 of `NUM_RANKS` processes measures."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={NUM_RANKS}"]
    output = subprocess.run(
        [*launcher, __file__, dtype, str(stage), str(depth)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (line,) = (line for line in output.splitlines() if line.startswith("bytes "))
    within, between = line.split()[1:]
    return int(within), int(between)


def main(arguments: list[str]) -> None:
    """Measures where told what; else measures everything and prints the table."""
    if arguments:
        dtype, stage, depth = arguments
        within, between = measure(dtype, int(stage), int(depth))
        if os.environ["RANK"] == "0":
            print(f"bytes {within} {between}", flush=True)
        return
    print(f"{NUM_RANKS} ranks                within a step          between steps")
    more_weights = WIDTH * WIDTH * (DEPTHS[1] - DEPTHS[0])
    for dtype in ("bfloat16", "float32"):
        for stage in range(1 if dtype == "bfloat16" else 0, 4):
            small, large = (measured(dtype, stage, depth) for depth in DEPTHS)
            per_weight = [(b - a) / more_weights for a, b in zip(small, large, strict=True)]
            fixed = [a / 1e9 - p * WIDTH * WIDTH * DEPTHS[0] / 1e9 for a, p in zip(small, per_weight, strict=True)]
            parts = [f"{p:5.2f} bytes + {f:4.2f} GB" for p, f in zip(per_weight, fixed, strict=True)]
            print(f"{dtype:8} stage {stage}      {parts[0]}    {parts[1]}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

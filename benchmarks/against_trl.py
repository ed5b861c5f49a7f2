"""A training step of this program beside one of TRL's GRPOTrainer: seconds, memory, and the machine's own ceiling.

    pip install --no-deps --target FOLDER "trl==1.16.*"
    PYTHONPATH=FOLDER python benchmarks/against_trl.py [--prompt-tokens 44] [--dtype float32] [--steps 3] [--warm-up 3]

Both train SmolLM2-135M on the same 4 prompts x 8 completions x 64 forced tokens. TRL is no
dependency of the project; where it cannot be imported it is left out. GARL and PAFT learn from gold
answers behind 64-token rationales; GRPO samples an answer besides, as TRL's completions hold theirs.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from pathlib import Path

import torch
from side_by_side import AS_A_RANK, Numbers, answer, machine, medians

HERE = Path(__file__).parent
PARAMETERS = 134_515_008
"""Of SmolLM2-135M."""
ESTIMATORS = {"garl": ("estimator=garl", "q=0.75"), "paft": ("estimator=paft", "q=0.75")}
MATRIX = {"float32": 3072, "bfloat16": 4096}
REPEATS = 5
KEPT = "trl-kept"
"""The peer with the same setting of glibc that our ranks have; by itself it has none."""
PEERS = ("trl", KEPT)


def contenders(arguments: argparse.Namespace) -> dict[str, list[str]]:
    tokens, dtype = str(arguments.prompt_tokens), arguments.dtype
    own = [*AS_A_RANK, str(HERE / "one_step.py"), tokens, f"model.dtype={dtype}", *arguments.overrides]
    ours = {name: [*own, *ESTIMATORS[name]] for name in arguments.estimators}
    has_trl = importlib.util.find_spec("trl") is not None
    peer = [str(HERE / "trl_step.py"), tokens, dtype]
    peers = {"trl": [sys.executable, *peer], KEPT: [*AS_A_RANK, *peer]}
    asked = {name: peers[name] for name in arguments.peers} if has_trl else {}
    return {"ceiling": [sys.executable, __file__, "--ceiling", dtype], **ours, **asked}


def matrix_product(dtype: str) -> Numbers:
    """The machine's own matrix product, in 1e9 operations a second: the best of a few, by two kinds of shape."""
    size, precision = MATRIX[dtype], getattr(torch, dtype)
    rates = []
    for rows, inner, columns in ((size, size, size), (2400, 576, 1536)):
        a, b = torch.randn(rows, inner, dtype=precision), torch.randn(inner, columns, dtype=precision)
        times = max(1, int(2 * size**3 / (2 * rows * inner * columns)))
        for _ in range(REPEATS):
            begun = time.perf_counter()
            for _ in range(times):
                a @ b
            rates.append(2e-9 * rows * inner * columns * times / (time.perf_counter() - begun))
    return {"gflops": max(rates)}


def trainer_gflops(row: Numbers) -> float:
    """6 N per trained token and 2 N per token that is only scored, over the seconds of score and backward."""
    work = PARAMETERS * (6 * row["trained_tokens"] + 2 * row["scored_tokens"])
    return 1e-9 * work / (row["score_seconds"] + row["backward_seconds"])


def print_table(found: dict[str, Numbers]) -> None:
    ceiling = found.pop("ceiling")["gflops"]
    peers = {name: found.pop(name) for name in PEERS if name in found}
    whole = {name: row["generate_seconds"] + row["train_seconds"] for name, row in peers.items()}
    print(f"matrix product {ceiling:.0f} GFLOP/s; TRL takes .. times as long, as it comes and with memory kept")
    print(
        f"{'':6}{'generate':>9}{'score':>7}{'backward':>9}{'step':>6}{'sync':>6}{'s/step':>8}{'TRL/ours':>15}"
        f"{'peak GB':>9}{'trained':>9}{'scored':>8}{'GFLOP/s':>9}{'of ceiling':>11}{'padding':>9}"
    )
    for name, row in found.items():
        phases = [row[f"{phase}_seconds"] for phase in ("generate", "score", "backward", "step", "sync")]
        ratios = " ".join(f"{seconds / sum(phases):.2f}" for seconds in whole.values())
        rate = trainer_gflops(row)
        print(
            f"{name:6}{phases[0]:9.2f}{phases[1]:7.2f}{phases[2]:9.2f}{phases[3]:6.2f}{phases[4]:6.2f}{sum(phases):8.2f}"
            f"{ratios:>15}{row['peak_gb']:9.1f}{row['trained_tokens']:9.0f}{row['scored_tokens']:8.0f}{rate:9.0f}"
            f"{rate / ceiling:11.0%}{row['padding_fraction']:9.0%}"
        )
    for name, row in peers.items():
        print(
            f"{name}: {row['generate_seconds']:.2f} s generate, {row['train_seconds']:.2f} s all else, "
            f"{whole[name]:.2f} s/step, {row['peak_gb']:.1f} GB"
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--prompt-tokens", type=int, default=44)
    parser.add_argument("--dtype", choices=sorted(MATRIX), default="float32")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--warm-up", type=int, default=3, help="steps ahead of those")
    parser.add_argument("--estimators", nargs="+", choices=sorted(ESTIMATORS), default=list(ESTIMATORS))
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=PEERS)
    parser.add_argument("--ceiling", choices=sorted(MATRIX), help=argparse.SUPPRESS)
    parser.add_argument("--overrides", nargs="*", default=[], help="settings of this program, key=value")
    arguments = parser.parse_args()
    if arguments.ceiling:
        answer(lambda: matrix_product(arguments.ceiling))
        return
    print(f"{machine()}; prompts of about {arguments.prompt_tokens} tokens, {arguments.dtype}")
    print_table(medians(contenders(arguments), arguments.steps, arguments.warm_up))


if __name__ == "__main__":
    main()

"""One rank against two on the same rollouts: loss, gradient, weights behind five steps, evaluation.

python benchmarks/rank_parity.py        from a checkout: the ranks are those of tests/policy/rank_worker.py
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from many_ranks import run_ranks
from policy.rank_worker import NUM_STEPS, SHARES_OF_MASS, STAGES


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        one, two = (run_ranks("policy.rank_worker", size, Path(folder, f"{size}.pt")) for size in (1, 2))
    print(f"{'work of the two ranks':24}{'ZeRO':>5}{'loss of one':>14}{'difference':>12}{'gradient':>12}")
    for case in SHARES_OF_MASS:
        for stage in STAGES:
            name = f"{case}, stage {stage}"
            loss, other = float(one[f"loss, {name}"]), float(two[f"loss, {name}"])
            ours, theirs = one[f"gradient, {name}"], two[f"gradient, {name}"]
            relative = float((ours - theirs).abs().max() / ours.abs().max())
            print(f"{case:24}{stage:5}{loss:14.6f}{other - loss:12.1e}{relative:12.1e}")
    weights = float((one["weights behind steps"] - two["weights behind steps"]).abs().max())
    print(f"weights behind {NUM_STEPS} steps, stage 3, all mass on the first: differ by at most {weights:.1e}")
    same = one["evaluation"].tolist() == two["evaluation"].tolist()
    print(f"{len(one['evaluation'])} evaluation numbers of given rollouts: {'equal' if same else 'DIFFERENT'}")
    print("gradient: largest difference relative to the largest entry")


if __name__ == "__main__":
    main()

"""Sampling ahead against taking turns: seconds a step of the same run with rollout.max_staleness 0 and 1.

python benchmarks/overlap.py FOLDER [key=value ...]     two runs with rollout=vllm_server, one after the other

A worker and the trainer need a core, or a GPU, each; on a machine with less there is nothing to win.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

from tsallis_run.tracking.records import RunFolder, read_rows

SETTINGS = (
    *(
        "rollout=vllm_server",
        "estimator=garl",
        "num_steps=20",
        "prompts_per_step=16",
        "rollout.max_rationale_tokens=24",
    ),
    *("evaluation.every_steps=20", "dataset.num_validation=2", "dataset.num_test=2", "evaluation.num_samples=2"),
    *("rollout.importance_correction=sequence", "checkpoint.every_steps=null", "tracker.wandb.mode=disabled"),
)
WARM_UP_STEPS = 3
PHASES = ("sync", "generate", "score", "backward", "step")


def main(folder: Path, overrides: list[str]) -> None:
    steps = [_step_seconds(folder / f"staleness-{staleness}", staleness, overrides) for staleness in (0, 1)]
    print(f"{'max_staleness':>14}{'s/step':>9}" + "".join(f"{phase:>10}" for phase in PHASES))
    for staleness, phases in enumerate(steps):
        print(f"{staleness:14}{sum(phases):9.3f}" + "".join(f"{seconds:10.3f}" for seconds in phases))
    print(f"taking turns takes {sum(steps[0]) / sum(steps[1]):.2f} times as long")


def _step_seconds(output: Path, staleness: int, overrides: list[str]) -> list[float]:
    """Median seconds of every phase, the first steps left out."""
    own = [f"output_dir={output}", f"rollout.max_staleness={staleness}"]
    command = [sys.executable, "-c", "from tsallis_run.cli import main; main()", *SETTINGS, *overrides, *own]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    rows = [row for row in read_rows(RunFolder(output).metrics) if row["split"] == "train"][WARM_UP_STEPS:]
    return [statistics.median(float(row[f"{phase}_seconds"]) for row in rows) for phase in PHASES]


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])

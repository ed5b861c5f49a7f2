"""The train rows of many runs as one table: seconds a step, weights, gradient, engine against trainer.

python benchmarks/step_table.py FOLDER...       run folders, or folders of them
"""

from __future__ import annotations

import sys
from pathlib import Path

from tsallis_run.tracking.records import RunFolder, read_rows

PHASES = ("generate", "score", "backward", "step", "sync")
KEYS = {*(f"{phase}_seconds" for phase in PHASES), "mean_log_w", "p_hat", "grad_norm", "engine_trainer_difference_mean"}


def main(paths: list[str]) -> None:
    print(
        f"{'data':10}{'estimator':11}{'start':6}{'s/step':>8}{'gen':>7}{'score':>7}{'back':>7}{'step':>6}{'sync':>6}"
        f"{'mean log w':>12}{'P-hat':>10}{'grad_norm':>11}{'diff mean':>11}{'diff max':>10}"
    )
    for file in sorted(file for path in paths for file in Path(path).rglob("metrics.jsonl")):
        folder = RunFolder(file.parent)
        config = folder.read_config()
        rows = [row for row in read_rows(folder.metrics) if row["split"] == "train"]
        if not rows:
            continue
        mean = {key: sum(float(row[key]) for row in rows) / len(rows) for key in rows[0] if key in KEYS}
        seconds = [mean[f"{phase}_seconds"] for phase in PHASES]
        print(
            f"{config['dataset']['name']:10}{config['estimator']['name']:11}{config['start']['name']:6}{sum(seconds):8.1f}"
            f"{seconds[0]:7.1f}{seconds[1]:7.1f}{seconds[2]:7.1f}{seconds[3]:6.1f}{seconds[4]:6.1f}{mean['mean_log_w']:12.2f}{mean['p_hat']:10.1e}"
            f"{mean['grad_norm']:11.3g}{mean['engine_trainer_difference_mean']:11.1e}"
            f"{max(float(row['engine_trainer_difference_max']) for row in rows):10.1e}"
        )


if __name__ == "__main__":
    main(sys.argv[1:])

"""Draws the README's picture: validation maj@16 against step, PAFT at q = 0.75 beside GRPO, on the embedded task.

tsallis-run -m estimator=paft,grpo seed=0,1,2 output_dir=runs    # half an hour on two busy CPU cores
python benchmarks/first_picture.py runs
"""

from __future__ import annotations

import argparse
from pathlib import Path

from drawing import BLUE, ORANGE, Style, save
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from tsallis_run.report import Row, result_table

LINES = {"paft": (BLUE, "PAFT, q = 0.75"), "grpo": (ORANGE, "GRPO")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="finished runs, or folders of them")
    parser.add_argument("--png", type=Path, help="folder for a PNG copy, to look at")
    options = parser.parse_args()
    figure, axes = plt.subplots(figsize=(6.4, 2.6), layout="constrained")
    rows = result_table(options.folders)
    for estimator, (style, label) in LINES.items():
        draw(axes, [row for row in rows if row.results.estimator == estimator], style, label)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("validation maj@16 (%)")
    axes.set_ylim(-4, 104)
    axes.legend(loc="upper left")
    save(figure, "first_picture", options.png)


def draw(axes: Axes, rows: list[Row], style: Style, label: str) -> None:
    """The mean over seeds, every seed as a thin line behind it."""
    assert rows, f"no runs for {label}"
    steps = [step for step, _ in rows[0].validations]
    curves = [[100 * majority for _, majority in row.validations] for row in rows]
    for curve in curves:
        axes.plot(steps, curve, color=style.color, linewidth=0.7, alpha=0.45)
    mean = [sum(values) / len(values) for values in zip(*curves, strict=True)]
    style.plot(axes, steps, mean, f"{label} (mean of {len(rows)} seeds)")
    for row in rows:
        run = row.results
        print(f"{label}, seed {run.seed}: test maj@16 {run.test['maj@16']:.3f} of step {run.best_step}")


if __name__ == "__main__":
    main()

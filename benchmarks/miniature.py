"""A study of docs/results.md: keeps the numbers of its runs, prints its table and draws its figure.

    tsallis-run -m +sweep=miniature_cold output_dir=runs/cold
    python benchmarks/miniature.py cold runs/cold

writes docs/results/cold.csv (one line for each run), docs/results/cold_curves.csv and docs/figures/miniature_cold.svg.
Without folders the table and the figure are made of the numbers that are kept.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import drawing
from miniature_figures import FIGURES
from miniature_records import read_runs, table, write_runs
from miniature_studies import STUDIES

from tsallis_run.report import result_table

RECORDS = drawing.FIGURES.parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("folders", nargs="*", type=Path, help="the sweep's, and that of a study it is compared with")
    parser.add_argument("--png", type=Path, help="folder for a PNG copy, to look at")
    options = parser.parse_args()
    study = STUDIES[options.study]
    if options.folders:
        runs = study.runs(result_table(options.folders))
        write_runs(RECORDS, options.study, study.headings, runs)
    kept = read_runs(RECORDS, options.study)
    print("\n".join(table(kept, study.forms)))
    drawing.save(FIGURES[options.study](kept), f"miniature_{options.study}", options.png)


if __name__ == "__main__":
    main()

"""tsallis-report: runs and sweeps -> a table in the terminal, and with -o one page with tables, plots and rollouts.

What a launched run needs of it, its row of results, imports nothing heavy; matplotlib comes with the page alone.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tsallis_run.report.runs import Row, result_table
from tsallis_run.report.text import render
from tsallis_run.types import UserError

__all__ = ["Row", "main", "render", "result_table"]


def main(argv: Sequence[str] | None = None) -> int:
    """The command line of `tsallis-report`.

    Returns:
        The exit status: 0, or 2 for a user's mistake.
    """
    options = _parser().parse_args(argv)
    try:
        rows = result_table(options.folders)
        print(render(rows) if options.rollouts is None else _rollouts(rows, options.rollouts))
        if options.output:
            _write(options.output, rows)
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has seen enough; nor may the interpreter's own flush at its end complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tsallis-report", description="What came of runs and sweeps.")
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="a run folder, or a folder of them")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="DIR",
        help="also write DIR/report.html (tables beside the paper's numbers, plots, rollouts; one file, no network), "
        "DIR/table.md (the tables) and DIR/table.csv (every number of every run, unrounded)",
    )
    parser.add_argument(
        "--rollouts",
        metavar="STEP",
        help="print the rollouts of one training step, or of the last one saved (last), of the last validation "
        "(validation) or of the test (test)",
    )
    return parser


def _rollouts(rows: Sequence[Row], step: str) -> str:
    """Of every run that has them; the others are told on standard error.

    Raises:
        UserError: where no run has them.
    """
    from tsallis_run.report.rollouts import rollout_words

    words, faults = [], []
    for row in rows:
        try:
            words.append(rollout_words(row, step))
        except UserError as error:
            faults.append(str(error))
    if not words:
        raise UserError("\n".join(faults))
    for fault in faults:
        print(fault, file=sys.stderr)
    return "\n\n".join(words)


def _write(folder: Path, rows: Sequence[Row]) -> None:
    from tsallis_run.report.page import render_page
    from tsallis_run.report.paper_layout import render_markdown, result_tables
    from tsallis_run.report.text import write_csv

    tables = result_tables(rows)
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "table.csv", rows)
    (folder / "table.md").write_text(render_markdown(tables), encoding="utf-8")
    (folder / "report.html").write_text(render_page(rows, tables), encoding="utf-8")
    print(f"\n{folder / 'report.html'}, table.md and table.csv written")

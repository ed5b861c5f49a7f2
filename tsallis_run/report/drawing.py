"""How figures look: told apart in grey print and by colour-blind readers as well; and how they become SVG."""

from __future__ import annotations

import html
import io
import re
import textwrap
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDTH_INCHES, AXES_INCHES, LEGEND_LINE_INCHES = 4.6, 2.7, 0.19

RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.labelsize": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "0.35",
    "xtick.color": "0.2",
    "ytick.color": "0.2",
    "grid.color": "0.9",
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.handlelength": 3.0,
    "legend.columnspacing": 1.4,
    "legend.labelspacing": 0.3,
    "hatch.linewidth": 0.7,
    "svg.fonttype": "none",  # text stays text: it can be searched and copied, and the page stays small
}


@dataclass(frozen=True)
class Style:
    """A line that is told from the others by colour, by dashes and by marker, each alone."""

    color: str
    dashes: tuple[float, ...]
    """Lengths of dash and gap in line widths; empty for a solid line."""
    marker: str


# Okabe and Ito's colours, which stay apart for every kind of colour blindness; their yellow is too pale for a line.
STYLES = (
    Style("#0072B2", (), "o"),
    Style("#D55E00", (5.0, 1.6), "s"),
    Style("#009E73", (4.0, 1.3, 1.0, 1.3), "^"),
    Style("#CC79A7", (1.2, 1.2), "D"),
    Style("#000000", (8.0, 2.0), "v"),
    Style("#56B4E9", (3.0, 1.0, 1.0, 1.0, 1.0, 1.0), "P"),
    Style("#E69F00", (2.5, 1.0), "X"),
)

NUMBERED_ID = re.compile(r' id="[\w.]*_\d+"')
"""matplotlib's names for the parts of a figure, the same in every figure, and nothing refers to them."""
STYLE_RULE = re.compile(r"<defs>\s*<style.*?</style>\s*</defs>", re.DOTALL)
"""matplotlib's rule for all strokes; in a page it would be every element's, and the page has it for figures alone."""
SIZE = re.compile(r' width="[\d.]+pt" height="[\d.]+pt"')


def style_of(index: int) -> Style:
    """The style of a figure's n-th line; beyond the last the colours begin anew, with other dashes and markers."""
    again, place = divmod(index, len(STYLES))
    other = STYLES[(place + again) % len(STYLES)]
    return Style(STYLES[place].color, other.dashes, other.marker)


def new_figure(*, num_legend_lines: int, axes_inches: float = AXES_INCHES) -> tuple[Figure, Axes]:
    """A figure with one pair of axes of the given height, and room for a legend below it."""
    size = (WIDTH_INCHES, axes_inches + LEGEND_LINE_INCHES * num_legend_lines)
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots()


def broken(label: str, width: int) -> str:
    """The label in lines of at most `width` characters; a dollar sign is no mathematics."""
    return "\n".join(textwrap.wrap(label, width, break_long_words=False)).replace("$", r"\$")


def as_svg(figure: Figure, title: str) -> str:
    """The figure as one element that scales with its place in the page; its title is read aloud."""
    buffer = io.StringIO()
    # The ids of markers and clips come from the salt, so that the same numbers give the same page.
    with mpl.rc_context({"svg.hashsalt": title}):
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    document = buffer.getvalue()
    element = STYLE_RULE.sub("", NUMBERED_ID.sub("", document[document.index("<svg") :]))
    named = element.replace("<svg", f'<svg role="img" aria-label="{html.escape(title)}"', 1)
    return SIZE.sub("", named, count=1)

"""What an error says, and how a user's mistake is told."""

from __future__ import annotations

import sys

from tsallis_run.types import UserError


def first_line(error: BaseException) -> str:
    """The first line of what it says; its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def print_mistake(error: UserError) -> None:
    """Shows a user's mistake on standard error, a line per fault."""
    for line in str(error).splitlines():
        print(f"tsallis-run: {line}", file=sys.stderr)

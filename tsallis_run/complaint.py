"""What an error says, in one line."""

from __future__ import annotations


def first_line(error: BaseException) -> str:
    """The first line of what it says; its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]

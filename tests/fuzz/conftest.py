"""What all fuzzing shares: examples that are the same on every run, the form of a message, and a count of cases."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings

LINE = re.compile(r"\S[^\n]*: \S[^\n]*")
"""`field: rule, got value; remedy`."""

COUNTS = pytest.StashKey[Counter[tuple[str, str]]]()

FUZZ = settings(
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
"""The same examples on every run."""

Count = Callable[[str, str], None]
"""(kind of input, what became of it) -> one more of them."""


@pytest.fixture(scope="session")
def count(request: pytest.FixtureRequest) -> Count:
    """Counts a case; the totals stand at the end of pytest's report."""
    counts = request.config.stash.setdefault(COUNTS, Counter())

    def count(kind: str, outcome: str) -> None:
        counts[kind, outcome] += 1

    return count


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    counts = config.stash.get(COUNTS, Counter())
    if not counts:
        return
    terminalreporter.section("fuzzed cases")
    for kind in dict.fromkeys(kind for kind, _ in counts):
        outcomes = {outcome: number for (of, outcome), number in sorted(counts.items()) if of == kind}
        told = ", ".join(f"{number:,} {outcome}" for outcome, number in outcomes.items())
        terminalreporter.write_line(f"{kind:14} {sum(outcomes.values()):6,}: {told}")

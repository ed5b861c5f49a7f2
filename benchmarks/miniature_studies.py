"""The studies of docs/results.md: how the runs of each are named, and which of their numbers are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from miniature_runs import (
    best_validated,
    first,
    first_step_at,
    greatest,
    last,
    setting,
    tested,
    training,
    until,
    validated,
)
from miniature_study import Column, Study, estimator, everything, fixed_q

from tsallis_run.estimators import tsallis
from tsallis_run.report import Row
from tsallis_run.report.runs import q_words

DEFAULT_INITIALIZER_RANGE, DEFAULT_BETAS = 0.02, [0.9, 0.999]
GAIN = 10
"""In P, over which eq. 15 is compared with gradient descent: beyond a decade the score's norm is another."""
GAIN_WINDOW_STEPS = 3


def unevenness(row: Row, number: Callable[[Row, str], float | None]) -> float | None:
    """Of P over the examples of a batch: its nine-tenths quantile over its one-tenth quantile, at the `number` step."""
    high, low = number(row, "p_hat_90"), number(row, "p_hat_10")
    return high / low if high and low else None


STEPS = Column("steps", lambda row: len(training(row)), None)
Q = Column("q", fixed_q, None)
START = Column("log P at the start", partial(first, name="log_p_hat"), ".1f")
HIGHEST = Column("highest log P", partial(greatest, name="log_p_hat"), ".1f")
END = Column("log P at the end", partial(last, name="log_p_hat"), ".1f")
P_END = Column("P at the end", partial(last, name="p_hat"), ".2g")
ESCAPE = Column("steps to P = 0.1", first_step_at, ".0f")
UNEVEN_START = Column("P90/P10 at the start", partial(unevenness, number=first), ",.0f")
UNEVEN_END = Column("P90/P10 at the end", partial(unevenness, number=last), ",.0f")
VALIDATION = Column("last validation pass@1", partial(validated, name="pass@1"), ".2f")
TEST = Column("test maj@8", partial(tested, prefix="maj@"), ".2f")


def flow_to_escape(row: Row) -> float | None:
    """Eq. 15 from the measured start to P = 0.1, in units of gradient flow with a score of norm 1."""
    q, start = fixed_q(row), first(row, "p_hat")
    return None if q is None or not start else tsallis.escape_time(start, 0.1, q)


COLD = Study(
    everything,
    estimator,
    (Q, STEPS, START, ESCAPE, Column("eq. 15", flow_to_escape, ".1e"), END, UNEVEN_END, P_END, TEST),
    curves=("log_p_hat", "max_centered_weight"),
)


def condition(row: Row) -> str:
    """How a run of study 2 differs from the plain one of its q."""
    marks = [f"epsilon {setting(row, 'optimizer.epsilon'):.0e}".replace("e-0", "e-")]
    marks += ["even at the start"] * (setting(row, "model.architecture.initializer_range") != DEFAULT_INITIALIZER_RANGE)
    marks += ["one example"] * (setting(row, "dataset.num_train") == 1)
    marks += ["beta2 = 0.95"] * (setting(row, "optimizer.betas") != DEFAULT_BETAS)
    marks += ["no clipping"] * (setting(row, "optimizer.max_grad_norm") is None)
    return ", ".join(marks)


def first_200_steps_of_garl(rows: Iterable[Row]) -> list[Row]:
    """Study 1 holds the runs with epsilon 1e-8, which are longer, and others beside them."""
    return [until(row, 200) for row in rows if row.results.estimator == "garl"]


EPSILON = Study(
    lambda row: f"q={q_words(row.results.q)}",
    condition,
    (Q, START, UNEVEN_START, HIGHEST, END, UNEVEN_END, ESCAPE),
    curves=("log_p_hat", "grad_norm"),
    chosen=first_200_steps_of_garl,
)


def flow_time(row: Row) -> float | None:
    """Learning rate times steps until P is GAIN times what it was."""
    start = first(row, "p_hat")
    steps = None if start is None else first_step_at(row, GAIN * start, window=GAIN_WINDOW_STEPS)
    return None if steps is None else steps * float(setting(row, "optimizer.learning_rate"))


def flow_theory(row: Row) -> float | None:
    """The same by eq. 15, where the score has norm 1."""
    q, start = fixed_q(row), first(row, "p_hat")
    return None if q is None or not start else tsallis.escape_time(start, GAIN * start, q)


def squared_score(row: Row) -> float | None:
    """The squared norm of the score at which the two agree: one number for every q, if the theory holds."""
    time, theory = flow_time(row), flow_theory(row)
    return theory / time if theory and time else None


FLOW = Study(
    lambda row: "no clipping" if setting(row, "optimizer.max_grad_norm") is None else "no step longer than 0.02",
    lambda row: f"q={q_words(row.results.q)}, rate {setting(row, 'optimizer.learning_rate'):g}",
    (
        Q,
        START,
        Column("rate x steps to 10 P0", flow_time, ".2e"),
        Column("eq. 15", flow_theory, ".2e"),
        Column("eq. 15 / (rate x steps)", squared_score, ".0f"),
        HIGHEST,
        END,
    ),
    chosen=lambda rows: sorted(rows, key=lambda row: setting(row, "optimizer.max_grad_norm") is not None),
)


def with_answer_term(row: Row) -> str:
    """`GARL q=0.25, no answer term`."""
    return estimator(row) + (", no answer term" if setting(row, "estimator.answer_term") is False else "")


WARM = Study(
    everything,
    with_answer_term,
    (
        Q,
        STEPS,
        Column("P at the start", partial(first, name="p_hat"), ".2f"),
        P_END,
        Column("best validation maj@8", partial(best_validated, name="maj@8"), ".2f"),
        Column("last validation maj@8", partial(validated, name="maj@8"), ".2f"),
        Column("collapsed", lambda row: float(row.collapsed), ".1f"),
        TEST,
    ),
    curves=("p_hat",),
    validation_curves=("maj@8",),
)


def noise(row: Row) -> str:
    """`30% of visits wrong`."""
    found = setting(row, "dataset.label_noise") or {"fraction": 0}
    return f"{found['fraction']:.0%} of {found['per']}s wrong" if found["fraction"] else "no noise"


def noise_order(row: Row) -> tuple[bool, float]:
    """No noise, two labels of one question, labels that are wrong for good; little noise before much."""
    fraction = setting(row, "dataset.label_noise.fraction") or 0.0
    return fraction > 0 and setting(row, "dataset.label_noise.per") == "example", fraction


def escort(row: Row) -> float | None:
    """What proposition C.2 predicts where one x has two labels; None for a q that moves, or one label for good."""
    found, q = setting(row, "dataset.label_noise") or {"fraction": 0}, fixed_q(row)
    if q is None or not found["fraction"] or found["per"] != "visit":
        return None
    return tsallis.contamination(found["fraction"], q)


CONTAMINATION = Column("contamination", partial(validated, name="contamination"), ".3f")
ESCORT = Column("escort", escort, ".3f")
NOISE = Study(
    noise,
    estimator,
    (
        Q,
        CONTAMINATION,
        ESCORT,
        Column("noisy_wrong@1", partial(validated, name="noisy_wrong@1"), ".2f"),
        Column("noisy_true@1", partial(validated, name="noisy_true@1"), ".2f"),
        VALIDATION,
    ),
    validation_curves=("contamination", "noisy_wrong@1"),
    chosen=lambda rows: sorted(rows, key=noise_order),
)


def member(row: Row) -> str:
    """Which member of the family, by its bias and variance."""
    if setting(row, "estimator.kind") == "paft":
        return "PAFT"
    if setting(row, "estimator.jackknife"):
        return "jackknife"
    return "leave-one-out" if setting(row, "estimator.baseline") else "plug-in"


BIAS = Study(
    lambda row: f"M = {setting(row, 'rollouts_per_prompt')}",
    member,
    (
        Column("ESS at the start", partial(first, name="ess"), ".2f"),
        Column("leading bias", partial(first, name="leading_bias"), ".2f"),
        Column("steps to P = 0.01", partial(first_step_at, threshold=0.01), ".0f"),
        ESCAPE,
        END,
        P_END,
        TEST,
    ),
    chosen=lambda rows: sorted(rows, key=lambda row: int(setting(row, "rollouts_per_prompt"))),
)


def schedule(row: Row) -> str:
    """`q=0.75`, or a schedule in its own words."""
    q = row.results.q
    return f"q={q_words(q)}" if fixed_q(row) is not None else f"q {q}"


SCHEDULE = Study(
    noise,
    schedule,
    (Q, ESCAPE, P_END, VALIDATION, TEST, CONTAMINATION, ESCORT),
    validation_curves=("pass@1", "contamination"),
    chosen=lambda rows: sorted(rows, key=noise_order),
)

REAL = Study(
    lambda row: row.results.dataset,
    estimator,
    (
        Column("steps", lambda row: len(training(row)), ".0f"),
        START,
        HIGHEST,
        END,
        Column("P at the start", partial(first, name="p_hat"), ".1e"),
        Column("P at the end", partial(last, name="p_hat"), ".1e"),
        Column("last validation pass@1", partial(validated, name="pass@1"), ".3f"),
        Column("test maj@4", partial(tested, prefix="maj@"), ".2f"),
    ),
    curves=("log_p_hat", "p_hat", "reward"),
    validation_curves=("pass@1",),
)

STUDIES: dict[str, Study] = {
    "cold": COLD,
    "epsilon": EPSILON,
    "flow": FLOW,
    "warm": WARM,
    "noise": NOISE,
    "bias": BIAS,
    "schedule": SCHEDULE,
    "real": REAL,
}

"""The Tsallis continuum against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from tsallis_run.estimators import tsallis

QS = (0.0, 0.25, 0.5, 0.75, 1.0)


def test_log_q_of_a_quarter_by_hand() -> None:
    # (0.25^0.5 - 1) / 0.5 = (0.5 - 1) / 0.5 = -1
    assert float(tsallis.log_q(0.25, 0.5)) == pytest.approx(-1)


def test_log_q_is_u_minus_one_at_q_0_and_the_logarithm_at_q_1() -> None:
    u = torch.tensor([1e-300, 1e-20, 0.3, 1.0], dtype=torch.float64)
    torch.testing.assert_close(tsallis.log_q(u, 0), u - 1)
    torch.testing.assert_close(tsallis.log_q(u, 1), u.log())


def test_log_q_is_continuous_at_q_1() -> None:
    # d/dq at q = 1 is -(log u)^2 / 2, about -1060 at u = 1e-20: 1e-9 away from q = 1 that is 1e-6.
    assert float(tsallis.log_q(1e-20, 1 - 1e-9)) == pytest.approx(math.log(1e-20) + 1.06e-6, abs=1e-8)


def test_log_q_of_zero_is_finite_below_q_1() -> None:
    assert float(tsallis.log_q(0.0, 0.75)) == -4
    assert float(tsallis.log_q(0.0, 1.0)) == -math.inf


def test_log_q_takes_a_column_of_q() -> None:
    found = tsallis.log_q(
        torch.tensor([[0.25, 1.0]] * 3, dtype=torch.float64), torch.tensor([[0.0], [0.5], [1.0]], dtype=torch.float64)
    )
    torch.testing.assert_close(
        found, torch.tensor([[-0.75, 0.0], [-1.0, 0.0], [math.log(0.25), 0.0]], dtype=torch.float64)
    )


@pytest.mark.parametrize("q", QS)
def test_the_gradient_of_log_q_is_the_amplification(q: float) -> None:
    u = torch.tensor([1e-20, 0.3, 1.0], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(tsallis.log_q(u, q).sum(), u)
    torch.testing.assert_close(gradient, tsallis.amplification(u.detach(), q))


def test_nothing_is_amplified_at_q_0_not_even_zero() -> None:
    assert float(tsallis.amplification(0.0, 0)) == 1
    assert float(tsallis.amplification(0.01, 0.5)) == pytest.approx(10)


def antiderivative(u: float, q: float) -> float:
    """Of 1 / (u^(2-q) (1-u)^2), where a closed form is known."""
    root = math.sqrt(u)
    return {
        0.0: 2 * math.log(u / (1 - u)) - 1 / u + 1 / (1 - u),
        0.5: -2 / root + 3 * math.atanh(root) + root / (1 - u),
        1.0: math.log(u / (1 - u)) + 1 / (1 - u),
    }[q]


@pytest.mark.parametrize("q", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("p0", "delta"), [(1e-20, 0.5), (1e-3, 0.9), (0.4, 0.5), (0.2, 0.999)])
def test_the_escape_time_is_the_integral_in_closed_form(p0: float, delta: float, q: float) -> None:
    expected = antiderivative(delta, q) - antiderivative(p0, q)
    assert tsallis.escape_time(p0, delta, q) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("q", [0.25, 0.75])
def test_the_escape_time_satisfies_its_differential_equation(q: float) -> None:
    p, step = 0.3, 1e-4
    slope = (tsallis.escape_time(1e-6, p + step, q) - tsallis.escape_time(1e-6, p - step, q)) / (2 * step)
    assert slope == pytest.approx(1 / (p ** (2 - q) * (1 - p) ** 2), rel=1e-5)


def test_the_escape_time_grows_as_p0_to_the_power_q_minus_1() -> None:
    ratio = tsallis.escape_time(1e-30, 0.5, 0.75) / tsallis.escape_time(1e-26, 0.5, 0.75)
    assert ratio == pytest.approx(10, rel=1e-5)


def test_no_time_passes_where_the_goal_is_the_start() -> None:
    assert tsallis.escape_time(0.3, 0.3, 0.5) == 0


@pytest.mark.parametrize(("p0", "delta"), [(0.0, 0.5), (0.5, 1.0), (0.6, 0.5), (-0.1, 0.5)])
def test_an_escape_without_an_end_is_refused(p0: float, delta: float) -> None:
    with pytest.raises(ValueError, match="0 < p0 <= delta < 1"):
        tsallis.escape_time(p0, delta, 0.5)


def test_the_escort_of_two_labels_by_hand() -> None:
    # alpha = (0.8, 0.2), q = 0.5: squares 0.64 and 0.04, normalised 16/17 and 1/17.
    found = tsallis.escort(torch.tensor([0.8, 0.2], dtype=torch.float64), 0.5)
    torch.testing.assert_close(found, torch.tensor([16 / 17, 1 / 17], dtype=torch.float64))


def test_contamination_by_hand() -> None:
    # eps = 0.2, q = 1/2: r = (0.2/0.8)^2 = 1/16, r/(1+r) = 1/17
    assert tsallis.contamination(0.2, 0.5) == pytest.approx(1 / 17)
    assert tsallis.contamination(0.2, 0.25) == pytest.approx(1 / 257)


def test_contamination_is_the_frequency_at_q_1_and_a_filter_below() -> None:
    for eps in (0.01, 0.1, 0.3, 0.49):
        assert tsallis.contamination(eps, 1) == pytest.approx(eps)
        by_q = [tsallis.contamination(eps, q) for q in (0, 1e-300, 0.1, 0.25, 0.5, 0.75, 1)]
        assert by_q == sorted(by_q)
        assert by_q[:2] == [0.0, 0.0]
    assert [tsallis.contamination(eps, q) for eps, q in ((0.0, 0.5), (1.0, 0.5), (0.5, 0.3), (0.5, 0))] == [
        0,
        1,
        0.5,
        0.5,
    ]


def test_the_escort_is_the_label_distribution_at_q_1_and_its_mode_at_q_0() -> None:
    alpha = torch.tensor([[0.5, 0.3, 0.2], [0.4, 0.4, 0.2], [1.0, 0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(tsallis.escort(alpha, 1), alpha)
    modes = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [1.0, 0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(tsallis.escort(alpha, 0), modes)
    torch.testing.assert_close(tsallis.escort(alpha, 1e-300), modes)


@pytest.mark.parametrize("q", [0.25, 0.5, 1.0])
def test_the_escort_minimises_the_expected_loss(q: float) -> None:
    alpha = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
    logits = tsallis.escort(alpha, q).log().requires_grad_()
    (gradient,) = torch.autograd.grad(-(alpha * tsallis.log_q(logits.softmax(-1), q)).sum(), logits)
    torch.testing.assert_close(gradient, torch.zeros(3).double(), atol=1e-14, rtol=0)

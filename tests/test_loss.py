"""The laws of a comparison's loss."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prefrl.reward.loss import LAPSE, bradley_terry, preference

returns = st.floats(-1e3, 1e3)
mus = st.floats(0, 1)


def loss(left, right, mu):
    return bradley_terry(*(torch.tensor(number, dtype=torch.float64) for number in (left, right, mu))).item()


def entropy(mu):
    return -sum(p * math.log(p) for p in (mu, 1 - mu) if p > 0)


@given(returns, returns, mus)
def test_swapping_the_sides_and_the_label_leaves_the_loss(left, right, mu):
    assert loss(left, right, mu) == pytest.approx(loss(right, left, 1 - mu))


@given(returns, returns, returns, mus)
def test_only_the_difference_of_the_returns_matters(left, right, shift, mu):
    assert loss(left + shift, right + shift, mu) == pytest.approx(loss(left, right, mu))


@given(returns, returns, mus)
def test_no_comparison_is_ever_sure_or_impossible(left, right, mu):
    assert 0.0512 < loss(left, right, mu) < 2.9958  # -log 0.95 and -log 0.05


@pytest.mark.parametrize(
    ("left", "right", "mu", "expected"),
    [
        (0, 0, 1, math.log(2)),
        (math.log(3), 0, 1, -math.log(0.725)),  # 0.9 * 3/4 + 0.05
        (math.log(3), 0, 0, -math.log(0.275)),
        (math.log(3), 0, 0.5, -math.log(0.725) / 2 - math.log(0.275) / 2),
        (1e6, 0, 1, -math.log(0.95)),
        (1e6, 0, 0, -math.log(0.05)),
    ],
)
def test_the_loss_of_one_comparison_is_the_papers(left, right, mu, expected):
    assert loss(left, right, mu) == pytest.approx(expected)


@given(returns, returns, mus)
def test_no_returns_do_better_than_the_entropy_of_the_label(left, right, mu):
    assert loss(left, right, mu) >= entropy(mu) - 1e-9


@given(returns, st.floats(0.051, 0.949))
def test_the_loss_is_least_where_mu_is_predicted(right, mu):
    sure = (mu - LAPSE / 2) / (1 - LAPSE)
    left = right + math.log(sure / (1 - sure))
    assert loss(left, right, mu) == pytest.approx(entropy(mu))


@given(*[st.floats(-(2.0**126), 2.0**126, width=32)] * 2, mus)
def test_the_gradient_is_finite_however_large_the_returns(left, right, mu):
    sides = [torch.tensor(side, dtype=torch.float32, requires_grad=True) for side in (left, right)]
    bradley_terry(*sides, torch.tensor(mu, dtype=torch.float32)).backward()
    assert all(side.grad.isfinite() for side in sides)


@given(returns, returns)
def test_chances_of_both_sides_add_up_to_one(left, right):
    left, right = torch.tensor([left, right], dtype=torch.float64)
    assert (preference(left, right) + preference(right, left)).item() == pytest.approx(1)

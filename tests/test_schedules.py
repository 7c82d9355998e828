"""Schedules against the paper's table, and their laws."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefrl.schedules import Constant, Hyperbolic, Upfront

shares = st.floats(0.01, 1)
progress = st.floats(0, 1)
TENTHS = [0, 0.1, 0.25, 0.5, 0.75, 1]


@pytest.mark.parametrize(
    ("schedule", "budget", "labels"),
    [
        (Hyperbolic(constant=2.0), 700, [175, 238, 328, 464, 587, 700]),  # 1M steps, C = 2e6
        (Hyperbolic(500 / 5500, constant=0.1), 5500, [500, 1945, 3112, 4236, 4962, 5500]),  # 50M frames, C = 5e6
        (Constant(), 700, [175, 227.5, 306.25, 437.5, 568.75, 700]),
        (Upfront(), 700, [700] * 6),
    ],
)
def test_labels_asked_are_those_of_the_table(schedule, budget, labels):
    assert [budget * schedule(p) for p in TENTHS] == pytest.approx(labels, abs=0.5)


@given(shares, st.floats(1e-6, 1e6), progress, progress)
def test_shares_rise_from_the_initial_one_to_all(initial, constant, one, other):
    for schedule in (Hyperbolic(initial, constant), Constant(initial)):
        assert schedule(0) == initial
        assert schedule(1) == pytest.approx(1)
        assert schedule(min(one, other)) <= schedule(max(one, other))


@given(shares, progress)
def test_a_large_constant_does_not_anneal(initial, at):
    assert Hyperbolic(initial, 1e6)(at) == pytest.approx(Constant(initial)(at), abs=1e-6)


@given(st.floats(0.01, 100), st.floats(0.01, 0.99))
def test_the_rate_falls_as_the_paper_says(constant, at):
    schedule = Hyperbolic(constant=constant)
    rates = [(schedule(p + 1e-6) - schedule(p)) * (p + constant) for p in (0, at)]
    assert rates[0] == pytest.approx(rates[1], rel=1e-3)


@pytest.mark.parametrize("initial", [0, -0.1, 1.1, float("nan")])
@pytest.mark.parametrize("schedule", [Constant, Hyperbolic])
def test_an_impossible_initial_share_is_refused(schedule, initial):
    with pytest.raises(ValueError, match=r"initial is .*: give a share above 0, at most 1"):
        schedule(initial=initial)


@pytest.mark.parametrize("constant", [0, -1, float("inf"), float("nan")])
def test_an_impossible_constant_is_refused(constant):
    with pytest.raises(ValueError, match=r"constant is .*: give a number above 0"):
        Hyperbolic(constant=constant)

"""Numbers that tell how good a reward is, against their closed forms."""

import math

import numpy as np
import pytest

from prefrl.reward.diagnostics import calibration, distribution, pearson, prequential


def test_prequential_loss_is_the_cross_entropy_of_the_labels():
    told = prequential(np.array([0.8, 0.25]), np.array([1.0, 0.0]))
    assert told["reward/prequential_loss"] == pytest.approx(-(math.log(0.8) + math.log(0.75)) / 2)


def test_prequential_accuracy_is_the_share_of_right_sides():
    told = prequential(np.array([0.9, 0.2, 0.6, 0.4]), np.array([1.0, 1.0, 1.0, 0.0]))
    assert told["reward/prequential_accuracy"] == 0.75


def test_ties_are_no_errors():
    told = prequential(np.array([0.9, 0.2, 0.6]), np.array([1.0, 0.5, 0.5]))
    assert told["reward/prequential_accuracy"] == 1


def test_ties_are_told_by_their_distance_from_even():
    told = prequential(np.array([0.9, 0.2, 0.6]), np.array([1.0, 0.5, 0.5]))
    assert told["reward/prequential_tie_distance"] == pytest.approx(0.2)


def test_without_ties_nothing_is_told_of_them():
    assert "reward/prequential_tie_distance" not in prequential(np.array([0.9]), np.array([1.0]))


def test_of_ties_alone_no_accuracy_is_told():
    assert "reward/prequential_accuracy" not in prequential(np.array([0.9]), np.array([0.5]))


def answers(rng, p):
    return (rng.random(len(p)) < p).astype(float)


def test_chances_that_come_true_have_no_calibration_error():
    """A false alarm in 10^6 seeds: the error is 0.004 +- 0.0016."""
    rng = np.random.default_rng(0)
    p = rng.uniform(0.05, 0.95, 20_000)
    assert calibration(p, answers(rng, p))["reward/calibration_error"] < 0.012


def test_overconfidence_is_the_calibration_error():
    told = calibration(np.full(10, 0.95), np.array([1.0, 0.0] * 5))
    assert told == {"reward/right_at_0.9_to_1.0": 0.5, "reward/calibration_error": pytest.approx(0.45)}


def test_calibration_does_not_depend_on_the_side():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.05, 0.95, 100)
    mu = answers(rng, p)
    assert calibration(1 - p, 1 - mu) == pytest.approx(calibration(p, mu))


def test_ties_do_not_count_in_calibration():
    p, mu = np.array([0.9, 0.7]), np.array([1.0, 0.5])
    assert calibration(p, mu) == calibration(p[:1], mu[:1])


def test_of_ties_alone_no_calibration_is_told():
    assert calibration(np.array([0.7]), np.array([0.5])) == {}


def test_members_that_differ_spread_around_a_constant_mean():
    told = distribution(np.stack([np.full((4, 5), 2.0), np.full((4, 5), 4.0)]))
    assert told == {"reward/std": 0, "reward/q05": 3, "reward/q50": 3, "reward/q95": 3, "reward/spread": 1}


def test_the_spread_is_that_of_members_not_of_steps():
    steps = np.arange(20.0).reshape(4, 5)
    assert distribution(np.stack([steps - 1, steps + 1]))["reward/spread"] == 1


def test_quantiles_are_of_the_steps():
    told = distribution(np.arange(101.0).reshape(1, 1, 101))
    assert [told[f"reward/q{q}"] for q in ("05", "50", "95")] == pytest.approx([5, 50, 95])


def test_pearson_of_three_steps_is_the_textbooks():
    assert pearson(np.array([1, 2, 3]), np.array([1, 3, 2])) == pytest.approx(0.5)


def test_pearson_is_one_whatever_the_scale_and_shift():
    x = np.random.default_rng(0).normal(size=(4, 5))
    assert pearson(3 * x + 7, x) == pytest.approx(1)


def test_pearson_of_the_opposite_is_minus_one():
    x = np.random.default_rng(0).normal(size=(4, 5))
    assert pearson(-x, x) == pytest.approx(-1)


@pytest.mark.parametrize("flip", [1, -1])
def test_pearson_of_a_constant_is_zero(flip):
    assert pearson(*(np.ones(5), np.arange(5))[::flip]) == 0

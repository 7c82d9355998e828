"""Few seeds: interquartile means, bootstrap intervals, shares of a baseline."""

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.stats import bootstrap, trim_mean

from prefrl.intervals import Interval, interquartile_mean, interval
from prefrl.reproduce.records import Record
from prefrl.reproduce.statistics import share, shares

numbers = st.integers(-1000, 1000).map(float)
samples = st.lists(numbers, min_size=1, max_size=12)
strata = st.lists(st.lists(numbers, min_size=2, max_size=4), min_size=1, max_size=3)


def record(task: str, condition: str, seed: int, result: float, untrained: float = 0.0, **changes: Any) -> Record:
    values: dict[str, Any] = {"algo": "ppo", "labels": 700, "steps": 1000, "evaluated": 0.0, "pearson": None}
    values |= {"minutes": 1.0, "reward_minutes": 0.0, "command": "prefrl train", "versions": "prefrl 0.1.0"}
    values |= {"task": task, "condition": condition, "seed": seed, "result": result, "untrained": untrained}
    return Record(**{"name": f"{task}-{condition}-{seed}"} | values | changes)


def quick(values: list[list[float]], **settings: Any) -> Interval:
    return interval(values, resamples=200, **settings)


def test_a_value_that_a_quartile_cuts_counts_for_its_part():
    assert interquartile_mean([7]) == 7
    assert interquartile_mean([1, 2]) == 1.5
    assert interquartile_mean([0, 1, 5]) == pytest.approx((0.25 * 0 + 1 + 0.25 * 5) / 1.5)
    assert interquartile_mean([9, 0, 1, 3]) == 2
    assert interquartile_mean([0, 1, 2, 6, 100]) == pytest.approx((0.75 * 1 + 2 + 0.75 * 6) / 2.5)


@given(st.lists(st.lists(numbers, min_size=4, max_size=4), min_size=1, max_size=6))
def test_for_multiples_of_four_the_interquartile_mean_is_rliables(fours):
    values = np.concatenate(fours)
    assert interquartile_mean(values) == pytest.approx(trim_mean(values, 0.25))


@given(samples)
def test_the_interquartile_mean_stays_when_every_value_is_taken_four_times(values):
    assert interquartile_mean(values) == pytest.approx(trim_mean(np.repeat(values, 4), 0.25))


@given(st.permutations([3.0, 1.0, 4.0, 1.5, 9.0, 2.6]))
def test_the_order_of_values_does_not_move_the_interquartile_mean(values):
    assert interquartile_mean(values) == interquartile_mean(sorted(values))


@given(samples, numbers, st.integers(-5, 5))
def test_the_interquartile_mean_moves_and_grows_with_its_values(values, shift, scale):
    moved = [scale * value + shift for value in values]
    assert interquartile_mean(moved) == pytest.approx(scale * interquartile_mean(values) + shift, abs=1e-8)


def test_the_interquartile_mean_of_an_axis_is_that_of_each_row():
    rows = np.random.default_rng(0).normal(size=(3, 5, 7))
    assert_allclose(interquartile_mean(rows, 1)[2, 3], interquartile_mean(rows[2, :, 3]))
    assert type(interquartile_mean(rows)) is float


def test_no_values_have_no_interquartile_mean_and_no_interval():
    with pytest.raises(ValueError, match="no values"):
        interquartile_mean([])
    with pytest.raises(ValueError, match="at least one value"):
        interval([[], []])


@given(st.lists(numbers, min_size=2, max_size=8).map(sorted))
def test_on_one_stratum_the_interval_is_scipys(values):
    bounds = bootstrap((values,), np.mean, n_resamples=200, method="percentile", rng=3).confidence_interval
    found = quick([values], statistic=np.mean, seed=3)
    assert_allclose(found, (np.mean(values), bounds.low, bounds.high), atol=1e-9)


def test_each_stratum_is_resampled_in_itself():
    """Against all 2² · 3³ equally likely resamples; a quantile of 20 000 is off by one of the 20 sums at most."""
    first, second = [0.0, 1.0], [10.0, 12.0, 15.0]
    every = [np.mean(a + b) for a in product(first, repeat=2) for b in product(second, repeat=3)]
    found = interval([first, second], statistic=np.mean, level=0.5, resamples=20_000)
    assert_allclose((found.low, found.high), np.quantile(every, [0.25, 0.75]), atol=0.21)
    pooled = interval([first + second], statistic=np.mean, level=0.5)
    assert pooled.high - pooled.low > 2 * (found.high - found.low)


@given(strata, st.randoms())
def test_the_order_of_strata_and_of_values_does_not_move_the_interval(values, random):
    mixed = [random.sample(stratum, len(stratum)) for stratum in random.sample(values, len(values))]
    assert quick(mixed) == quick(values)


@given(strata, numbers, st.integers(1, 5))
def test_the_interval_moves_and_grows_with_its_values(values, shift, scale):
    moved = [[scale * value + shift for value in stratum] for stratum in values]
    assert_allclose(quick(moved), scale * np.array(quick(values)) + shift, atol=1e-8)


@pytest.mark.parametrize("statistic", [np.mean, interquartile_mean])
@given(values=strata)
def test_an_interval_contains_its_value(statistic, values):
    found = quick(values, statistic=statistic)
    assert found.low - 1e-9 <= found.value <= found.high + 1e-9


@given(strata)
def test_an_interval_at_a_higher_level_holds_the_other(values):
    narrow, wide = quick(values, level=0.5), quick(values, level=0.95)
    assert wide.low <= narrow.low <= narrow.high <= wide.high


def test_one_value_a_stratum_tells_nothing_about_spread():
    value, low, high = interval([[1.0], [2.0]])
    assert value == 1.5
    assert math.isnan(low) and math.isnan(high)


def test_a_stratum_of_one_value_stays_as_it_is():
    assert interval([[5.0], [0.0, 0.0]], statistic=np.mean) == pytest.approx((5 / 3, 5 / 3, 5 / 3))


def test_a_share_is_how_far_a_run_came_from_untrained_to_the_baseline():
    records = [
        record("Hopper", "true reward", 0, 90, untrained=8),
        record("Hopper", "true reward", 1, 130, untrained=12),
        record("Hopper", "700 labels", 0, 60, untrained=10),
        record("Hopper", "700 labels", 1, -40, untrained=10),
        record("Reacher", "true reward", 0, -5, untrained=-45),
        record("Reacher", "700 labels", 0, -5, untrained=-45),
    ]
    assert share(records[2], records) == 0.5
    assert shares(records, "700 labels") == {"Hopper": [0.5, -0.5], "Reacher": [1.0]}
    assert shares(records, "true reward")["Hopper"] == pytest.approx([0.8, 1.2])
    assert shares(records, "true reward", baseline="700 labels") == {"Reacher": [1.0]}
    assert shares(records, "no such") == {}


@pytest.mark.parametrize("baseline", [[], [9.0], [10.0]])
def test_there_are_no_shares_of_a_baseline_that_is_missing_or_no_better_than_untrained(baseline):
    run = record("Hopper", "700 labels", 0, 60, untrained=10)
    records = [run, *(record("Hopper", "true reward", 0, result, untrained=10) for result in baseline)]
    assert math.isnan(share(run, records))
    assert shares(records, "700 labels") == {}


@given(st.lists(numbers, min_size=1, max_size=4), numbers, st.integers(1, 9))
def test_units_of_the_return_do_not_move_shares(results, shift, scale):
    def told(unit: float, zero: float) -> list[float]:
        ends = [record("Hopper", "true reward", 0, unit * 7 + zero, untrained=unit * 2 + zero)]
        runs = [
            record("Hopper", "700 labels", i, unit * result + zero, untrained=unit * 2 + zero)
            for i, result in enumerate(results)
        ]
        return shares(ends + runs, "700 labels")["Hopper"]

    assert told(scale, shift) == pytest.approx(told(1, 0), abs=1e-9)

"""What strategies ask: their laws, and that each finds what it looks for."""

import time
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefrl.queries import AnySide, Coverage, Disagreement, InformationGain, PolicyAligned, Uniform
from prefrl.types import Segment

STRATEGIES = [
    Uniform(),
    Disagreement(),
    InformationGain(),
    Coverage(),
    PolicyAligned(),
    PolicyAligned(Disagreement(pool=3), newest=0.5),
    AnySide(Disagreement()),
]


def segments(count, steps=5):
    rng = np.random.default_rng(0)
    return [Segment(obs=rng.normal(size=(steps, 4)), acts=rng.normal(size=(steps, 2))) for _ in range(count)]


def returns(count, members=3):
    return np.random.default_rng(1).normal(size=(members, count)).astype(np.float32)


def ask(select, count, n, seed=0, predicted=None):
    return select(segments(count), returns(count) if predicted is None else predicted, n, np.random.default_rng(seed))


@pytest.mark.parametrize("select", STRATEGIES)
@settings(max_examples=30, deadline=None)
@given(count=st.integers(0, 12), n=st.integers(0, 30), seed=st.integers(0, 99))
def test_pairs_are_different_and_as_many_as_asked_or_exist(select, count, n, seed):
    pairs = ask(select, count, n, seed)
    assert len(pairs) == min(n, count * (count - 1) // 2)
    assert {frozenset(pair) for pair in pairs} <= set(map(frozenset, combinations(range(count), 2)))
    assert len({frozenset(pair) for pair in pairs}) == len(pairs)
    assert pairs == ask(select, count, n, seed)


@pytest.mark.parametrize("select", STRATEGIES)
def test_two_thousand_segments_take_no_time(select):
    many, predicted = segments(2000, steps=50), returns(2000)
    times = []
    for seed in range(5):
        start = time.perf_counter()
        select(many, predicted, 20, np.random.default_rng(seed))
        times.append(time.perf_counter() - start)
    assert min(times) < 0.05  # 0.01 on a machine that does nothing else


def test_uniform_asks_every_ordered_pair_equally_often():
    rng = np.random.default_rng(0)
    counts = Counter(pair for _ in range(4000) for pair in Uniform()(segments(5), returns(5), 3, rng))
    expected = 4000 * 3 / 20
    chi2 = sum((count - expected) ** 2 / expected for count in counts.values())
    assert len(counts) == 20
    assert chi2 < 60  # 19 degrees of freedom: a false alarm in 10^5


@pytest.mark.parametrize("strategy", [Disagreement, InformationGain])
def test_what_the_nets_disagree_about_is_asked_first(strategy):
    predicted = np.zeros((2, 20))
    predicted[:, 7] = [-9, 9]  # segment 7 is worse than any other, or better
    pairs = ask(strategy(pool=1000), 20, 1, predicted=predicted)
    assert 7 in pairs[0]


def test_disagreement_asks_the_pairs_of_highest_variance():
    predicted = returns(20)
    left, right = np.array(list(combinations(range(0, 20), 2))).T
    variance = (1 / (1 + np.exp(predicted[:, right] - predicted[:, left]))).var(axis=0)
    best = variance.argmax()
    assert set(ask(Disagreement(pool=1000), 20, 1)[0]) == {left[best], right[best]}


def test_information_gain_is_the_entropy_of_the_mean_less_the_mean_entropy():
    predicted = returns(20)
    pairs = np.array(list(combinations(range(20), 2)))
    chance = 1 / (1 + np.exp(predicted[:, pairs[:, 1]] - predicted[:, pairs[:, 0]]))

    def entropy(p):
        return -p * np.log(p) - (1 - p) * np.log(1 - p)

    best = np.argmax(entropy(chance.mean(axis=0)) - entropy(chance).mean(axis=0))
    assert set(ask(InformationGain(pool=1000), 20, 1)[0]) == set(pairs[best])


def test_information_gain_leaves_alone_what_every_net_finds_even():
    predicted = np.tile([0.0] * 10 + [40.0, 80.0], (3, 1))
    predicted[:, 10] += [0, 80, 0]  # the nets are sure of 10 against 11, of opposite things
    assert set(ask(InformationGain(pool=1000), 12, 1, predicted=predicted)[0]) == {10, 11}


@pytest.mark.parametrize("select", [Disagreement(), InformationGain()])
@pytest.mark.parametrize("size", [0.0, 1e30])
def test_nets_that_all_agree_leave_it_to_chance(select, size):
    pairs = ask(select, 100, 20, predicted=np.full((1, 100), size))
    assert len({i for pair in pairs for i in pair}) == 40


@pytest.mark.parametrize("select", [Disagreement(), InformationGain(), Coverage(), PolicyAligned(Disagreement())])
def test_no_segment_comes_again_while_others_are_left(select):
    predicted = returns(200)
    predicted[:, 3] = [-50, 0, 50]  # would be in every pair
    asked = Counter(i for pair in ask(select, 200, 10, predicted=predicted) for i in pair)
    assert max(asked.values()) == 1


def test_coverage_asks_about_far_places():
    places = np.repeat([0.0, 0.01, 5.0, 5.01], [70, 20, 5, 5])
    crowd = [Segment(obs=np.full((3, 1), place), acts=np.zeros(3)) for place in places]
    pairs = Coverage(pool=500)(crowd, returns(100), 3, np.random.default_rng(0))
    assert sorted(sorted(round(places[i]) for i in pair) for pair in pairs) == [[0, 0], [0, 5], [5, 5]]


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_coverage_does_not_depend_on_units(scale):
    rescaled = [Segment(obs=s.obs * [scale, 1, 1, 1], acts=s.acts) for s in segments(50)]
    assert Coverage()(rescaled, returns(50), 10, np.random.default_rng(0)) == ask(Coverage(), 50, 10)


def test_policy_aligned_asks_about_the_newest():
    assert min(i for pair in ask(PolicyAligned(newest=0.25), 200, 20) for i in pair) >= 150
    assert min(i for pair in ask(PolicyAligned(Disagreement(), newest=0.1), 1000, 20) for i in pair) >= 900


def test_policy_aligned_shows_its_strategy_the_returns_of_the_newest():
    predicted = np.zeros((2, 200))
    predicted[:, 180] = [-9, 9]
    predicted[:, 20] = [-99, 99]
    assert 180 in ask(PolicyAligned(Disagreement(pool=10_000)), 200, 1, predicted=predicted)[0]


def test_policy_aligned_takes_older_ones_rather_than_repeat():
    pairs = ask(PolicyAligned(newest=0.01), 200, 20)
    assert min(i for pair in pairs for i in pair) >= 160
    assert len(pairs) == 20


@pytest.mark.parametrize("strategy", [Disagreement, InformationGain, Coverage])
def test_an_empty_pool_is_refused(strategy):
    with pytest.raises(ValueError, match="pool is 0: give at least 1"):
        strategy(pool=0)


@pytest.mark.parametrize("newest", [0, 1.5, float("nan")])
def test_an_impossible_share_of_the_newest_is_refused(newest):
    with pytest.raises(ValueError, match=r"newest is .*: give a share above 0"):
        PolicyAligned(newest=newest)


def left_is_older(segments, returns, n, rng):
    return [(i, i + 1) for i in range(n)]


def test_any_side_asks_the_pairs_of_its_strategy():
    turned, plain = (ask(select, 200, 50) for select in (AnySide(Coverage()), Coverage()))
    assert [frozenset(pair) for pair in turned] == [frozenset(pair) for pair in plain]


def test_on_any_side_what_a_strategy_puts_left_comes_left_half_of_the_time():
    left = np.array(ask(AnySide(left_is_older), 10_001, 10_000))[:, 0]
    turned = np.mean(left != np.arange(10_000))
    assert turned == pytest.approx(0.5, abs=0.025)  # 5 standard deviations: a false alarm in 10^6
    assert np.mean(turned_after(left, True)) == pytest.approx(0.5, abs=0.04)  # and whatever came before


def turned_after(left, what):
    turned = left != np.arange(len(left))
    return turned[1:][turned[:-1] == what]

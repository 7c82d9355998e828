"""Win rates, their intervals, and what length and copying have to do with them; best-of-n and over-optimisation."""

from itertools import combinations
from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from prefrl.text.best_of_n import BestOf, Point, choose, expected, kl, over_optimisation, peak
from prefrl.text.evaluation import at_equal_length, evaluate, leave_out, win_rate
from prefrl.text.samples import Example, Prompt
from tests import tiny_text

scores = st.lists(st.integers(-3, 3), min_size=1, max_size=7)


def examples(count):
    return [Example(Prompt(f"one two three {i}"), (f"ref {i}", f"another {i}"), str(i)) for i in range(count)]


def test_detail_15_win_rates_count_ties_half_resample_prompts_and_come_with_lengths():
    said = iter([1.0, 0.5, None, 0.0, 1.0])
    found = evaluate(examples(5), ["a b c"] * 5, ["two three"] * 5, lambda *_: next(said))
    assert found.wins.value == (1 + 0.5 + 0 + 1) / 4
    assert found.wins.low < found.wins.value < found.wins.high
    assert (found.prompts, found.ties, found.skipped, found.lengths, found.copied) == (4, 1, 1, (3, 2), (0, 1))
    assert (
        "wins 62.5%" in str(found) and "3.0 words against 2.0" in str(found) and "1 ties, 1 cannot tell" in str(found)
    )


def test_of_one_prompt_no_bounds_are_told():
    found = evaluate(examples(1), ["a b c"], ["two three"], lambda *_: 1.0)
    assert str(found).startswith("wins 100.0% (-) of 1 prompts") and "nan" not in str(found)


def test_a_judge_that_can_tell_of_no_pair_tells_no_win_rate():
    found = evaluate(examples(2), ["a b c"] * 2, ["two three"] * 2, lambda *_: None)
    assert np.isnan([*found.wins, *found.at_equal_length]).all()
    assert str(found).startswith("wins - of 0 prompts, - at equal length; 0 ties, 2 cannot tell; 3.0 words")


def test_the_bootstrap_draws_prompts_not_answers():
    """Ten seeds of one prompt tell nothing more of others than one does."""
    rng = np.random.default_rng(0)
    preferences = rng.integers(0, 2, 60).astype(float)
    once, often = win_rate(range(60), preferences), win_rate([*range(60)] * 10, np.tile(preferences, 10))
    assert often == pytest.approx(once)
    half = np.sqrt(preferences.var() / 60) * 1.96
    assert (once.high - once.low) / 2 == pytest.approx(half, rel=0.15)
    assert np.isnan(win_rate([1, 1, 1], [1, 0, 1]).low)


def test_the_win_rate_at_equal_length_is_that_of_an_explicit_regression():
    rng = np.random.default_rng(1)
    ours, theirs = rng.integers(5, 40, (2, 300))
    ratio = np.log(ours / theirs)
    preferences = (rng.random(300) < 1 / (1 + np.exp(-(0.4 + 2 * ratio)))).astype(float)

    def loss(x):
        logits = x[0] + x[1] * ratio
        return np.sum(np.logaddexp(0, logits) - preferences * logits)

    intercept = minimize(loss, [0.0, 0.0]).x[0]
    found = at_equal_length(range(300), preferences, ours, theirs)
    assert found.value == pytest.approx(1 / (1 + np.exp(-intercept)), abs=1e-4)
    assert found.low < 1 / (1 + np.exp(-0.4)) < found.high


def test_wins_by_length_alone_are_none_at_equal_length():
    rng = np.random.default_rng(2)
    theirs = rng.integers(5, 20, 400)
    ours = theirs * np.where(rng.random(400) < 0.8, 2, 0.5)  # mostly longer, and the longer one wins, mostly
    preferences = (rng.random(400) < np.where(ours > theirs, 0.9, 0.1)).astype(float)
    assert win_rate(range(400), preferences).low > 0.6
    equal = at_equal_length(range(400), preferences, ours, theirs)
    assert equal.low < 0.5 < equal.high


def test_a_side_that_always_wins_has_finite_numbers():
    found = at_equal_length(range(50), [1.0] * 50, np.arange(1, 51), [20] * 50)
    assert 0.9 < found.low <= found.value <= found.high < 1


def test_what_cannot_be_evaluated_is_refused():
    with pytest.raises(ValueError, match="1 and 2 continuations of 2 examples: give each one of both"):
        evaluate(examples(2), ["a"], ["b", "c"], lambda *_: 1.0)
    with pytest.raises(ValueError, match="no examples to evaluate"):
        evaluate([], [], [], lambda *_: 1.0)


def test_a_reference_is_left_out_of_those_that_it_is_compared_by():
    for example, (rest, out) in zip(examples(20), leave_out(examples(20), seed=0), strict=True):
        assert (rest.prompt, rest.id) == (example.prompt, example.id)
        assert out not in rest.references and {out, *rest.references} == {*example.references}
    assert leave_out(examples(20), 0) == leave_out(examples(20), 0) != leave_out(examples(20), 1)
    with pytest.raises(ValueError, match="example 0 has 1 references"):
        leave_out(tiny_text.examples(1), 0)


def test_the_kl_of_best_of_n_is_the_papers():
    assert [kl(n) for n in (1, 2, 16)] == pytest.approx([0, log(2) - 1 / 2, log(16) - 15 / 16])


@given(scores, st.data())
def test_the_expected_best_is_the_mean_over_all_ways_to_draw(by, data):
    values = data.draw(st.lists(st.floats(-5, 5), min_size=len(by), max_size=len(by)))
    n = data.draw(st.integers(1, len(by)))
    means = []
    for drawn in combinations(range(len(by)), n):
        top = max(by[i] for i in drawn)
        means.append(np.mean([values[i] for i in drawn if by[i] == top]))
    # where equals are drawn in part only, their mean over all draws is that of all equals
    assert expected(by, values, n) == pytest.approx(np.mean(means), abs=1e-9)


def test_best_of_n_says_what_the_reward_likes_best():
    def counting(examples, seed):
        return [f"{seed} {i % 4}" for i, _ in enumerate(examples)]

    def middle(prompts, texts):
        assert prompts[0] == "one two three 0"
        return [-abs(int(text[-1]) - 2) for text in texts]

    assert BestOf(counting, middle, n=4)(examples(3), 7) == ["7 2"] * 3
    assert choose([[1, 3, 3], [2, 1, 0]]).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: BestOf(lambda *_: [], lambda *_: [], n=0), "give at least 1"),
        (lambda: BestOf(lambda e, _: ["a"] * len(e), lambda *_: [1.0], n=2)(examples(1), 0), "of 2 continuations"),
        (lambda: choose([[1.0, np.nan]]), "continuation 1 is NaN"),
        (lambda: expected([1.0], [1.0], 2), "best of 2 cannot be told from 1"),
        (lambda: over_optimisation([[1.0]], [[1.0, 2.0]], [1]), r"not \(1, 1\) and \(1, 2\)"),
    ],
)
def test_what_has_no_best_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_detail_17_the_proxy_rises_with_the_distance_and_the_oracle_rises_and_falls():
    """A reward that is right about most continuations and badly wrong about a few that it likes best."""
    rng = np.random.default_rng(0)
    quality = rng.normal(size=(400, 64))
    hacks = rng.random(quality.shape) < 0.02
    proxy, quality = np.where(hacks, 5.0, quality), np.where(hacks, -5.0, quality)
    points = over_optimisation(proxy, quality, [1, 2, 4, 8, 16, 32, 64])
    assert [point.distance for point in points] == pytest.approx([kl(n) ** 0.5 for n in (1, 2, 4, 8, 16, 32, 64)])
    rewards, judged = [point.proxy for point in points], [point.oracle for point in points]
    assert rewards == sorted(rewards) and points[0].proxy == pytest.approx(proxy.mean())
    best = peak(points)
    assert best.name in ("best of 2", "best of 4") and best.oracle > judged[0] + 0.2 and judged[-1] < judged[0]
    assert judged == sorted(judged[: judged.index(best.oracle)]) + sorted(
        judged[judged.index(best.oracle) :], reverse=True
    )
    assert Point("noisy", -0.01, 0.0, 0.0).distance == 0

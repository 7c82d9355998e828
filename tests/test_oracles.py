"""What oracles answer, and how often they err.

Bounds on measured rates are 5 standard deviations of the binomial: a false-alarm rate of 6e-7 each, if seeds change.
"""

import itertools
import pickle
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefrl import oracles
from prefrl.names import resolve
from prefrl.oracles import Equal, Human, Mistaken, Myopic, Skipping, Stochastic, Synthetic, observe
from prefrl.types import Segment

rewards = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20)
CLASSES = [Synthetic, Stochastic, Mistaken, Skipping, Equal, Myopic]
TASKS = {
    "positive": np.exp,
    "negative": lambda normal: -np.exp(normal),
    "mixed": lambda normal: normal,
    "sparse": lambda normal: 1.0 * (normal > 1.5),
}
CHANCES = [0, 0.1, 0.4, 1]


def segment(*truth, obs=0.0):
    return Segment(obs=np.full((len(truth), 1), obs), acts=np.zeros((len(truth), 1)), truth=np.array(truth))


def pairs(count, task="mixed", steps=1, seed=0):
    truth = TASKS[task](np.random.default_rng(seed).normal(size=(2 * count, steps)))
    segments = [segment(*t, obs=i) for i, t in enumerate(truth)]
    return list(zip(segments[::2], segments[1::2], strict=True))


def prefers_left(left, right):
    return 1.0


def answers(oracle, asked):
    return [oracle(left, right) for left, right in asked]


def near(chance, count):
    return pytest.approx(chance, abs=5 * (chance * (1 - chance) / count) ** 0.5)


def test_the_larger_sum_is_preferred_and_equal_sums_tie():
    assert Synthetic()(segment(1.0, 1.0), segment(1.5, 0.0)) == 1
    assert Synthetic()(segment(-3.0), segment(-2.0)) == 0
    assert Synthetic()(segment(2.0, -1.0), segment(1.0, 0.0)) == 0.5


@settings(deadline=None)
@given(rewards, st.randoms())
def test_the_same_rewards_in_another_order_tie(truth, random):
    other = random.sample(truth, len(truth))
    for oracle in (Synthetic(), Stochastic()):
        assert oracle(segment(*truth), segment(*other)) == 0.5


@settings(deadline=None)
@given(rewards, rewards)
def test_swapping_the_sides_mirrors_the_answer(left, right):
    for make in CLASSES:
        answer = make()(segment(*left), segment(*right, obs=1))
        mirrored = make()(segment(*right, obs=1), segment(*left))
        assert (answer is None and mirrored is None) or answer + mirrored == 1


@pytest.mark.parametrize("beta", [0, 0.5, 1, 3])
def test_an_average_difference_is_answered_right_with_chance_sigmoid_of_beta(beta):
    asked = [(segment(0.0, obs=-i), segment(7.0, obs=i)) for i in range(1, 2001)]
    right = np.mean(answers(Stochastic(beta), asked))
    assert 1 - right == near(1 / (1 + np.exp(-beta)), 2000)


def test_stochastic_errs_more_the_closer_the_pair():
    asked = pairs(4000)
    gap = np.array([abs(left.truth.sum() - right.truth.sum()) for left, right in asked])
    wrong = np.array(answers(Stochastic(), asked)) != np.array(answers(Synthetic(), asked))
    for low, high in itertools.pairwise([0, 0.5, 1, 2, 4]):
        some = (gap >= low) & (gap < high)
        expected = 1 / (1 + np.exp(gap[some] / gap.mean()))
        assert wrong[some].mean() == pytest.approx(expected.mean(), abs=0.05 + 5 * 0.5 / some.sum() ** 0.5)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("constant", [1e-3, 7.0, 1e6])
def test_the_scale_of_the_rewards_changes_no_answer(task, constant):
    asked = pairs(300, task)
    scaled = [tuple(replace(side, truth=side.truth * constant) for side in pair) for pair in asked]
    for oracle in (Synthetic, Stochastic, Mistaken, Skipping, Equal):
        assert answers(oracle(), scaled) == answers(oracle(), asked)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("chance", CHANCES)
def test_decisive_answers_are_mistaken_at_the_rate_asked_for(task, chance):
    asked = pairs(1500, task)
    decisive = [pair for pair in asked if Synthetic()(*pair) != 0.5]
    wrong = np.array(answers(Mistaken(chance=chance), decisive)) != np.array(answers(Synthetic(), decisive))
    assert wrong.mean() == near(chance, len(decisive))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("chance", CHANCES)
@pytest.mark.parametrize("wrapper", [Skipping, Equal])
def test_pairs_are_skipped_or_tied_at_the_rate_asked_for(task, chance, wrapper):
    given = answers(wrapper(prefers_left, chance), pairs(1500, task))
    assert np.mean([answer != 1 for answer in given]) == near(chance, 1500)


@pytest.mark.parametrize("wrapper", [Skipping, Equal])
def test_the_first_pair_is_as_likely_as_any_other(wrapper):
    first = [wrapper(prefers_left, chance=0.3)(*pair) for pair in pairs(1500)]
    assert np.mean([answer != 1 for answer in first]) == near(0.3, 1500)


def test_the_worst_pairs_are_skipped_and_the_closest_tie():
    asked = pairs(1500)
    better = np.array([max(left.truth[0], right.truth[0]) for left, right in asked])
    gap = np.array([abs(left.truth[0] - right.truth[0]) for left, right in asked])
    skipped = np.array([a is None for a in answers(Skipping(), asked)])
    tied = np.array(answers(Equal(), asked)) == 0.5
    assert np.mean(better[200:][skipped[200:]] < np.quantile(better, 0.2)) == 1
    assert np.mean(gap[200:][tied[200:]] < np.quantile(gap, 0.2)) == 1


def test_what_counts_as_good_follows_the_policy():
    better = [tuple(replace(side, truth=side.truth + 100) for side in pair) for pair in pairs(600, seed=1)]
    given = answers(Skipping(), pairs(300) + better)
    assert None not in given[300:400]
    assert np.mean([answer is None for answer in given[500:]]) == near(0.1, 400)


def test_mistakes_leave_ties_and_cannot_tell():
    always = Mistaken(chance=1.0)
    assert always(segment(1.0), segment(1.0)) == 0.5
    assert replace(always, oracle=lambda left, right: None)(segment(1.0), segment(0.0)) is None
    assert replace(always, oracle=lambda left, right: 0.75)(segment(1.0), segment(0.0)) == 0.25


def test_cannot_tell_prevails_over_a_tie_and_a_tie_over_a_preference():
    pair = segment(1.0), segment(0.0)
    assert Equal(Skipping(chance=1.0), chance=1.0)(*pair) is None
    assert Skipping(Equal(chance=1.0), chance=1.0)(*pair) is None
    assert Mistaken(Equal(chance=1.0), chance=1.0)(*pair) == 0.5
    assert Equal(Mistaken(chance=1.0), chance=1.0)(*pair) == 0.5


def test_myopia_weighs_the_end_most():
    early, late = segment(1.0, 0.0, 0.0), segment(0.0, 0.0, 0.9)
    assert Synthetic()(early, late) == 1
    assert Myopic(discount=0.9)(early, late) == 0  # 0.81 against 0.9
    assert Myopic(discount=1.0)(early, late) == 1
    seen = []
    Myopic(lambda left, right: seen.append(left.truth) or 1.0, discount=0.5)(segment(4.0, 4.0, 4.0), early)
    assert seen[0].tolist() == [1, 2, 4]


def test_outside_myopia_sums_are_undiscounted():
    outside, inside = Equal(Myopic(discount=0.5), chance=0.5), Myopic(Equal(chance=0.5), discount=0.5)
    for oracle in (outside, inside):
        answers(oracle, [(segment(0.0, 0.1), segment(0.0, 0.0))] * 9)
    even = segment(1.0, 0.0), segment(0.0, 1.0)  # differ by 0 or, discounted, by 0.5
    assert (outside(*even), inside(*even)) == (0.5, 0)


def test_mistakes_do_not_depend_on_the_order_of_asking():
    asked = pairs(200)
    oracle = Mistaken(chance=0.5)
    assert answers(oracle, asked) == answers(oracle, asked[::-1])[::-1]


def test_seeds_and_nested_oracles_err_independently():
    asked = pairs(2000)
    right = np.array(answers(Synthetic(), asked))
    wrong = [
        np.array(answers(oracle, asked)) != right
        for oracle in (Mistaken(chance=0.3), Mistaken(chance=0.3, seed=1), Stochastic())
    ]
    for one, other in itertools.combinations(wrong, 2):
        assert np.mean(one & other) == near(one.mean() * other.mean(), 2000)


@pytest.mark.parametrize("at", [0, 1, 150, 299])
def test_a_resumed_run_gets_the_answers_of_the_run_that_was_not_killed(at):
    asked = pairs(300, steps=3)

    def fresh():
        return Skipping(Equal(Mistaken(Myopic(Stochastic()))))

    whole, resumed = answers(fresh(), asked), fresh()
    for left, right in asked[:at]:
        observe(resumed, left, right)
    assert answers(resumed, asked[at:]) == whole[at:]


def test_observing_passes_by_what_keeps_no_history():
    observe(Synthetic(), segment(0.0), segment(1.0))
    observe(Equal(prefers_left), segment(0.0), segment(1.0))


@pytest.mark.parametrize("make", CLASSES)
def test_segments_without_truth_need_another_oracle(make):
    with pytest.raises(ValueError, match=r"no true reward .*: use an oracle of your own"):
        make()(segment(1.0).blind(), segment(0.0))


@pytest.mark.parametrize(
    ("make", "number", "value"),
    [
        *[(make, "chance", value) for make in (Mistaken, Skipping, Equal) for value in (-0.1, 1.1, float("nan"))],
        *[(Myopic, "discount", value) for value in (0, 1.1)],
        (Stochastic, "beta", -1),
    ],
)
def test_impossible_numbers_are_refused(make, number, value):
    with pytest.raises(ValueError, match=f"{number} is .*: give"):
        make(**{number: value})


def test_a_history_is_no_part_of_what_an_oracle_is():
    used = Equal()
    answers(used, pairs(3))
    assert used == Equal()
    assert repr(used) == "Equal(oracle=Synthetic(), chance=0.1, seed=0)"


def test_people_answer_on_their_page_only():
    with pytest.raises(ValueError, match=r"people answer on the labelling page: train with --oracle human, or label"):
        Human()(segment(0.0), segment(1.0))


@pytest.mark.parametrize("name", ["overlap", "repeats"])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_impossible_shares_of_peoples_pairs_are_refused(name, value):
    with pytest.raises(ValueError, match=rf"{name} is .*: give a share from 0 to 1"):
        Human(**{name: value})


def test_people_are_a_part_like_others():
    """Named on the command line, copied, and handed to other processes."""
    people = resolve("human(overlap=0.1, repeats=0.05)", oracles, "oracle")
    assert people == Human(0.1, 0.05) == pickle.loads(pickle.dumps(people)) == deepcopy(people)

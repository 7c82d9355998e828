"""The loop of queries, labels and refits: what it owes, what it may see, and how it goes on after a kill."""

from dataclasses import replace
from functools import partial
from itertools import count, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv

from prefrl.control.callback import PreferenceCallback
from prefrl.control.rollout import Cutter, learned
from prefrl.control.vec_env import Recorder
from prefrl.loop import ATTEMPTS, Baseline, Learner, Lockstep, Turns
from prefrl.oracles import Synthetic
from prefrl.queries import Disagreement, Uniform
from prefrl.recent import Recent
from prefrl.reward.ensemble import Ensemble
from prefrl.reward.fit import Fit
from prefrl.reward.networks import MLP
from prefrl.reward.true import TrueReward
from prefrl.schedules import Constant, Upfront
from prefrl.store import Store
from prefrl.types import Label, Segment
from tests.tiny_envs import HORIZON, dot

STEPS = 5
"""Steps of a segment."""
TOTAL = 100
"""Steps of a run."""


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path) as store:
        yield store


def segments(seed, count=12):
    """Of a policy after `seed` steps; the true reward is the first observation."""
    rng = np.random.default_rng(seed)
    obs, acts = rng.normal(size=(2, count, STEPS, 2)).astype(np.float32)
    return [Segment(o, a, o[:, 0].astype(float), step=seed) for o, a in zip(obs, acts, strict=True)]


def make(seed=0):
    torch.manual_seed(seed)
    return Ensemble((2,), (2,), net=partial(MLP, width=8))


def learner(store, budget=40, **parts):
    usual = {"select": Uniform(), "schedule": Constant(initial=0.25), "fit": Fit(first_passes=4, passes=2, batch=8)}
    return Learner(store, make(), budget, **{**usual, **parts})


def driver(store, oracle=Synthetic(), **parts):  # noqa: B008 -- a value
    return Lockstep(learner(store, **parts), oracle, Recent(24), Turns(4, TOTAL))


def answer(store, queries, preference=1.0, labeller="someone"):
    return store.answer([Label(query.id, preference, labeller) for query in queries])


class Asked:
    """Keeps what an oracle was asked, or was shown because it had answered it before."""

    def __init__(self, oracle):
        self.oracle, self.pairs = oracle, []

    def __call__(self, left, right):
        self.pairs.append((left, right))
        return self.oracle(left, right)

    def observe(self, left, right):
        self.pairs.append((left, right))


class Counting(Asked):
    """An oracle whose every answer depends on how many came before; it cannot tell each fourth pair."""

    def __init__(self):
        super().__init__(self._answer)

    def _answer(self, left, right):
        asked = len(self.pairs)
        return None if asked % 4 == 0 else (0.618 * asked) % 1


def likes_right(left, right):
    """An oracle that judges what it sees, not the truth."""
    return float(left.obs[:, 0].sum() > right.obs[:, 0].sum())


# turns


@given(st.integers(1, 60), st.integers(1, 300))
def test_a_first_turn_is_followed_by_as_many_as_asked_for(number, total):
    turns = Turns(number, total)
    assert sum(turns(step) for step in range(total + 1)) == 1 + min(number, total)


@given(st.integers(1, 60), st.integers(1, 300))
def test_turns_are_even(number, total):
    turns = Turns(number, total)
    fired = [step for step in range(total + 1) if turns(step)]
    gaps = {later - earlier for earlier, later in pairwise(fired)}
    assert max(gaps) - min(gaps) <= 1


@given(st.integers(1, 60), st.integers(1, 300), st.integers(0, 300))
def test_the_last_turn_is_at_the_end(number, total, before):
    turns = Turns(number, total)
    turns.skip_to(min(before, total - 1))
    assert turns(total)


@given(st.integers(1, 20), st.integers(1, 300), st.integers(1, 40), st.integers(1, 300))
def test_a_resumed_run_has_the_turns_that_the_other_would_have_had(number, total, rollout, before):
    turns, resumed = Turns(number, total), Turns(number, total)
    for step in range(0, before, rollout):
        turns(step)
    resumed.skip_to(step)
    rest = range(step + rollout, total + rollout, rollout)
    assert [turns(step) for step in rest] == [resumed(step) for step in rest]


# the budget


@pytest.mark.parametrize(("progress", "owed"), [(0, 10), (0.5, 25), (1, 40), (1.1, 40)])
def test_what_is_due_follows_the_schedule(store, progress, owed):
    assert learner(store).due(progress) == owed


def test_an_answer_is_charged(store):
    asks = learner(store)
    answer(store, asks.ask(segments(10), 3, step=10))
    assert asks.due(0) == 7


def test_an_open_question_is_charged(store):
    asks = learner(store)
    asks.ask(segments(10), 3, step=10)
    assert asks.due(0) == 7


def test_what_nobody_could_tell_is_not_charged(store):
    asks = learner(store)
    answer(store, asks.ask(segments(10), 3, step=10), preference=None)
    assert asks.due(0) == 10


def test_a_learner_on_the_same_store_asks_only_what_is_left(store):
    driver(store)(segments(10), 10)
    assert learner(store).due(1) == 40 - store.counts().labelled > 0


def test_a_whole_run_gets_exactly_its_budget(store):
    drive = driver(store)
    for step in (10, 25, 50, 75, 100):
        drive(segments(step), step)
    assert store.counts().labelled == 40


def shy(times):
    """An oracle that at first cannot tell."""
    calls = count(1)
    return lambda left, right: None if next(calls) <= times else 1.0


def test_a_run_gets_its_budget_from_an_oracle_that_skips(store):
    drive = driver(store, shy(20))
    for step in (10, 25, 50, 75, 100):
        drive(segments(step), step)
    assert (store.counts().labelled, store.counts().skipped) == (40, 20)


def test_skipped_questions_are_replaced_in_the_same_turn(store):
    metrics = driver(store, shy(5))(segments(10), 10)
    assert (store.counts().labelled, store.counts().skipped) == (13, 5)
    assert metrics["labels/skipped"] == 5


def test_an_oracle_that_never_can_tell_is_asked_a_few_times_only(store):
    metrics = driver(store, lambda left, right: None)(segments(10), 10)
    assert metrics == {"labels/skipped": store.counts().skipped}
    assert 13 <= store.counts().skipped <= ATTEMPTS * 13


def always_the_same(segments, returns, n, rng):
    return [(0, 1), (2, 3), (4, 5)][:n]


def test_a_question_that_comes_up_again_is_not_counted_again(store):
    drive = driver(store, lambda left, right: None, select=always_the_same)
    drive(segments(10), 10)
    assert (store.counts().asked, store.counts().skipped) == (3, 3)


def test_an_answer_that_comes_up_again_is_not_charged_again(store):
    """The third question is skipped; in its place the strategy repeats the first, which tells nothing new."""
    third = segments(10)[4]
    oracle = Asked(lambda left, right: None if np.array_equal(left.obs, third.obs) else 1.0)
    drive = driver(store, oracle, select=always_the_same, budget=10)
    assert drive(segments(10), 10)["labels/skipped"] == 1
    assert len(oracle.pairs) == 3


def test_there_is_no_turn_before_there_is_a_pair(store):
    drive = driver(store)
    assert drive([], 10) == drive(segments(11, count=1), 11) == {}
    assert drive(segments(12), 12)


def test_asking_again_asks_other_pairs(store):
    asks = learner(store)
    first, again = (asks.ask(segments(10), 6, 10, attempt) for attempt in (0, 1))
    assert not {query.id for query in again} <= {query.id for query in first}


def test_no_more_pairs_are_asked_than_there_are(store):
    assert len(learner(store).ask(segments(10, count=3), 10, step=10)) == 3


def test_a_query_notes_its_step_and_strategy(store):
    (query,) = learner(store, why="uniform").ask(segments(10), 1, step=10)
    assert (query.step, query.why) == (10, "uniform")


def test_a_budget_of_nothing_is_refused(store):
    with pytest.raises(ValueError, match="labels must be at least 1, got 0"):
        learner(store, budget=0)


# what is learned


def test_the_oracle_judges_by_the_true_reward(store):
    oracle = Asked(Synthetic())
    driver(store, oracle)(segments(10), 10)
    assert all(np.array_equal(side.truth, side.obs[:, 0]) for pair in oracle.pairs for side in pair)


def test_nothing_new_is_nothing_learned(store):
    drive = driver(store)
    drive(segments(10), 10)
    assert drive.learner.learn(segments(11), 11) == {}
    assert drive.version == 1


def test_a_reward_is_normalised_on_recent_segments(store):
    drive = driver(store)
    drive(segments(10), 10)
    paid = drive.learner.ensemble.pay(*(np.stack([getattr(s, name) for s in segments(10)]) for name in ("obs", "acts")))
    assert paid.mean() == pytest.approx(0, abs=1e-5)


def test_what_is_published_is_what_pays(store):
    drive = driver(store)
    drive(segments(10), 10)
    assert store.reward() == (drive.version, drive.learner.ensemble.to_bytes())


def test_labels_are_judged_before_they_are_learned_from(store):
    drive = driver(store)
    first, second = (drive(segments(step), step) for step in (10, 30))
    assert "reward/prequential_accuracy" not in first  # nothing was published that could judge
    assert 0 <= second["reward/prequential_accuracy"] <= 1


def test_learned_and_true_reward_are_compared(store):
    assert -1 <= driver(store)(segments(10), 10)["reward/pearson"] <= 1


def test_a_corrected_label_takes_the_place_of_the_first(store):
    learns = learner(store)
    queries = learns.ask(segments(10), 4, step=10)
    answer(store, queries)
    answer(store, queries[:1], preference=0.0)
    assert learns.learn(segments(10), 10)["labels/learned"] == 4


def test_labels_of_two_people_count_both(store):
    learns = learner(store)
    queries = learns.ask(segments(10), 4, step=10)
    answer(store, queries)
    answer(store, queries, labeller="someone else")
    assert learns.learn(segments(10), 10)["labels/learned"] == 8


def test_a_withdrawn_label_is_forgotten(store):
    learns = learner(store)
    queries = learns.ask(segments(10), 2, step=10)
    answer(store, queries)
    learns.learn(segments(10), 10)
    answer(store, queries[:1], preference=None)
    assert learns.learn(segments(11), 11)["labels/learned"] == 1


def test_where_all_labels_are_withdrawn_nothing_is_learned(store):
    learns = learner(store)
    queries = learns.ask(segments(10), 2, step=10)
    answer(store, queries)
    answer(store, queries, preference=None)
    assert learns.learn(segments(10), 10) == {}


# what may not be seen


def test_a_strategy_sees_no_truth(store):
    def select(segments, returns, n, rng):
        assert all(segment.truth is None for segment in segments)
        return Disagreement()(segments, returns, n, rng)

    assert driver(store, select=select)(segments(10), 10)


def taught(folder, poison):
    """What a learner asked and learned, its labels fixed."""
    with Store(folder) as store:
        learns, asked = learner(store, select=Disagreement()), []
        for step in (10, 30):
            shown = [replace(s, truth=s.truth * np.nan) if poison else s for s in segments(step)]
            queries = learns.ask(shown, 6, step)
            store.answer([Label(query.id, query.id % 2, "someone", key=f"{query.id}") for query in queries])
            metrics = learns.learn(shown, step)
            asked += queries
        obs, acts = (np.stack([getattr(s, name) for s in segments(50)]) for name in ("obs", "acts"))
        return asked, metrics, learns.ensemble.to_bytes(), learns.ensemble.pay(obs, acts).tolist()


def test_the_reward_never_sees_the_truth(tmp_path):
    assert taught(tmp_path / "clean", poison=False) == taught(tmp_path / "poisoned", poison=True)


class Poisoned(Recorder):
    """Records NaN for every true reward."""

    def take(self):
        rollout = super().take()
        return replace(rollout, truth=rollout.truth * np.nan)


def trained(folder, recorder):
    """Queries, reward and policy of a small run whose oracle judges by observations."""
    with Store(folder) as store:
        drive = Lockstep(learner(store), likes_right, Recent(24), Turns(4, 240))
        venv = recorder(DummyVecEnv([dot, dot]), "Dot")
        model = PPO("MlpPolicy", venv, n_steps=30, batch_size=60, n_epochs=2, policy_kwargs={"net_arch": [8]}, seed=0)
        model.learn(240, PreferenceCallback(venv, learned(drive.learner.ensemble), Cutter(STEPS, HORIZON), drive))
        policy = torch.cat([parameter.flatten() for parameter in model.policy.parameters()])
        return store.queries(), drive.learner.ensemble.to_bytes(), policy.tolist()


def test_the_policy_never_sees_the_truth(tmp_path):
    assert trained(tmp_path / "clean", Recorder) == trained(tmp_path / "poisoned", Poisoned)


# after a kill


def test_a_learner_goes_on_from_its_state_as_if_it_had_not_stopped(store):
    first = driver(store)
    first(segments(10), 10)
    second = driver(store)
    second.learner.load(load(save(first.learner.state())))
    answer(store, first.learner.ask(segments(30), 6, step=30))
    told = [each.learner.learn(segments(30), 30) for each in (first, second)]
    assert told[0] == told[1] != {}
    assert first.learner.ensemble.to_bytes() == second.learner.ensemble.to_bytes()


def test_the_state_before_the_first_fit_can_be_restored(store):
    one, other = learner(store), learner(store)
    other.load(load(save(one.state())))
    assert other.ensemble.version == 0


def rows(store):
    """All that a run leaves behind."""
    return store.queries(), store.labels(), [store.reward(version.id) for version in store.versions()]


class Killed(BaseException):
    pass


def kill_at(store, verb, moment):
    act = getattr(store, verb)

    def killed(*args, **kwargs):
        if moment == "after":
            act(*args, **kwargs)
        raise Killed

    setattr(store, verb, killed)


@pytest.fixture(scope="module", params=[Synthetic, Counting])
def undisturbed(request, tmp_path_factory):
    """An oracle, without or with a memory, and the rows of a run that nobody killed."""
    with Store(tmp_path_factory.mktemp("undisturbed")) as store:
        drive = driver(store, request.param(), budget=16)
        for step in (10, 30, 60):
            drive(segments(step), step)
        return request.param, rows(store)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("verb", ["record", "ask", "answer", "publish"])
def test_a_turn_that_was_killed_leaves_the_rows_of_one_that_was_not(undisturbed, tmp_path, verb, moment):
    oracle, expected = undisturbed
    with Store(tmp_path) as store:
        drive = driver(store, oracle(), budget=16)
        drive(segments(10), 10)
        drive.save(tmp_path)
        kill_at(store, verb, moment)
        with pytest.raises(Killed):
            drive(segments(30), 30)
    with Store(tmp_path) as store:
        drive = driver(store, oracle(), budget=16)
        drive.load(tmp_path, step=10)
        for step in (30, 60):
            drive(segments(step), step)
        assert rows(store) == expected


def test_a_run_killed_between_turns_goes_on_as_if_it_were_not(undisturbed, tmp_path):
    oracle, expected = undisturbed
    with Store(tmp_path) as store:
        drive = driver(store, oracle(), budget=16)
        for step in (10, 30):
            drive(segments(step), step)
        drive.save(tmp_path)
        drive = driver(store, oracle(), budget=16)
        drive.load(tmp_path, step=30)
        drive(segments(60), 60)
        assert rows(store) == expected


def test_an_oracle_sees_again_what_it_answered_before_the_checkpoint(store, tmp_path):
    first = driver(store, Asked(Synthetic()))
    first(segments(10), 10)
    first.save(tmp_path)
    first(segments(30), 30)
    second = driver(store, Asked(Synthetic()))
    second.load(tmp_path, step=10)
    asked = [(query.left, query.right) for query in store.queries(upto=10)]
    assert [(left.id, right.id) for left, right in second.oracle.pairs] == asked


# recent segments


def test_only_the_newest_segments_are_recent():
    recent = Recent(15)
    for step in (10, 30):
        recent.add(segments(step))
    assert [segment.step for segment in recent.segments] == [10] * 3 + [30] * 12


def test_recent_segments_come_back_as_they_were(tmp_path):
    recent, other = Recent(15), Recent(15)
    recent.add(segments(10))
    other.add(segments(30))
    recent.save(tmp_path / "recent.npz")
    other.load(tmp_path / "recent.npz")
    for one, restored in zip(recent.segments, other.segments, strict=True):
        assert one.step == restored.step
        assert all(np.array_equal(getattr(one, name), getattr(restored, name)) for name in ("obs", "acts", "truth"))


# the baseline


def test_the_true_reward_is_normalised_in_turns():
    baseline = Baseline(TrueReward(), Recent(12), Turns(4, TOTAL))
    told = [baseline(segments(step), step) for step in (10, 20, 30)]
    assert told == [{"reward/version": 1}, {}, {"reward/version": 2}]


def test_the_true_reward_is_normalised_on_recent_segments():
    baseline = Baseline(TrueReward(), Recent(12), Turns(4, TOTAL))
    baseline(segments(10), 10)
    paid = baseline.reward.pay(np.stack([segment.truth for segment in segments(10)]))
    assert (paid.mean(), paid.std()) == (pytest.approx(0, abs=1e-6), pytest.approx(1))


def test_a_baseline_goes_on_as_if_it_had_not_stopped(tmp_path):
    first, second = (Baseline(TrueReward(), Recent(12), Turns(4, TOTAL)) for _ in range(2))
    first(segments(10), 10)
    first.save(tmp_path)
    second.load(tmp_path, step=10)
    for step in (20, 30):
        assert first(segments(step), step) == second(segments(step), step)
    assert first.reward == second.reward


def test_the_true_reward_is_not_normalised_before_there_is_a_segment():
    baseline = Baseline(TrueReward(), Recent(12), Turns(4, TOTAL))
    assert baseline([], 10) == {}
    assert baseline(segments(11), 11) == {"reward/version": 1}


def test_everything_can_be_asked_upfront(store):
    drive = driver(store, schedule=Upfront())
    for step in (10, 30):
        drive(segments(step), step)
    assert {query.step for query in store.queries()} == {10}

"""An oracle answers beside the policy: as much as in turn with it, however slow it is, and blind to nobody."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv

from prefrl import live
from prefrl.asynchronous import Asynchronous, Fitting, ForOracle
from prefrl.candidates import Candidates, Offers
from prefrl.control.callback import PreferenceCallback
from prefrl.control.rollout import Cutter, learned
from prefrl.control.vec_env import Recorder
from prefrl.loop import ATTEMPTS, Lockstep, Turns
from prefrl.oracles import Synthetic
from prefrl.queries import Disagreement
from prefrl.recent import Recent
from prefrl.store import Store
from tests.tiny_envs import HORIZON, dot
from tests.tiny_learner import TOTAL, TURNS, learner, make, parts, publish, segments


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path) as store:
        yield store


def for_oracle(store, oracle=None, **more):
    return ForOracle(store.folder, learner(store, **more), parts(oracle))


def offer_all(asks, steps):
    """Every offer until nothing is to be done about it; how many labels there are after each."""
    labels = []
    for step in steps:
        while asks(Candidates(segments(step), step)):
            pass
        labels.append(asks.learner.store.counts().labelled)
    return labels


def test_as_much_is_asked_as_in_lockstep(store, tmp_path):
    with Store(tmp_path / "lockstep") as other:
        lockstep = Lockstep(learner(other), Synthetic(), Recent(12), Turns(4, TOTAL))
        expected = []
        for step in TURNS:
            lockstep(segments(step), step)
            expected.append(other.counts().labelled)
    assert offer_all(for_oracle(store), TURNS) == expected == [13, 18, 25, 32, 40]


def test_an_offer_is_asked_about_once(store):
    asks = for_oracle(store)
    assert asks(Candidates(segments(10), 10))
    assert not asks(Candidates(segments(10), 10))
    assert live.read(store.folder, "asker")["step"] == 10


def test_an_oracle_that_never_tells_does_not_hang_the_run(store):
    asks = for_oracle(store, lambda left, right: None)
    assert offer_all(asks, (10, 50)) == [0, 0]
    assert live.read(store.folder, "asker")["step"] == 50
    assert store.counts().skipped <= 2 * ATTEMPTS * 40


def test_a_slow_oracle_is_asked_less_at_once_so_that_it_judges_what_is_new(store, monkeypatch):
    monkeypatch.setattr("prefrl.asynchronous.SLOW", -1.0)
    asks = for_oracle(store)
    asked = []
    for step in (10, 20, 30, 40, 50):
        asks(Candidates(segments(step), step))
        asked.append(len(store.queries()))
    assert np.diff([0, *asked]).tolist() == [13, 3, 1, 1, 1]


def test_a_strategy_that_takes_long_is_no_slow_oracle(store, monkeypatch):
    now = 0.0

    def takes_long(*args):
        nonlocal now
        now += 60
        return Disagreement()(*args)

    for clock in ("perf_counter", "monotonic"):
        monkeypatch.setattr(time, clock, lambda: now)
    asks = for_oracle(store, select=takes_long)
    assert [asks(Candidates(segments(step), step)) and len(store.queries()) for step in TURNS] == [13, 18, 25, 32, 40]


def test_what_a_slow_oracle_has_not_answered_yet_is_asked_next(store, monkeypatch):
    asks = for_oracle(store)
    monkeypatch.setattr("prefrl.asynchronous.SLOW", -1.0)
    assert offer_all(asks, TURNS) == [13, 18, 25, 32, 40]


def test_the_policy_is_not_told_that_a_slow_oracle_is_done_before_it_is(store, monkeypatch):
    monkeypatch.setattr("prefrl.asynchronous.SLOW", -1.0)
    asks = for_oracle(store)
    asks(Candidates(segments(10), 10))
    asks(Candidates(segments(100), 100))
    assert store.counts().labelled < 40
    assert live.read(store.folder, "asker")["step"] == 10


class Raises:
    """An oracle that fails at its third question."""

    def __init__(self):
        self.asked = 0

    def __call__(self, left, right):
        self.asked += 1
        if self.asked == 3:
            raise ConnectionError("the model is gone")
        return 1.0


def test_what_was_asked_before_a_kill_is_answered_at_the_start(store):
    with pytest.raises(ConnectionError):
        for_oracle(store, Raises())(Candidates(segments(10), 10))
    waiting = store.unanswered()
    assert waiting
    asks = for_oracle(store)
    assert store.unanswered() == [] and {label.query for label in store.labels()} >= {query.id for query in waiting}
    assert offer_all(asks, TURNS)[-1] == 40


class Remembers:
    """An oracle with a history."""

    def __init__(self):
        self.pairs = []

    def __call__(self, left, right):
        self.observe(left, right)
        return 1.0

    def observe(self, left, right):
        self.pairs.append((left.id, right.id))


def test_an_oracle_with_a_memory_sees_once_what_it_had_answered(store):
    for_oracle(store, Remembers())(Candidates(segments(10), 10))
    waiting = learner(store).ask(segments(20), 2, step=20)
    again = Remembers()
    for_oracle(store, again)
    assert again.pairs == [(query.left, query.right) for query in store.queries()]
    assert again.pairs[-2:] == [(query.left, query.right) for query in waiting]


def test_questions_are_chosen_by_the_newest_reward(store):
    asks = for_oracle(store, select=Disagreement())
    publish(store)
    asks(Candidates(segments(10), 10))
    assert asks.learner.ensemble.to_bytes() == make(1).to_bytes()


def likes_right(left, right):
    """An oracle that judges what it sees, not the truth."""
    return float(left.obs[:, 0].sum() > right.obs[:, 0].sum())


def outcome(folder, poison):
    """Questions and rewards of a run whose oracle judges by what it sees."""
    with Store(folder) as store:
        asks = for_oracle(store, likes_right, select=Disagreement())
        fit = Fitting(folder, learner(store), people=False)
        for step in TURNS:
            shown = [replace(s, truth=s.truth * np.nan) if poison else s for s in segments(step)]
            while asks(Candidates(shown, step)):
                pass
            assert fit(Candidates(shown, step))
        rewards = [store.reward(version.id) for version in store.versions()]
        return (
            store.queries(),
            [label.preference for label in store.labels()],
            rewards,
            json.dumps(live.read(folder, "learner")["metrics"]),
        )


def test_neither_questions_nor_rewards_see_the_truth(tmp_path):
    assert outcome(tmp_path / "clean", poison=False) == outcome(tmp_path / "poisoned", poison=True)


class Poisoned(Recorder):
    """Records NaN for every true reward."""

    def take(self):
        rollout = super().take()
        return replace(rollout, truth=rollout.truth * np.nan)


def trained(folder, recorder):
    """Questions, reward and policy of a run whose processes take turns in this one, whenever the policy looks."""
    with Store(folder) as store:
        asks, offers = for_oracle(store, likes_right, select=Disagreement()), Offers(folder)
        fit = Fitting(folder, learner(store), people=False)

        def others():
            if candidates := offers.newest():
                asks(candidates)
                fit(candidates)

        drive = Asynchronous(folder, store, make(), Recent(24), Turns(4, 240), gated=True, check=others)
        venv = recorder(DummyVecEnv([dot, dot]), "Dot")
        model = PPO("MlpPolicy", venv, n_steps=30, batch_size=60, n_epochs=2, policy_kwargs={"net_arch": [8]}, seed=0)
        model.learn(240, PreferenceCallback(venv, learned(drive.ensemble), Cutter(5, HORIZON), drive))
        policy = torch.cat([parameter.flatten() for parameter in model.policy.parameters()])
        return store.queries(), drive.version, drive.ensemble.to_bytes(), policy.tolist()


def test_the_policy_never_sees_the_truth(tmp_path):
    clean, poisoned = trained(tmp_path / "clean", Recorder), trained(tmp_path / "poisoned", Poisoned)
    assert clean == poisoned
    assert clean[1] > 1

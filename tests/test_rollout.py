"""Segments hold what happened, within one episode, at every phase of it."""

import weakref
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prefrl.control.rollout import Cutter, Rollout, learned, true
from prefrl.frames import stacks
from prefrl.reward.ensemble import Ensemble
from prefrl.reward.networks import MLP
from prefrl.reward.true import TrueReward
from tests.tiny_pixels import memory


def history(ends, envs=1):
    """A rollout whose observations name environment, episode and step; `ends`: (T, envs), where episodes end."""
    dones = np.reshape(np.asarray(ends, dtype=bool), (-1, envs))
    obs = np.zeros((*dones.shape, 3), np.float32)
    for env in range(envs):
        episode = step = 0
        for t, done in enumerate(dones[:, env]):
            obs[t, env] = env, episode, step
            episode, step = (episode + 1, 0) if done else (episode, step + 1)
    at = np.arange(dones.size).reshape(dones.shape)
    return Rollout(obs, np.stack([at, -at], axis=2), at * 0.5, dones)


def steady(episodes, horizon, envs=1):
    return history(np.repeat(np.arange(episodes * horizon)[:, None] % horizon == horizon - 1, envs, axis=1), envs)


def split(rollout, length):
    for start in range(0, len(rollout), length):
        yield Rollout(*(None if part is None else part[start : start + length] for part in vars(rollout).values()))


def cut(rollout, cutter, by=None):
    return [segment for part in split(rollout, by or len(rollout)) for segment in cutter(part, 0)]


@st.composite
def cuts(draw):
    """A history of episodes of any lengths, and the segments that are cut from its rollouts."""
    envs = draw(st.integers(1, 3))
    steps = draw(st.integers(1, 60))
    ends = draw(
        st.lists(st.booleans() if draw(st.booleans()) else st.just(False), min_size=steps * envs, max_size=steps * envs)
    )
    rollout = history(ends, envs)
    length = draw(st.integers(1, 8))
    cutter = Cutter(length, length + draw(st.integers(0, 20)), seed=draw(st.integers(0, 99)))
    return rollout, length, cut(rollout, cutter, by=draw(st.integers(1, 20)))


@given(cuts())
def test_a_segment_has_its_length(case):
    _, length, segments = case
    assert all(len(segment) == len(segment.obs) == len(segment.truth) == length for segment in segments)


@given(cuts())
def test_a_segment_crosses_no_end_of_an_episode(case):
    _, length, segments = case
    for segment in segments:
        (env, episode, first), *_ = segment.obs.tolist()
        assert segment.obs.tolist() == [[env, episode, first + i] for i in range(length)]


@given(cuts())
def test_a_segment_equals_the_recorded_rows(case):
    rollout, length, segments = case
    for segment in segments:
        start, env = np.divmod(segment.acts[0, 0], rollout.dones.shape[1])
        for cut, whole in zip((segment.obs, segment.acts, segment.truth), (rollout.obs, rollout.acts, rollout.truth)):
            assert np.array_equal(cut, whole[start : start + length, env])


@given(cuts())
def test_no_step_is_in_two_segments(case):
    _, _, segments = case
    steps = [tuple(step) for segment in segments for step in segment.obs.tolist()]
    assert len(set(steps)) == len(steps)


@given(st.integers(1, 12), st.integers(0, 20), st.integers(1, 50), st.integers(0, 99))
def test_the_length_of_rollouts_changes_no_segment(length, longer, by, seed):
    rollout = steady(4, length + longer)
    whole, parts = (cut(rollout, Cutter(length, length + longer, seed), by) for by in (None, by))
    assert [segment.obs.tolist() for segment in whole] == [segment.obs.tolist() for segment in parts]


@given(st.integers(1, 12), st.integers(0, 20), st.integers(0, 99))
def test_every_episode_is_cut_into_nearly_as_many_as_fit(length, longer, seed):
    """The random phase may cost one."""
    segments = cut(steady(4, length + longer), Cutter(length, length + longer, seed))
    fit = (length + longer) // length
    for episode in range(4):
        assert max(fit - 1, 1) <= sum(segment.obs[0, 1] == episode for segment in segments) <= fit


def test_segments_longer_than_rollouts_are_cut_when_they_are_complete():
    cutter = Cutter(30, 100)
    given = [(cutter(part, 0), 5 * i) for i, part in enumerate(split(steady(2, 100, envs=2), 5), start=1)]
    segments = [segment for some, _ in given for segment in some]
    assert len(segments) >= 2 * 2 * 2
    for some, step in given:
        assert all(step - 5 <= segment.acts[-1, 0] // 2 < step for segment in some)


def test_every_phase_of_an_episode_is_seen():
    """A false alarm in 10^19 choices of the seeds."""
    starts = {cut(steady(1, 20), Cutter(5, 20, seed))[0].obs[0, 2] for seed in range(200)}
    assert starts == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("horizon", [5, 7, 9, 12, 20])
def test_every_step_of_an_episode_is_seen(horizon):
    """Also the last ones, where episodes are hardly longer than segments; a false alarm in 10^15 seeds."""
    segments = cut(steady(200, horizon), Cutter(5, horizon))
    assert {step for segment in segments for step in segment.obs[:, 2]} == set(range(horizon))


def test_phases_of_environments_differ():
    """A false alarm in 10^6 seeds."""
    segments = cut(steady(1, 20, envs=10), Cutter(5, 20))
    assert len({segment.obs[0, 2] for segment in segments}) > 1


def test_a_restart_forgets_what_was_not_yet_cut():
    cutter, rollout = Cutter(5, 20), steady(2, 20)
    before, _, after, _ = split(rollout, 13)
    cutter(before, 0)
    cutter.restart(seed=3)
    assert min(segment.acts[0, 0] for segment in cutter(after, 0)) >= 26


def test_a_restart_cuts_as_a_new_one_would():
    cutter, rollout = Cutter(5, 20), steady(2, 20)
    cutter(rollout, 0)
    cutter.restart(seed=3)
    assert [s.obs.tolist() for s in cut(rollout, cutter)] == [s.obs.tolist() for s in cut(rollout, Cutter(5, 20, 3))]


def test_a_segment_notes_the_step_at_which_it_came():
    assert {segment.step for segment in Cutter(5, 20)(steady(2, 20), 1_234)} == {1_234}


class Naive:
    """Cuts by the same rule, and forgets nothing."""

    def __init__(self, length, horizon, seed):
        self.length, self.slack, self.rng = length, min(length, horizon - length + 1), np.random.default_rng(seed)
        self.whole, self.at = None, None

    def __call__(self, rollout):
        joined = [rollout] if self.whole is None else [self.whole, rollout]
        columns = [[part for part in column if part is not None] for column in zip(*(vars(r).values() for r in joined))]
        self.whole = Rollout(*(np.concatenate(column) if column else None for column in columns))
        envs = rollout.dones.shape[1]
        self.at = self.at or [int(self.rng.integers(self.slack)) for _ in range(envs)]
        return [cut for env in range(envs) for cut in self._of(env)]

    def _of(self, env):
        found, dones = [], self.whole.dones[:, env]
        ends = [t + 1 for t in range(len(dones)) if dones[t] and t + 1 > self.at[env]]
        for end in [*ends, None]:
            while self.at[env] + self.length <= (end or len(dones)):
                span = slice(self.at[env], self.at[env] + self.length)
                found.append((self.whole.obs[span, env], self.whole.acts[span, env], self.whole.truth[span, env]))
                self.at[env] += self.length
            if end:
                self.at[env] = end + int(self.rng.integers(self.slack))
        return found


@given(st.data())
def test_segments_are_those_of_a_cutter_that_forgets_nothing(data):
    """For any ends of episodes, and any lengths of rollouts."""
    envs, length = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 8))
    horizon, seed = length + data.draw(st.integers(0, 20)), data.draw(st.integers(0, 99))
    steps = data.draw(st.lists(st.lists(st.booleans(), min_size=envs, max_size=envs), min_size=1, max_size=60))
    rollout, at = history(steps, envs), 0
    cutter, naive = Cutter(length, horizon, seed), Naive(length, horizon, seed)
    while at < len(rollout):
        by = data.draw(st.integers(1, 20))
        part = Rollout(*(None if each is None else each[at : at + by] for each in vars(rollout).values()))
        found = [(segment.obs, segment.acts, segment.truth) for segment in cutter(part, 0)]
        expected = naive(part)
        assert len(found) == len(expected)
        assert all(np.array_equal(a, b) for one, other in zip(found, expected) for a, b in zip(one, other))
        at += by


@pytest.mark.parametrize(("length", "by"), [(5, 1), (5, 7), (25, 5), (7, 100)])
def test_no_more_rollouts_are_kept_than_a_segment_needs(length, by):
    cutter, kept = Cutter(length, 40), []
    for part in split(steady(10, 40, envs=3), by):
        own = replace(part, obs=part.obs.copy())
        kept.append((weakref.ref(own), len(own)))
        cutter(own, 0)
        del own
        assert sum(count for alive, count in kept if alive() is not None) < length + by


def test_a_segment_of_frames_takes_the_memory_of_its_frames():
    """Also across rollouts."""
    obs = stacks(np.random.default_rng(0).integers(256, size=(43, 8, 8), dtype=np.uint8), 4)[:, None]
    whole = Rollout(obs, np.zeros((40, 1)), np.zeros((40, 1)), np.zeros((40, 1), bool))
    segments = cut(whole, Cutter(10, 10), by=7)
    assert len(segments) == 4
    for i, segment in enumerate(segments):
        assert np.array_equal(segment.obs, obs[10 * i : 10 * i + 10, 0])
        assert memory(segment.obs) == 13 * 8 * 8


def test_a_segment_stays_as_it_is_when_the_rollout_changes():
    rollout = steady(1, 20)
    segments = cut(rollout, Cutter(5, 20))
    before = [segment.obs.copy() for segment in segments]
    rollout.obs[:] = -1
    assert np.array_equal([segment.obs for segment in segments], before)


def test_every_step_of_every_environment_is_paid_what_is_learned():
    torch.manual_seed(0)
    ensemble, rollout = Ensemble((3,), (2,), net=partial(MLP, width=8)), steady(1, 4, envs=2)
    ensemble.version = 1
    expected = [
        [ensemble.pay(rollout.obs[t, env][None, None], rollout.acts[t, env][None, None]).item() for env in range(2)]
        for t in range(4)
    ]
    np.testing.assert_allclose(learned(ensemble)(rollout), expected, rtol=1e-5)


def test_the_true_reward_is_paid_normalised():
    reward, rollout = TrueReward(std=0.05), steady(2, 20)
    segments = cut(rollout, Cutter(20, 20))
    reward.normalise(segments)
    paid = true(reward)(rollout)
    assert (paid.mean(), paid.std()) == (pytest.approx(0, abs=1e-6), pytest.approx(0.05))


def test_a_segment_has_the_states_of_its_steps():
    rollout = steady(3, horizon=20, envs=2)
    for segment in cut(replace(rollout, state=rollout.obs), Cutter(5, horizon=20), by=7):
        assert np.array_equal(segment.state, segment.obs)


def test_a_segment_is_filmed_whole_or_not_at_all():
    rollout = steady(3, horizon=20, envs=2)
    frames = np.full((60, 2), None, dtype=object)
    for step in range(20, 60):
        frames[step, 0] = rollout.obs[step, 0].astype(np.uint8).reshape(1, 1, 3)
    segments = cut(replace(rollout, state=frames), Cutter(5, horizon=20), by=7)
    filmed = [segment for segment in segments if segment.state is not None]
    assert 4 <= len(filmed) < len(segments)
    for segment in filmed:
        assert segment.state.shape == (5, 1, 1, 3) and np.array_equal(segment.state[:, 0, 0], segment.obs)

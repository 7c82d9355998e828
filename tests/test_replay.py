"""Every row of a replay buffer is paid what the reward says now, however old the row."""

from functools import partial

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from stable_baselines3 import DQN, SAC
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from prefrl.control.callback import PreferenceCallback
from prefrl.control.replay import Replay
from prefrl.control.rollout import Cutter, learned, true
from prefrl.control.vec_env import Recorder
from prefrl.reward.ensemble import Ensemble
from prefrl.reward.networks import MLP
from prefrl.reward.true import TrueReward
from tests.tiny_envs import HORIZON, MOVES, Dot, discrete_dot

STEPS, REFIT = 80, 40
"""Steps of a run, and the step after which the reward changes, if it does."""

ROWS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


class Lopsided(Dot):
    """The middle of its actions, which SB3 scales to [-1, 1], is not 0."""

    action_space = Box(np.float32([-3, 0]), np.float32([1, 4]))


class Kept(Recorder):
    """Keeps all that was taken, too."""

    def take(self):
        rollout = super().take()
        self.history = [*getattr(self, "history", []), rollout]
        return rollout

    def whole(self, name):
        """(T, envs, ...)"""
        return np.concatenate([getattr(rollout, name) for rollout in self.history])


def limited(env):
    return lambda: gym.wrappers.TimeLimit(env(), HORIZON)


def make(env, seed=0):
    torch.manual_seed(seed)
    acts = {"act_shape": (), "choices": len(MOVES)} if env is discrete_dot else {"act_shape": (2,)}
    ensemble = Ensemble((2,), **acts, net=partial(MLP, width=8))
    ensemble.version = 1
    return ensemble


def algorithm(venv, algo=SAC, size=1_000, **settings):
    fast = {"learning_starts": 20, "batch_size": 8, "train_freq": 4, "policy_kwargs": {"net_arch": [8]}}
    return algo("MlpPolicy", venv, buffer_size=size, seed=0, **fast, **settings)


class Run:
    """A short run, and what it was made of."""

    def __init__(self, env=Dot, n_envs=1, normalise=False, refit=True, **settings):
        self.ensemble = make(env)
        self.paid = 0
        self.recorder = Kept(DummyVecEnv([limited(env)] * n_envs), "Dot")
        self.model = algorithm(
            VecNormalize(self.recorder, norm_reward=False) if normalise else self.recorder, **settings
        )

        def pay(rollout):
            self.paid += len(rollout)
            return learned(self.ensemble)(rollout)

        def turn(segments, step):
            if not refit or step != REFIT:
                return {}
            self.ensemble.load_state_dict(make(env, seed=1).state_dict())
            return {"reward/version": 2.0}

        self.callback = PreferenceCallback(self.recorder, pay, Cutter(5, HORIZON), turn)
        self.model.learn(STEPS, self.callback)
        self.buffer = self.model.replay_buffer

    def rewards_by_step(self):
        """Of the newest steps, as many as the buffer holds: what it has for them, and what the reward says now."""
        obs, acts = (self.recorder.whole(name).swapaxes(0, 1) for name in ("obs", "acts"))
        expected = self.ensemble.pay(obs, acts).T
        newest = np.arange(len(expected))[-self.buffer.buffer_size :]
        return self.buffer.rewards[newest % self.buffer.buffer_size], expected[newest]


KINDS = {
    "plain": {},
    "two environments": {"n_envs": 2},
    "wrapped around in a rollout": {"size": 50},
    "scaled actions": {"env": Lopsided},
    "all of these": {"env": Lopsided, "size": 60, "n_envs": 2, "normalise": True},
    "discrete actions": {"env": discrete_dot, "algo": DQN},
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_step_is_paid_when_it_is_collected(kind):
    np.testing.assert_allclose(*Run(refit=False, **kind).rewards_by_step(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_after_a_refit_every_row_is_paid_again(kind):
    np.testing.assert_allclose(*Run(**kind).rewards_by_step(), rtol=1e-4, atol=1e-5)


def test_while_the_reward_stays_no_row_is_paid_again():
    assert Run(refit=False).paid == STEPS


def test_rows_are_paid_again_in_chunks_that_fit_in_memory(monkeypatch):
    monkeypatch.setattr("prefrl.control.replay.CHUNK", 7)
    np.testing.assert_allclose(*Run().rewards_by_step(), rtol=1e-4, atol=1e-5)


def test_the_true_reward_is_paid_again_when_its_mean_changes():
    reward, recorder = TrueReward(), Kept(DummyVecEnv([limited(Dot)]), "Dot")
    model = algorithm(recorder, size=50)

    def turn(segments, step):
        if step != REFIT:
            return {}
        reward.mean, reward.deviation = 3.0, 2.0
        return {"reward/version": 1.0}

    model.learn(STEPS, PreferenceCallback(recorder, true(reward), Cutter(5, HORIZON), turn))
    newest = np.arange(STEPS)[-50:]
    expected = (recorder.whole("truth")[newest] - 3) / 2
    np.testing.assert_allclose(model.replay_buffer.rewards[newest % 50], expected, rtol=1e-5)


@pytest.fixture(params=[1_000, 50], ids=["filling", "wrapped around"])
def restored(request, tmp_path):
    """A run, and a new model with the replay buffer that the run saved."""
    run = Run(size=request.param)
    run.callback.save_replay(tmp_path / "replay.npz")
    model = algorithm(run.recorder, size=request.param)
    callback = PreferenceCallback(run.recorder, learned(run.ensemble), Cutter(5, HORIZON), lambda *_: {})
    callback.load_replay(model, tmp_path / "replay.npz")
    return run, model, callback


def test_a_replay_buffer_comes_back_as_it_was_saved(restored):
    run, model, _ = restored
    filled = min(STEPS, run.buffer.buffer_size)
    for name in ROWS:
        assert np.array_equal(getattr(model.replay_buffer, name)[:filled], getattr(run.buffer, name)[:filled])


def test_a_restored_buffer_goes_on_where_it_was(restored):
    run, model, _ = restored
    assert (model.replay_buffer.pos, model.replay_buffer.full) == (run.buffer.pos, run.buffer.full)


def test_a_restored_buffer_can_be_paid_the_true_reward(restored):
    run, model, callback = restored
    callback.replay.relabel(lambda rollout: rollout.truth)
    size = run.buffer.buffer_size
    newest = np.arange(STEPS)[-size:]
    assert np.array_equal(model.replay_buffer.rewards[newest % size], run.recorder.whole("truth")[newest])


def test_a_buffer_of_another_kind_is_refused():
    class Mine(ReplayBuffer):
        pass

    with pytest.raises(ValueError, match="Mine cannot be relabelled: use an algorithm with SB3's ReplayBuffer"):
        Replay(algorithm(DummyVecEnv([limited(Dot)]), replay_buffer_class=Mine))

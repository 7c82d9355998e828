"""Paying a rollout after it is over comes to the same as an environment that pays at once."""

from copy import deepcopy
from functools import partial

import numpy as np
import pytest
import torch
from sb3_contrib import TRPO
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnvWrapper, VecNormalize

from prefrl.control.callback import EverySteps, PreferenceCallback
from prefrl.control.rollout import Cutter, learned
from prefrl.control.vec_env import Recorder
from prefrl.reward.ensemble import Ensemble
from prefrl.reward.networks import MLP
from tests.tiny_envs import HORIZON, MOVES, discrete_dot, dot

GAMMA, LAMBDA = 0.9, 0.8
STEPS = 30
"""Of a rollout, in each of two environments; an episode has 20."""

SETTINGS = {
    PPO: {"n_steps": STEPS, "batch_size": 60, "n_epochs": 1},
    A2C: {"n_steps": STEPS},
    TRPO: {"n_steps": STEPS, "batch_size": 60},
}


def make(seed=0, version=1):
    torch.manual_seed(seed)
    ensemble = Ensemble((2,), (2,), net=partial(MLP, width=8))
    ensemble.version = version
    return ensemble


class PaysAtOnce(VecEnvWrapper):
    """An environment that pays each step what the ensemble says of it."""

    def __init__(self, venv, ensemble):
        super().__init__(venv)
        self.ensemble = ensemble

    def reset(self):
        self.obs = self.venv.reset()
        return self.obs

    def step_async(self, actions):
        self.paid = self.ensemble.pay(self.obs[:, None], actions[:, None])[:, 0]
        self.venv.step_async(actions)

    def step_wait(self):
        self.obs, _, dones, infos = self.venv.step_wait()
        return self.obs, self.paid, dones, infos


class Buffers(BaseCallback):
    """What SB3's buffer held at the end of every rollout, and what it was made of."""

    def __init__(self):
        super().__init__()
        self.kept = []

    def _on_rollout_start(self):
        self.terminal = np.zeros((STEPS, 2))
        self.at = 0

    def _on_step(self):
        for env, info in enumerate(self.locals["infos"]):
            if "terminal_observation" in info:
                obs = torch.as_tensor(info["terminal_observation"])[None]
                self.terminal[self.at, env] = self.model.policy.predict_values(obs).item()
        self.at += 1
        return True

    def _on_rollout_end(self):
        names = ("observations", "actions", "rewards", "values", "episode_starts", "returns", "advantages")
        buffer = {name: getattr(self.model.rollout_buffer, name).copy() for name in names}
        last = {"last_values": self.locals["values"].numpy().ravel(), "dones": self.locals["dones"]}
        self.kept.append(buffer | last | {"terminal": self.terminal})


def algorithm(algo, venv, **settings):
    policy = {"net_arch": [8], "log_std_init": 0.0}
    return algo("MlpPolicy", venv, gamma=GAMMA, gae_lambda=LAMBDA, seed=0, policy_kwargs=policy, **SETTINGS[algo])


def nothing(segments, step):
    return {}


def paid_late(algo, ensemble, turn=nothing, rollouts=2, pay=None):
    """The buffers of a run whose rollouts are paid when they are over."""
    recorder, buffers = Recorder(DummyVecEnv([dot, dot]), "Dot"), Buffers()
    callback = PreferenceCallback(recorder, pay or learned(ensemble), Cutter(5, HORIZON), turn)
    algorithm(algo, recorder).learn(rollouts * 2 * STEPS, [callback, buffers])
    return buffers.kept


def paid_at_once(algo, ensemble, rollouts=2):
    buffers = Buffers()
    algorithm(algo, PaysAtOnce(DummyVecEnv([dot, dot]), ensemble)).learn(rollouts * 2 * STEPS, buffers)
    return buffers.kept


@pytest.mark.parametrize("algo", SETTINGS)
def test_late_pay_is_as_good_as_pay_at_once(algo):
    """The buffers of two rollouts, the second after an update from the first."""
    late, at_once = paid_late(algo, make()), paid_at_once(algo, make())
    assert len(late) == len(at_once) == 2
    for one, other in zip(late, at_once, strict=True):
        for name in one:
            np.testing.assert_allclose(one[name], other[name], rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.fixture(scope="module")
def buffer():
    """Of a rollout of PPO, paid late."""
    return paid_late(PPO, make(), rollouts=1)[0]


def predicted(ensemble, buffer):
    """What the ensemble says of the steps in a buffer, (T, envs); environments receive clipped actions."""
    obs, acts = buffer["observations"], buffer["actions"].clip(-1, 1)
    return ensemble.pay(obs.swapaxes(0, 1), acts.swapaxes(0, 1)).T


def test_the_buffer_holds_the_prediction_and_the_value_beyond_a_time_limit(buffer):
    assert np.count_nonzero(buffer["terminal"]) == 2
    expected = predicted(make(), buffer) + GAMMA * buffer["terminal"]
    np.testing.assert_allclose(buffer["rewards"], expected, rtol=1e-5, atol=1e-6)


def test_the_reward_is_of_the_clipped_action(buffer):
    outside = np.abs(buffer["actions"]).max(2) > 1
    unclipped = make().pay(buffer["observations"].swapaxes(0, 1), buffer["actions"].swapaxes(0, 1)).T
    assert not np.isclose(buffer["rewards"], unclipped)[outside].any()


def test_advantages_are_those_of_generalised_advantage_estimation(buffer):
    """A_t = sum of (gamma * lambda)^k * delta_{t+k} to the end of the episode (Schulman et al. 2016, equation 16)."""
    values = np.vstack([buffer["values"], buffer["last_values"]])
    ends = np.vstack([buffer["episode_starts"][1:], buffer["dones"]])
    for env in range(2):
        for t in range(STEPS):
            advantage, weight = 0.0, 1.0
            for k in range(t, STEPS):
                goes_on = 1 - ends[k, env]
                delta = buffer["rewards"][k, env] + GAMMA * values[k + 1, env] * goes_on - values[k, env]
                advantage += weight * delta
                weight *= GAMMA * LAMBDA
                if not goes_on:
                    break
            assert buffer["advantages"][t, env] == pytest.approx(advantage, rel=1e-4, abs=1e-5)


def test_returns_are_advantages_and_values(buffer):
    np.testing.assert_allclose(buffer["returns"], buffer["advantages"] + buffer["values"], rtol=1e-5, atol=1e-6)


def test_the_reward_is_constant_within_a_rollout():
    """A turn that refits after every rollout: each is paid what was learned before it."""
    ensemble, before = make(), []

    def turn(segments, step):
        before.append(ensemble.to_bytes())
        ensemble.load_state_dict(make(seed=step).state_dict())
        return {"reward/version": 1.0}

    for buffer, parameters in zip(paid_late(PPO, ensemble, turn, rollouts=3), before, strict=True):
        ensemble.from_bytes(parameters, version=1)
        expected = predicted(ensemble, buffer) + GAMMA * buffer["terminal"]
        np.testing.assert_allclose(buffer["rewards"], expected, rtol=1e-5, atol=1e-6)


def test_before_the_first_fit_only_values_beyond_time_limits_are_paid():
    buffer = paid_late(PPO, make(version=0), rollouts=1)[0]
    np.testing.assert_allclose(buffer["rewards"], GAMMA * buffer["terminal"], rtol=1e-5)


@pytest.mark.parametrize("entropy", [0.0, 0.1])
@pytest.mark.parametrize("algo", SETTINGS)
def test_from_what_is_not_paid_nothing_is_learned(algo, entropy):
    """No parameter changes by a bit, though SB3 puts values beyond time limits into the buffer, and likes entropy."""
    recorder = Recorder(DummyVecEnv([dot, dot]), "Dot")
    model = algorithm(algo, recorder, **({} if algo is TRPO else {"ent_coef": entropy}))
    before = deepcopy([model.policy.state_dict(), model.policy.optimizer.state_dict()])
    model.learn(4 * STEPS, PreferenceCallback(recorder, learned(make(version=0)), Cutter(5, HORIZON), nothing))
    after = model.policy.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before[0].items())
    assert model.policy.optimizer.state_dict() == before[1]


@pytest.mark.parametrize("algo", SETTINGS)
def test_from_the_first_reward_on_everything_is_learned(algo):
    recorder, ensemble = Recorder(DummyVecEnv([dot, dot]), "Dot"), make(version=0)
    model = algorithm(algo, recorder)
    kept = []

    def turn(segments, step):
        ensemble.version = 1
        kept.append(deepcopy(model.policy.state_dict()))
        return {}

    model.learn(4 * STEPS, PreferenceCallback(recorder, learned(ensemble), Cutter(5, HORIZON), turn))
    before, unpaid, paid = *kept, model.policy.state_dict()
    for name, value in before.items():
        assert torch.equal(value, unpaid[name])
        assert not torch.equal(value, paid[name]) and paid[name].isfinite().all()


def test_a_turn_is_given_the_segments_of_the_rollout_and_the_step():
    turns = []
    paid_late(PPO, make(), lambda segments, step: turns.append((len(segments), step)) or {})
    assert [step for _, step in turns] == [60, 120]
    assert all(8 <= count <= 12 for count, _ in turns)


def test_what_a_turn_found_is_logged():
    recorder = Recorder(DummyVecEnv([dot, dot]), "Dot")
    model = algorithm(PPO, recorder)
    callback = PreferenceCallback(recorder, learned(make()), Cutter(5, HORIZON), lambda *_: {"reward/std": 7.0})
    logged = []

    class Log(BaseCallback):
        def _on_step(self):
            return True

        def _on_rollout_end(self):
            logged.append(self.logger.name_to_value["reward/std"])

    model.learn(60, [callback, Log()])
    assert logged == [7.0]


def test_the_log_shows_true_returns():
    recorder = Recorder(DummyVecEnv([dot, dot]), "Dot")
    callback = PreferenceCallback(recorder, learned(make()), Cutter(5, HORIZON), nothing)
    model = algorithm(PPO, recorder)
    model.learn(60, callback)
    assert [episode["r"] for episode in model.ep_info_buffer] == [episode.total for episode in recorder.episodes] != []


def test_the_reward_sees_observations_as_they_are_where_the_policys_are_normalised():
    recorder, rollouts = Recorder(DummyVecEnv([dot, dot]), "Dot"), []
    callback = PreferenceCallback(
        recorder, lambda rollout: rollouts.append(rollout) or rollout.truth, Cutter(5, HORIZON), nothing
    )
    algorithm(PPO, VecNormalize(recorder, norm_reward=False)).learn(60, callback)
    obs, acts, dones = (getattr(rollouts[0], name) for name in ("obs", "acts", "dones"))
    after = (obs + 0.1 * acts).clip(-1, 1)  # how the dot moves
    np.testing.assert_allclose(obs[1:][~dones[:-1]], after[:-1][~dones[:-1]], atol=1e-6)


def test_discrete_actions_are_paid():
    torch.manual_seed(0)
    ensemble, buffers = Ensemble((2,), (), choices=len(MOVES), net=partial(MLP, width=8)), Buffers()
    ensemble.version = 1
    recorder = Recorder(DummyVecEnv([discrete_dot, discrete_dot]), "Dot")
    callback = PreferenceCallback(recorder, learned(ensemble), Cutter(5, STEPS), nothing)
    model = PPO("MlpPolicy", recorder, seed=0, policy_kwargs={"net_arch": [8]}, **SETTINGS[PPO])
    model.learn(60, [callback, buffers])
    obs, acts = buffers.kept[0]["observations"], buffers.kept[0]["actions"]
    expected = ensemble.pay(obs.swapaxes(0, 1), acts[:, :, 0].T).T
    np.testing.assert_allclose(buffers.kept[0]["rewards"], expected, rtol=1e-5, atol=1e-6)


def test_every_steps_calls_before_the_first_rollout_at_or_after_each_multiple():
    model = PPO("MlpPolicy", DummyVecEnv([dot, dot]), n_steps=8, batch_size=16, n_epochs=1)
    called = []
    model.learn(112, EverySteps(20, lambda: called.append(model.num_timesteps)))
    assert called == [32, 48, 64, 80]  # rollouts begin at 0, 16, 32, ..., 96


def test_every_steps_goes_on_with_the_multiples_after_a_resume():
    model = PPO("MlpPolicy", DummyVecEnv([dot, dot]), n_steps=8, batch_size=16, n_epochs=1)
    model.num_timesteps = 32
    called = []
    model.learn(80, EverySteps(20, lambda: called.append(model.num_timesteps)), reset_num_timesteps=False)
    assert called == [48, 64, 80]

"""The policy sees no reward, the record is exact, and an environment that fails is named."""

from functools import partial

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from prefrl.control.guard import CUT_OFF, CUTS, Guarded, Watch
from prefrl.control.policy import recorded
from prefrl.control.vec_env import EnvFailure, Recorder
from tests.tiny_envs import HORIZON, AfterSteps, Dot, VariableLength, dot, infinite_obs, nan_reward, raises
from tests.tiny_pixels import Crashes, Unseen

STEPS = 50
"""Two episodes and a half."""


def venv(*makes):
    return DummyVecEnv([*makes] or [dot, dot])


def actions(seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (STEPS, 2, 2)).astype(np.float32)


def play(venv):
    """What every step gave, and what the reset gave."""
    venv.seed(0)
    return venv.reset(), [venv.step(acts) for acts in actions()]


@pytest.fixture
def recorder():
    return Recorder(venv(), "Dot", HORIZON)


@pytest.fixture
def rollout(recorder):
    """The whole record of `play`."""
    play(recorder)
    return recorder.take()


def test_the_policy_is_paid_nothing(recorder):
    _, steps = play(recorder)
    assert not np.any([rewards for _, rewards, _, _ in steps])


def test_the_policy_sees_what_the_environments_show(recorder):
    first, steps = play(recorder)
    shown, others = play(venv())
    assert np.array_equal(first, shown)
    assert np.array_equal([obs for obs, *_ in steps], [obs for obs, *_ in others])


def test_true_returns_reach_the_log_as_a_monitor_would_tell_them(recorder):
    _, steps = play(recorder)
    _, monitored = play(VecMonitor(venv()))
    for (*_, infos), (*_, expected) in zip(steps, monitored, strict=True):
        for info, other in zip(infos, expected, strict=True):
            assert ("episode" in info) == ("episode" in other)
            if "episode" in other:
                assert info["episode"]["r"] == pytest.approx(other["episode"]["r"], abs=1e-5)
                assert info["episode"]["l"] == other["episode"]["l"]


def test_whole_episodes_are_kept_with_the_step_at_which_they_ended(recorder):
    _, steps = play(recorder)
    returns = [info["episode"]["r"] for *_, infos in steps for info in infos if "episode" in info]
    at = [2 * HORIZON] * 2 + [4 * HORIZON] * 2
    assert recorder.take_episodes() == list(zip(at, returns, [0, 1, 0, 1], strict=True))


def test_episodes_are_taken_once(recorder):
    play(recorder)
    recorder.take_episodes()
    assert recorder.take_episodes() == []


def test_a_record_holds_observations_from_before_the_step(rollout):
    first, steps = play(venv())
    assert np.array_equal(rollout.obs, [first, *(obs for obs, *_ in steps[:-1])])


def test_a_record_holds_the_actions_that_the_environments_received(rollout):
    assert np.array_equal(rollout.acts, actions())


def test_a_record_holds_the_true_reward(rollout):
    _, steps = play(venv())
    assert np.array_equal(rollout.truth, [truth for _, truth, *_ in steps])


def test_a_record_holds_the_ends_of_episodes(rollout):
    ends = np.flatnonzero(rollout.dones[:, 0])
    assert ends.tolist() == [HORIZON - 1, 2 * HORIZON - 1]


def test_an_action_that_is_changed_afterwards_stays_recorded(recorder):
    recorder.reset()
    acts = np.zeros((2, 2), np.float32)
    recorder.step(acts)
    acts += 1
    assert not recorder.take().acts.any()


def test_steps_are_taken_once(recorder):
    play(recorder)
    recorder.take()
    recorder.step(actions()[0])
    assert len(recorder.take()) == 1


def test_a_reset_forgets_the_steps_before_it(recorder):
    play(recorder)
    recorder.reset()
    recorder.step(actions()[0])
    assert len(recorder.take()) == 1


def test_it_says_how_many_steps_are_kept(recorder):
    play(recorder)
    assert recorder.kept == STEPS
    recorder.take()
    recorder.step(actions()[0])
    assert recorder.kept == 1


def test_a_return_begins_again_at_a_reset(recorder):
    recorder.reset()
    recorder.step(np.ones((2, 2)))
    play(recorder)
    _, steps = play(VecMonitor(venv()))
    expected = next(info["episode"]["r"] for *_, infos in steps for info in infos if "episode" in info)
    assert recorder.episodes[0][1] == pytest.approx(expected, abs=1e-5)


def ends_in_nan():
    class LastIsNaN(gym.Wrapper):
        def step(self, action):
            obs, reward, terminated, truncated, info = self.env.step(action)
            return obs * np.nan if truncated else obs, reward, terminated, truncated, info

    return LastIsNaN(dot())


@pytest.mark.parametrize(
    ("failing", "words"),
    [
        (lambda: nan_reward(7), "Dot gave a reward that is not finite, in environment 1, after 16 steps"),
        (lambda: infinite_obs(7), "Dot gave an observation that is not finite, in environment 1, after 16 steps"),
        (ends_in_nan, "Dot gave an observation that is not finite, in environment 1, after 40 steps"),
        (lambda: raises(7), r"Dot raised RuntimeError\('the simulator is gone'\) after 14 steps"),
    ],
)
def test_an_environment_that_fails_is_named_with_the_step(failing, words):
    with pytest.raises(EnvFailure, match=words):
        play(Recorder(venv(dot, failing), "Dot"))


def test_an_environment_that_fails_at_reset_is_named():
    class Gone(Dot):
        def reset(self, **_):
            raise OSError("no display")

    with pytest.raises(EnvFailure, match=r"Gone raised OSError\('no display'\) after 0 steps"):
        Recorder(venv(Gone), "Gone").reset()


def test_the_cause_of_a_failure_is_kept():
    with pytest.raises(EnvFailure) as failure:
        play(Recorder(venv(dot, lambda: raises(7)), "Dot"))
    assert isinstance(failure.value.__cause__, RuntimeError)


def short():
    return gym.wrappers.TimeLimit(VariableLength(Dot()), HORIZON)


def test_an_episode_of_another_length_is_refused():
    with pytest.raises(EnvFailure, match=r"ended after \d+ steps instead of 20: .*FixedHorizon or pass --allow-var"):
        play(Recorder(venv(dot, short), "Short", HORIZON))


def test_lengths_may_vary_where_no_horizon_is_given():
    recorder = Recorder(venv(dot, short), "Short")
    _, steps = play(recorder)
    assert len({info["episode"]["l"] for *_, infos in steps for info in infos if "episode" in info}) > 1


# episodes whose ends the policy does not see


def unseen(steps=60):
    """Two of them, what every step told, and the record."""
    recorder = Recorder(DummyVecEnv([Unseen] * 2), "Unseen", continuing=True)
    recorder.seed(0)
    recorder.reset()
    choices = np.random.default_rng(0).integers(3, size=(steps, 2))
    told = [recorder.step(acts) for acts in choices]
    return recorder, told, recorder.take()


def test_the_policy_sees_no_end_that_is_hidden():
    assert not any(dones.any() for _, _, dones, _ in unseen()[1])


def test_a_record_holds_the_ends_that_are_hidden():
    _, told, rollout = unseen()
    over = [[info["over"] for info in infos] for *_, infos in told]
    assert np.array_equal(rollout.dones, over) and 8 <= rollout.dones.sum() <= 14


def test_true_returns_of_hidden_episodes_are_made_of_the_score():
    """The truth that oracles judge is another: the score's sign, less a penalty for an end."""
    recorder, told, rollout = unseen()
    running, expected = np.zeros(2), []
    for step, (*_, infos) in enumerate(told, start=1):
        running += [info["score"] for info in infos]
        for env in np.flatnonzero([info["over"] for info in infos]):
            expected.append((2 * step, running[env], env))
            running[env] = 0
    assert recorder.take_episodes() == expected
    assert set(np.unique(rollout.truth)) <= {-2, -1, 0, 1}


def test_true_returns_of_hidden_episodes_reach_the_log():
    recorder, told, _ = unseen()
    logged = [(info["episode"]["r"], info["episode"]["l"]) for *_, infos in told for info in infos if info["over"]]
    assert [total for total, _ in logged] == [each.total for each in recorder.episodes]
    assert all(8 <= length <= 12 for _, length in logged)
    assert not any("episode" in info for *_, infos in told for info in infos if not info["over"])


@pytest.mark.parametrize("makes", [(Crashes, Unseen), (Unseen, Crashes)])
def test_an_environment_that_was_cut_off_does_not_hide_the_ends_of_the_others(makes):
    """Its step that did not happen says neither score nor end."""
    guarded = [partial(Guarded, make, i, Watch(), lambda words: None) for i, make in enumerate(makes)]
    recorder = Recorder(DummyVecEnv(guarded), "Unseen", continuing=True)
    recorder.reset()
    for _ in range(30):
        recorder.step(np.ones(2, int))
    sound = makes.index(Unseen)
    assert {each.env for each in recorder.episodes} == {sound}
    assert recorder.take().dones[:, 1 - sound].sum() == 5
    assert all(each.total % 10 == 0 and each.total >= 80 for each in recorder.episodes)


def test_a_hidden_end_is_a_whole_episode_to_the_guard():
    """One that fails now and then, but plays on in between, is not hopeless."""
    env = Guarded(FailsSometimes, 0, Watch(), lambda words: None)
    env.reset()
    assert sum(CUT_OFF in env.step(0)[4] for _ in range(400)) > CUTS


class FailsSometimes(Unseen):
    """Every 20 steps: after an episode or two."""

    def step(self, action):
        self.steps = getattr(self, "steps", 0) + 1
        if self.steps == 20:
            raise RuntimeError("the emulator is gone")
        if not hasattr(self, "_left"):
            self.reset()
        return super().step(action)


def test_games_of_pong_are_recorded_as_the_console_scores_them():
    pytest.importorskip("ale_py")
    recorder = recorded("prefrl/Pong-v0", 2, continuing=True)
    recorder.seed(0)
    recorder.reset()
    rng = np.random.default_rng(0)
    while len(recorder.episodes) < 2:
        _, rewards, dones, _ = recorder.step(rng.integers(6, size=2))
        assert not rewards.any() and not dones.any()
    rollout, games = recorder.take(), recorder.take_episodes()
    for step, total, env in games:
        end = step // 2
        begin = max([0, *(np.flatnonzero(rollout.dones[: end - 1, env]) + 1)])
        assert rollout.dones[end - 1, env]
        assert total == rollout.truth[begin:end, env].sum() and -21 <= total <= -10  # Pong's end is not penalised


def test_large_rewards_are_finite():
    recorder = Recorder(venv(lambda: AfterSteps(Dot(), 0, lambda obs, reward: (obs, 1e30))), "Dot")
    recorder.reset()
    recorder.step(np.zeros((1, 2)))
    assert recorder.take().truth.item() == np.float32(1e30)

"""Gymnasium's vectorised environments step for SB3 as one by one they would."""

from unittest import mock

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.vec_env import DummyVecEnv

from prefrl.control.policy import recorded
from prefrl.control.vectorised import Vectorised, fast
from tests.tiny_pixels import Unseen, UnseenVector

FAST = "tests.tiny_pixels:Unseen-v0"
SLOW = "tests.tiny_pixels:Slow-v0"


def play(venv, seed=3, steps=40):
    rng = np.random.default_rng(0)
    venv.seed(seed)
    first = venv.reset()
    return first, [venv.step(rng.integers(3, size=venv.num_envs)) for _ in range(steps)]


def test_what_they_show_and_pay_is_what_single_ones_do():
    (first, ours), (other, theirs) = play(fast(FAST, 3)), play(DummyVecEnv([Unseen] * 3))
    assert np.array_equal(first, other)
    for (obs, rewards, dones, infos), (seen, paid, ended, told) in zip(ours, theirs, strict=True):
        assert np.array_equal(obs, seen)
        assert np.array_equal(rewards, paid) and np.array_equal(dones, ended)
        assert [(info["score"], info["over"]) for info in infos] == [(info["score"], info["over"]) for info in told]
    assert any(info["over"] for *_, infos in ours for info in infos)


def test_the_seed_decides_the_first_reset_only():
    """As in SB3's own: the next one goes on with the random numbers."""
    venv = fast(FAST, 2)
    with mock.patch.object(venv.envs, "reset", wraps=venv.envs.reset) as reset:
        play(venv, seed=7)
        venv.reset()
    assert [call.kwargs["seed"] for call in reset.call_args_list] == [7, None]


def test_none_ever_ends_for_the_policy():
    assert not any(dones.any() for _, _, dones, _ in play(fast(FAST, 2))[1])


def test_spaces_are_those_of_one():
    venv = fast(FAST, 2)
    assert (venv.observation_space, venv.action_space) == (Unseen.observation_space, Unseen.action_space)


def test_an_environment_without_a_faster_form_has_none():
    assert fast("prefrl/EnduroEven-v0", 2) is None


def test_an_environment_that_does_not_hide_its_ends_is_made_one_by_one():
    assert isinstance(recorded("CartPole-v1", 2).venv, DummyVecEnv)  # Gymnasium has a faster form of it


def test_they_are_closed_once_through_sb3():
    venv = fast(FAST, 2)
    venv.close()
    assert venv.envs.closed_once


def test_what_they_have_they_have_together():
    venv = Vectorised(UnseenVector(3))
    assert venv.get_attr("num_envs") == [3, 3, 3] and venv.get_attr("num_envs", indices=[1]) == [3]
    assert venv.env_is_wrapped(gym.Wrapper) == [False] * 3
    with pytest.raises(NotImplementedError, match="of their own to set"):
        venv.set_attr("speed", 2)
    with pytest.raises(NotImplementedError, match="of their own to call"):
        venv.env_method("close_extras")


def test_a_policy_trains_on_the_faster_form_unless_people_are_to_see_it():
    assert isinstance(recorded(FAST, 2, continuing=True).venv, Vectorised)
    assert isinstance(recorded(SLOW, 2, continuing=True).venv, DummyVecEnv)
    with mock.patch("prefrl.control.policy.fast") as taken, pytest.raises(ValueError, match="render_mode"):
        recorded(FAST, 2, filmed=5, continuing=True)
    assert not taken.called


def test_options_reach_the_faster_form():
    with pytest.raises(TypeError, match="colour"):
        fast(FAST, 2, colour="red")

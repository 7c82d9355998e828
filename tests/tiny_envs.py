"""Environments without MuJoCo, for tests: one in which preferences are learned in seconds, and some that are refused.

`tests.tiny_envs:Dot-v0` and so on; importing this module registers them.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete
from numpy.typing import NDArray

from prefrl_envs import FixedHorizon

HORIZON = 20
"""Steps of an episode; a segment has 5."""
LATER = 300
"""Steps that an env takes before `...Later` goes wrong: more than an inspection, so in the middle of a run."""

MOVES = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]], np.float32)
"""What the choices of `DiscreteDot` do."""

Obs = NDArray[np.float32]


class Dot(gym.Env[Obs, Obs]):
    """A dot in the square [-1, 1]^2 that starts near the centre; a step pays its new x.

    Going right all the time earns 15.5 +- 1.5, random steps about 0.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10, "segment_seconds": 0.5}  # noqa: RUF012
    observation_space = Box(-1, 1, (2,), np.float32)
    action_space = Box(-1, 1, (2,), np.float32)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self._at = np.zeros(2, np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Obs, dict[str, Any]]:
        super().reset(seed=seed)
        self._at = self.np_random.uniform(-0.1, 0.1, 2).astype(np.float32)
        return self._at, {}

    def step(self, action: Obs) -> tuple[Obs, float, bool, bool, dict[str, Any]]:
        self._at = (self._at + 0.1 * action).clip(-1, 1)
        return self._at, float(self._at[0]), False, False, {}

    def render(self) -> NDArray[np.uint8]:
        frame = np.zeros((32, 32, 3), np.uint8)
        x, y = (14 * (1 + self._at)).astype(int)
        frame[y : y + 4, x : x + 4] = 255
        return frame


class AfterSteps(gym.Wrapper[Any, Any, Any, Any]):
    """Changes (obs, reward) by `change` after so many steps, counted over all episodes."""

    def __init__(self, env: gym.Env[Any, Any], steps: int, change: Callable[[Any, float], tuple[Any, float]]) -> None:
        super().__init__(env)
        self._left = steps
        self._change = change

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        obs, reward, *end = self.env.step(action)
        self._left -= 1
        if self._left < 0:
            obs, reward = self._change(obs, float(reward))
        return obs, reward, *end


class VariableLength(gym.Wrapper[Any, Any, Any, Any]):
    """The dot stops at the border of a smaller square."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        obs, reward, _, truncated, info = self.env.step(action)
        return obs, float(reward), bool(abs(obs).max() > 0.2), truncated, info


def dot(**options: Any) -> FixedHorizon:
    """Dot by the name of a factory: `tests.tiny_envs:dot`."""
    return FixedHorizon(Dot(**options), HORIZON)


def nan_reward(steps: int, **options: Any) -> AfterSteps:
    return AfterSteps(Dot(**options), steps, lambda obs, reward: (obs, float("nan")))


def infinite_obs(steps: int, **options: Any) -> AfterSteps:
    return AfterSteps(Dot(**options), steps, lambda obs, reward: (obs + np.float32("inf"), reward))


def raises(steps: int, **options: Any) -> AfterSteps:
    def trip(obs: Any, reward: float) -> tuple[Any, float]:
        raise RuntimeError("the simulator is gone")

    return AfterSteps(Dot(**options), steps, trip)


def sleeps(steps: int, **options: Any) -> AfterSteps:
    """Hangs in a system call."""

    def hang(obs: Any, reward: float) -> tuple[Any, float]:
        time.sleep(600)
        return obs, reward

    return AfterSteps(Dot(**options), steps, hang)


def loops(steps: int, **options: Any) -> AfterSteps:
    """Hangs in a loop that shrugs off whatever goes wrong in it."""

    def hang(obs: Any, reward: float) -> tuple[Any, float]:
        while True:
            with suppress(Exception):
                obs = obs + 1

    return AfterSteps(Dot(**options), steps, hang)


def dict_obs(**options: Any) -> gym.Env[Any, Any]:
    env = Dot(**options)
    return gym.wrappers.TransformObservation(env, lambda obs: {"at": obs}, Dict(at=env.observation_space))


def discrete_dot(**options: Any) -> gym.Env[Any, Any]:
    return gym.wrappers.TransformAction(Dot(**options), lambda choice: MOVES[choice], Discrete(len(MOVES)))


def unbounded_actions(**options: Any) -> gym.Env[Any, Any]:
    return gym.wrappers.TransformAction(Dot(**options), lambda act: act, Box(-np.inf, np.inf, (2,), np.float32))


def _register(name: str, env: Callable[..., gym.Env[Any, Any]], **kwargs: Any) -> None:
    gym.register(f"{name}-v0", entry_point=env, max_episode_steps=HORIZON, kwargs=kwargs)


_register("Dot", Dot)
_register("DiscreteDot", discrete_dot)
_register("VariableLength", lambda **options: VariableLength(Dot(**options)))
_register("NaNReward", nan_reward, steps=7)
_register("NaNRewardLater", nan_reward, steps=LATER)
_register("InfiniteObs", infinite_obs, steps=7)
_register("InfiniteObsLater", infinite_obs, steps=LATER)
_register("Raises", raises, steps=7)
_register("RaisesLater", raises, steps=LATER)
_register("DictObs", dict_obs)
_register("UnboundedActions", unbounded_actions)

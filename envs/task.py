"""A MuJoCo model with the paper's reward and no early end."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
from gymnasium.envs.mujoco import MujocoEnv
from numpy.typing import NDArray

from prefrl_envs.instructions import INSTRUCTIONS

Obs = NDArray[np.float64]
Action = NDArray[np.float32]
Reward = Callable[[mujoco.MjData, float, dict[str, Any]], float]
"""(simulator after the step, the model's own reward, the model's info) -> the true reward of the step."""

VIEWS = {
    "Reacher": {"lookat": np.array((0.0, 0.0, 0.0)), "distance": 0.75, "elevation": -90.0},
    "InvertedPendulum": {"lookat": np.array((0.0, 0.0, 0.2)), "distance": 2.6, "elevation": -10.0},
    "InvertedDoublePendulum": {"lookat": np.array((0.0, 0.0, 0.3)), "distance": 3.4, "elevation": -10.0},
}
"""Where Gymnasium's own view shows the body too small, or from where its pose cannot be judged."""


class Task(gym.Wrapper[Obs, Action, Obs, Action]):
    """`model(**options)` that pays `reward`, never terminates, and keeps its reward terms out of `info`.

    `metadata` says what people see and are told: "render_fps", "segment_seconds" and "instructions".
    """

    def __init__(
        self, model: type[MujocoEnv], reward: Reward, *, fps: int, segment_seconds: float, **options: Any
    ) -> None:
        name = model.__name__.removesuffix("Env")
        view = {"default_camera_config": VIEWS[name]} if name in VIEWS else {}
        with _quiet_compiler():
            env = model(**view | options)
        super().__init__(env)
        shown = {"render_fps": fps, "segment_seconds": segment_seconds, "instructions": INSTRUCTIONS.get(name)}
        self.metadata = {**env.metadata, **shown}
        self._data = env.data
        self._reward = reward

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Obs, dict[str, Any]]:
        obs, _ = self.env.reset(seed=seed, options=options)
        return obs, {}

    def step(self, action: Action) -> tuple[Obs, float, bool, bool, dict[str, Any]]:
        obs, own, _, _, info = self.env.step(action)
        return obs, float(self._reward(self._data, float(own), info)), False, False, {}


@contextmanager
def _quiet_compiler() -> Iterator[None]:
    """Gymnasium's model files use an attribute that MuJoCo 4 prints a line about; no user can act on it."""
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(_warn_unless_known)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)


def _warn_unless_known(message: str) -> None:
    if "settotalmass" not in message:
        warnings.warn(message, stacklevel=2)

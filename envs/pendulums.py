"""Balance a pole: the tasks in which an early end would teach everything, so they end at a short fixed horizon."""

from typing import Any

from gymnasium.envs.mujoco.inverted_double_pendulum_v5 import InvertedDoublePendulumEnv
from gymnasium.envs.mujoco.inverted_pendulum_v5 import InvertedPendulumEnv

from prefrl_envs.task import Task


def inverted_pendulum(**options: Any) -> Task:
    """1 - theta^2: falling costs what it looks like."""
    return Task(InvertedPendulumEnv, lambda data, own, info: 1 - data.qpos[1] ** 2, **options)


def inverted_double_pendulum(**options: Any) -> Task:
    """The model's reward + 10 (height of the tip - 1): the second term replaces termination."""
    return Task(InvertedDoublePendulumEnv, lambda data, own, info: own + 10 * (data.site_xpos[0][2] - 1), **options)

"""Reach a point: the shortest task whose success a person sees in one clip, without the torque cost nobody sees."""

from typing import Any

from gymnasium.envs.mujoco.reacher_v5 import ReacherEnv

from prefrl_envs.task import Task


def reacher(**options: Any) -> Task:
    """Minus the distance from fingertip to target."""
    return Task(ReacherEnv, lambda data, own, info: info["reward_dist"], **options)

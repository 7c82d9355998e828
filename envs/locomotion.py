"""Run forward: six bodies whose speed a person can see, and whose height says whether they still stand.

Torque costs are left out, because nobody sees them in a clip. Termination is replaced by the height term: a body
that lies on the ground earns less at every step that is left. Rewards as in the code of the paper's co-author.
"""

from typing import Any

from gymnasium.envs.mujoco.ant_v5 import AntEnv
from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv
from gymnasium.envs.mujoco.hopper_v5 import HopperEnv
from gymnasium.envs.mujoco.humanoid_v5 import HumanoidEnv
from gymnasium.envs.mujoco.swimmer_v5 import SwimmerEnv
from gymnasium.envs.mujoco.walker2d_v5 import Walker2dEnv

from prefrl_envs.task import Task


def half_cheetah(**options: Any) -> Task:
    """v_x."""
    return Task(HalfCheetahEnv, lambda data, own, info: info["x_velocity"], **options)


def hopper(**options: Any) -> Task:
    """v_x + z, z the height of the torso."""
    return Task(
        HopperEnv, lambda data, own, info: info["x_velocity"] + data.qpos[1], terminate_when_unhealthy=False, **options
    )


def walker2d(**options: Any) -> Task:
    """v_x + z - 1."""
    return Task(
        Walker2dEnv,
        lambda data, own, info: info["x_velocity"] + data.qpos[1] - 1,
        terminate_when_unhealthy=False,
        **options,
    )


def swimmer(**options: Any) -> Task:
    """v_x."""
    return Task(SwimmerEnv, lambda data, own, info: info["x_velocity"], **options)


def ant(**options: Any) -> Task:
    """v_x + (z - 1.2).

    Contact forces are not observed: 78 of 105 numbers, zero but for spikes, that no person sees and that unsettle PPO.
    """
    return Task(
        AntEnv,
        lambda data, own, info: info["x_velocity"] + data.qpos[2] - 1.2,
        terminate_when_unhealthy=False,
        include_cfrc_ext_in_observation=False,
        **options,
    )


def humanoid(**options: Any) -> Task:
    """v_x + 5 (z - 1): not in the paper, the hardest of Gymnasium's models."""
    return Task(
        HumanoidEnv,
        lambda data, own, info: info["x_velocity"] + 5 * (data.qpos[2] - 1),
        terminate_when_unhealthy=False,
        **options,
    )

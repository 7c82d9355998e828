"""Gymnasium's vectorised environments as SB3 wants them."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from prefrl.types import Array


def fast(env_id: str, n_envs: int, **options: Any) -> VecEnv | None:
    """`n_envs` of a continuing environment in the vectorised form that it brings; None if it brings none."""
    spec = gym.registry.get(env_id.rpartition(":")[2])
    if spec is None or spec.vector_entry_point is None:
        return None
    return Vectorised(gym.make_vec(env_id, n_envs, vectorization_mode="vector_entry_point", **options))


class Vectorised(VecEnv):
    """Environments that step together in code of their own, and never end for the policy."""

    def __init__(self, envs: gym.vector.VectorEnv[Any, Any, Any]) -> None:
        self.envs = envs
        super().__init__(envs.num_envs, envs.single_observation_space, envs.single_action_space)

    def reset(self) -> VecEnvObs:
        obs: Array = self.envs.reset(seed=self._seeds[0])[0]
        self._reset_seeds()
        return obs

    def step_async(self, actions: Array) -> None:
        self._acts = actions

    def step_wait(self) -> VecEnvStepReturn:
        obs, rewards, _, _, infos = self.envs.step(self._acts)
        rows = [{"score": score, "over": over} for score, over in zip(infos["score"], infos["over"], strict=True)]
        return obs, rewards, np.zeros(self.num_envs, dtype=bool), rows

    def close(self) -> None:
        self.envs.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        return [getattr(self.envs, attr_name)] * len(self._which(indices))

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        raise NotImplementedError("environments that step together have no attributes of their own to set")

    def env_method(self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any) -> list[Any]:
        raise NotImplementedError("environments that step together have no methods of their own to call")

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None
    ) -> list[bool]:
        return [False] * len(self._which(indices))

    def _which(self, indices: VecEnvIndices) -> Sequence[int]:
        return list(self._get_indices(indices))

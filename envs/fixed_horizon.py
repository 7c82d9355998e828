"""A wrapper that gives every episode one length, for environments that end early."""

from copy import deepcopy
from typing import Any

import gymnasium as gym


class FixedHorizon(gym.Wrapper[Any, Any, Any, Any]):
    """Repeats the last observation of an episode that ends early, paying nothing, until `horizon` steps are over.

    The length of an episode then says nothing about success (Christiano et al. 2017, appendix A). An episode that
    would go on after `horizon` steps is truncated there.
    """

    def __init__(self, env: gym.Env[Any, Any], horizon: int) -> None:
        if horizon < 1:
            raise ValueError(f"horizon must be at least one step, got {horizon}")
        super().__init__(env)
        self.horizon = horizon
        self._over: tuple[Any, dict[str, Any]] | None = None
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self._steps, self._over = 0, None
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._steps += 1
        truncated = self._steps >= self.horizon
        if self._over is not None:
            obs, info = deepcopy(self._over)  # who keeps what a step gave may change it
            return obs, 0.0, False, truncated, info
        obs, reward, terminated, stopped, info = self.env.step(action)
        if terminated or stopped:
            self._over = obs, info
        return obs, float(reward), False, truncated, info

"""Drive level with the other cars, the behaviour that no score pays: Christiano et al. 2017, section 3.2."""

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from prefrl_envs.atari import Atari, Obs
from prefrl_envs.instructions import INSTRUCTIONS

PASSED = 0x47
"""Where the console's memory counts traffic, modulo 256: one up for a car that passes us, one down for one we pass."""
BESIDE = slice(0x1B, 0x1D)
"""Where it holds the two nearest of seven rows of the road: the car beside us and the one right ahead, 0 if none."""

LEVEL = 0.05
"""What a step near another car pays: 20 make good for one car passed. A car stays near for as long if the speeds differ
by a quarter."""


class Even(gym.Wrapper[Obs, np.int64, Obs, np.int64]):
    """Enduro judged by a teacher who wants the car to stay level with the others, instead of by the score.

    A step costs 1 for every car passed, whichever way, and pays 0.05 while another car is beside ours or right ahead.
    `info["passed"]` counts the cars: +1 for one we passed, -1 for one that passed us. `info["score"]` is the teacher's
    too, so that the best policy is the one that drives best in its eyes; `info["points"]` is the game's. The end of a
    game costs nothing, because no even driver passes the 200 cars that would prolong it.

    The teacher reads the console's memory, not the score: that stands still as long as no car has been passed, and
    once the day's cars have. Standing still is no way out, because the others drive by, and a car that does is near
    for 7 steps only; one that is raced past, for 4. The less the speeds differ, the more is paid, so that a learner
    finds the way from any speed. An empty road pays nothing: to keep away from everybody is not enough.
    """

    def __init__(self, env: Atari) -> None:
        super().__init__(env)
        self.metadata = {**env.metadata, "instructions": INSTRUCTIONS["EnduroEven"]}
        self._ale = env.ale
        self._traffic = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Obs, dict[str, Any]]:
        obs, info = self.env.reset(seed=seed, options=options)
        self._traffic = int(self._ale.getRAM()[PASSED])
        return obs, {**info, "passed": 0, "points": 0.0}

    def step(self, action: np.int64) -> tuple[Obs, float, bool, bool, dict[str, Any]]:
        obs, _, terminated, truncated, info = self.env.step(action)
        memory: NDArray[np.uint8] = self._ale.getRAM()
        before, self._traffic = self._traffic, int(memory[PASSED])
        if info["over"]:  # the memory is that of the next game
            told = {"score": 0.0, "passed": 0, "points": info["score"]}
            return obs, 0.0, terminated, truncated, {**info, **told}
        passed = (before - self._traffic + 128) % 256 - 128
        reward = LEVEL * bool(memory[BESIDE].any()) - abs(passed)
        told = {"score": reward, "passed": passed, "points": info["score"]}
        return obs, reward, terminated, truncated, {**info, **told}


def enduro_even(**options: Any) -> Even:
    """`options` as of `prefrl/Enduro-v0`."""
    return Even(Atari("Enduro", **options))

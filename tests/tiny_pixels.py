"""Environments of frames without an emulator, for tests: one whose episodes end unseen, and some that are refused.

`tests.tiny_pixels:Unseen-v0` and so on; importing this module registers them.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

SIDE, STACK = 43, 2
"""The smallest frames that both networks take."""
MOVES = (0, 3, -3)
"""Pixels to the right: stay, right, left."""
SHOWN: dict[str, Any] = {"continuing": True, "render_modes": [], "render_fps": 10, "segment_seconds": 0.5}
SETTINGS = {
    "env": "tests.tiny_pixels:Unseen-v0",
    "algo": "a2c",
    "total_timesteps": 300,
    "labels": 20,
    "n_envs": 2,
    "hyper": {"policy_kwargs": {"features_extractor_kwargs": {"features_dim": 16}}},
    "fit": "frames(first_passes=1, rate=0.5, judged=5)",
    "members": 1,
    "turns": 4,
    "checkpoint_every": 100,
    "eval_episodes": 3,
}
"""Of a run that ends within a second or two."""

Obs = NDArray[np.uint8]


class Unseen(gym.Env[Obs, np.int64]):
    """A square on a line: a step to the right scores 10, one to the left -10; after 8 to 12 steps it starts anew.

    The reward is the sign of the score, less 1 where an episode was over: its sum is no return.
    """

    metadata = SHOWN
    observation_space = Box(0, 255, (STACK, SIDE, SIDE), np.uint8)
    action_space = Discrete(len(MOVES))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Obs, dict[str, Any]]:
        super().reset(seed=seed)
        self._start()
        return np.stack(self._frames), {"score": 0.0, "over": False}

    def step(self, action: np.int64) -> tuple[Obs, float, bool, bool, dict[str, Any]]:
        score = 10.0 * np.sign(MOVES[action])
        self._at = min(max(self._at + MOVES[action], 0), SIDE - 6)
        self._left -= 1
        over = self._left == 0
        if over:
            self._start()
        else:
            self._frames.append(self._frame())
        return np.stack(self._frames), float(np.sign(score)) - over, False, False, {"score": score, "over": over}

    def _start(self) -> None:
        self._at, self._left = (int(self.np_random.integers(*ends)) for ends in ((0, SIDE - 6), (8, 13)))
        self._frames = deque([np.zeros((SIDE, SIDE), np.uint8)] * (STACK - 1) + [self._frame()], maxlen=STACK)

    def _frame(self) -> Obs:
        frame = np.zeros((SIDE, SIDE), np.uint8)
        frame[18:24, self._at : self._at + 6] = 255
        return frame


class UnseenVector(VectorEnv[Obs, NDArray[np.int64], NDArray[Any]]):
    """The same for some at once."""

    metadata = SHOWN | {"autoreset_mode": AutoresetMode.SAME_STEP}
    single_observation_space, single_action_space = Unseen.observation_space, Unseen.action_space

    def __init__(self, num_envs: int) -> None:
        self.num_envs = num_envs
        self.games = [Unseen() for _ in range(num_envs)]
        self.closed_once = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Obs, dict[str, Any]]:
        seeds = [None if seed is None else seed + i for i in range(self.num_envs)]
        return np.stack([game.reset(seed=own)[0] for game, own in zip(self.games, seeds, strict=True)]), {}

    def step(self, actions: NDArray[np.int64]) -> Any:
        obs, rewards, *_, infos = zip(*(game.step(act) for game, act in zip(self.games, actions, strict=True)))
        never = np.zeros(self.num_envs, bool)
        told = {name: np.array([info[name] for info in infos]) for name in ("score", "over")}
        return np.stack(obs), np.array(rewards), never, never, told

    def close_extras(self, **_: Any) -> None:
        self.closed_once = True


class Crashes(Unseen):
    """Raises in its sixth step, in each life."""

    steps = 0

    def step(self, action: np.int64) -> Any:
        self.steps += 1
        if self.steps == 6:
            raise RuntimeError("the emulator is gone")
        return super().step(action)


def observing(*shape: int, high: int = 255) -> Callable[..., gym.Env[Any, Any]]:
    """Makes what observes bytes of this shape."""

    class Bytes(Unseen):
        observation_space = Box(0, high, shape, np.uint8)

        def reset(self, **_: Any) -> Any:
            return np.zeros(shape, np.uint8), super().reset(**_)[1]

        def step(self, action: np.int64) -> Any:
            return np.zeros(shape, np.uint8), *super().step(action)[1:]

    return Bytes


gym.register("Unseen-v0", Unseen, vector_entry_point=UnseenVector)
gym.register("Slow-v0", Unseen)
gym.register("Memory-v0", observing(128))
gym.register("Flat-v0", observing(84, 84))
gym.register("Dim-v0", observing(4, 84, 84, high=100))
gym.register("Small-v0", observing(4, 35, 84))
gym.register("LastSmall-v0", observing(84, 35, 4))
gym.register("BelowCNN-v0", observing(4, 42, 84))
gym.register("Last-v0", observing(43, 43, 3))


def memory(array: Any) -> int:
    """Bytes that are kept for an array, which may be a view."""
    while getattr(array, "base", None) is not None:
        array = array.base
    return int(array.nbytes)

"""Move a dot to the middle: the smallest task from pixels, on which a chain made for Atari is tried out in minutes."""

from collections import deque
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

from prefrl_envs.instructions import INSTRUCTIONS

Obs = NDArray[np.uint8]
Place = tuple[int, int]
"""Row and column of the dot's upper left pixel, both even."""

FRAME, STACK = 84, 4  # as Atari's, so that the same networks fit
DOT = 4
PACE = 2
MIDDLE = (FRAME - DOT) // 2
MOVES = ((0, 0), (-PACE, 0), (0, PACE), (PACE, 0), (0, -PACE))  # stay, up, right, down, left

NEAREST = 20
"""Pixels from a start to the middle, at least: whoever does nothing is paid little."""
USUAL, SCALE = 44, 126
"""Pixels to the middle that pay nothing: what starts have on average; and how many more cost 1 a step."""
ZOOM = 4
METADATA: dict[str, Any] = {"render_modes": ["rgb_array"]}


def _distance(place: Place) -> int:
    """Pixels to the middle along rows and columns."""
    return abs(place[0] - MIDDLE) + abs(place[1] - MIDDLE)


_places = range(0, FRAME - DOT + 1, PACE)
STARTS = [place for row in _places for column in _places if _distance(place := (row, column)) >= NEAREST]


class MovingDot(gym.Env[Obs, np.int64]):
    """A white dot on black is paid (44 - d) / 126 a step, d its distance from the middle in pixels after it.

    What a frame shows decides, as for a person who judges it: a third at the middle, nothing where starts are on
    average. Whoever goes straight there and stays gets 22 on average; random actions get about 0. Distance is that
    of rows and columns, so every move counts as much as any other; at the border the dot stays where it is.

    Observations are the last four frames, (4, 84, 84), as in `prefrl/Pong-v0`: oldest first, black where an episode
    had none yet. Episodes have one length; `max_episode_steps` of the registration ends them.
    """

    metadata = METADATA
    observation_space = Box(0, 255, (STACK, FRAME, FRAME), np.uint8)
    action_space = Discrete(len(MOVES))

    def __init__(self, *, fps: int, segment_seconds: float, render_mode: str | None = None) -> None:
        shown = {"render_fps": fps, "segment_seconds": segment_seconds, "instructions": INSTRUCTIONS["MovingDot"]}
        self.metadata = METADATA | shown
        self.render_mode = render_mode
        self._trail: deque[Place] = deque(maxlen=STACK)  # newest last

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Obs, dict[str, Any]]:
        super().reset(seed=seed)
        self._trail.clear()
        self._trail.append(STARTS[self.np_random.integers(len(STARTS))])
        return self._obs(), {}

    def step(self, action: np.int64) -> tuple[Obs, float, bool, bool, dict[str, Any]]:
        (row, column), (down, right) = self._trail[-1], MOVES[action]
        place = min(max(row + down, 0), FRAME - DOT), min(max(column + right, 0), FRAME - DOT)
        reward = (USUAL - _distance(place)) / SCALE
        self._trail.append(place)
        return self._obs(), reward, False, False, {}

    def _obs(self) -> Obs:
        stack = np.zeros((STACK, FRAME, FRAME), np.uint8)
        for frame, (row, column) in zip(stack[-len(self._trail) :], self._trail, strict=True):
            frame[row : row + DOT, column : column + DOT] = 255
        return stack

    def render(self) -> NDArray[np.uint8]:
        """(336, 336, 3): the newest frame, larger, on grey lines that cross in the middle, for people to judge by."""
        picture = np.zeros((FRAME, FRAME), np.uint8)
        picture[FRAME // 2 - 1 : FRAME // 2 + 1] = 60
        picture[:, FRAME // 2 - 1 : FRAME // 2 + 1] = 60
        row, column = self._trail[-1]
        picture[row : row + DOT, column : column + DOT] = 255
        return np.repeat(picture.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)[..., None], 3, axis=2)

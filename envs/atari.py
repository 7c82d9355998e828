"""Atari games as one endless episode of pixels with the score hidden: Christiano et al. 2017, appendix A.2."""

import os
from collections import deque
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from prefrl_envs.games import HEIGHT, WIDTH, Game, find_games
from prefrl_envs.instructions import INSTRUCTIONS

try:
    import cv2
    from ale_py import ALEInterface, LoggerMode, roms
    from ale_py.vector_env import AtariVectorEnv
except ImportError as error:
    raise ImportError('Atari needs ale-py and OpenCV: pip install "prefrl[atari]"') from error

Obs = NDArray[np.uint8]

SIZE = 84  # of the agent's picture, both ways
SKIP = 4  # frames that an action lasts
STACK = 4  # frames that the agent sees
NOOPS = 30  # a game starts with fewer frames of no action than these, at random
LONGEST = 108_000  # an episode ends after half an hour of play
METADATA: dict[str, Any] = {"continuing": True}
SHOWN = ("nobody", "people", "all")


class Atari(gym.Env[Obs, np.int64]):
    """One emulator, which starts anew by itself when a game is over: it never terminates.

    Observations are (4, 84, 84): the last four frames in grey, oldest first; those before a game's start are black.
    `info["score"]` is what the game paid in the step, and `info["over"]` says that a game ended with it: the
    observation is then the first one of the next game. The reward is what the oracle judges: the sign of the score,
    less the game's penalty when it is over. A lost life changes nothing.

    `show_score`: "nobody", "people" (in what `render` gives) or "all" (in the observations too).
    """

    metadata = METADATA | {"render_modes": ["rgb_array"]}

    def __init__(
        self,
        game: str,
        *,
        fps: int,
        segment_seconds: float,
        show_score: str = "nobody",
        render_mode: str | None = None,
    ) -> None:
        self._game = _find(game, show_score)
        self._hidden = [] if show_score == "all" else self._game.hidden(SIZE, SIZE)
        self._unshown = self._game.hidden(HEIGHT, WIDTH) if show_score == "nobody" else []
        self.render_mode = render_mode
        self.metadata = self.metadata | _shown(game, fps, segment_seconds)
        ALEInterface.setLoggerMode(LoggerMode.Error)  # or it prints its version
        self.ale = ALEInterface()
        self.ale.setFloat("repeat_action_probability", 0.0)
        self.ale.setInt("frame_skip", 1)
        self._load(0)
        self._actions = self.ale.getMinimalActionSet()
        self.action_space = Discrete(len(self._actions))
        self.observation_space = Box(0, 255, (STACK, SIZE, SIZE), np.uint8)
        self._frames: deque[NDArray[np.uint8]] = deque(maxlen=STACK)
        self._played = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Obs, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self._load(seed)
        self._start()
        return np.stack(self._frames), {"score": 0.0, "over": False}

    def step(self, action: np.int64) -> tuple[Obs, float, bool, bool, dict[str, Any]]:
        score, over = self._play(int(action))
        if over:
            self._start()
        reward = float(np.sign(score)) - self._game.penalty * over
        return np.stack(self._frames), reward, False, False, {"score": score, "over": over}

    def render(self) -> NDArray[np.uint8]:
        """The emulator's newest frame in colour: (210, 160, 3)."""
        screen: NDArray[np.uint8] = self.ale.getScreenRGB()
        for rows, columns in self._unshown:
            screen[rows, columns] = 0
        return screen

    def _load(self, seed: int) -> None:
        self.ale.setInt("random_seed", seed % 2**31)  # what the console's memory holds when it is switched on
        self.ale.loadROM(_file(self._game))

    def _start(self) -> None:
        self.ale.reset_game()
        for _ in range(self.np_random.integers(NOOPS)):
            self.ale.act(0)
            if self.ale.game_over():
                self.ale.reset_game()
        self._played = 0
        self._frames.extend([np.zeros((SIZE, SIZE), np.uint8)] * (STACK - 1))
        self._frames.append(self._seen(self.ale.getScreenGrayscale()))

    def _play(self, action: int) -> tuple[float, bool]:
        """What the game pays while the action lasts, and whether it ended."""
        score = 0.0
        screens = []
        for _ in range(SKIP):
            score += self.ale.act(self._actions[action])
            self._played += 1
            if self.ale.game_over() or self._played >= LONGEST:
                return score, True
            screens.append(self.ale.getScreenGrayscale())
        self._frames.append(self._seen(np.maximum(*screens[-2:])))  # some things are drawn in every other frame only
        return score, False

    def _seen(self, screen: NDArray[np.uint8]) -> NDArray[np.uint8]:
        frame = cv2.resize(screen, (SIZE, SIZE), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        for rows, columns in self._hidden:
            frame[rows, columns] = 0
        return frame


class AtariVector(VectorEnv[Obs, NDArray[np.int64], NDArray[Any]]):
    """`num_envs` games of `Atari` at once, faster: `info` holds "score" and "over" of each, (num_envs,).

    `num_threads`: a quarter of the cores, if not given; the networks need the others more.
    """

    metadata = METADATA | {"autoreset_mode": AutoresetMode.SAME_STEP}

    def __init__(
        self,
        game: str,
        num_envs: int,
        *,
        fps: int,
        segment_seconds: float,
        show_score: str = "nobody",
        render_mode: str | None = None,
        num_threads: int | None = None,
    ) -> None:
        if render_mode is not None:
            raise ValueError("games that are played at once are not rendered: make one, or render_mode=None")
        self._game = _find(game, show_score)
        self._hidden = [] if show_score == "all" else self._game.hidden(SIZE, SIZE)
        self.metadata = self.metadata | _shown(game, fps, segment_seconds)
        self._games = AtariVectorEnv(
            _file(self._game).stem,
            num_envs,
            num_threads=num_threads or max((os.cpu_count() or 1) // 4, 1),
            max_num_frames_per_episode=LONGEST,
            noop_max=NOOPS,
            autoreset_mode=AutoresetMode.SAME_STEP,
            reward_clipping=False,
            use_fire_reset=False,
        )
        self.num_envs = num_envs
        self.single_observation_space = self._games.single_observation_space
        self.single_action_space = self._games.single_action_space
        self.observation_space = self._games.observation_space
        self.action_space = self._games.action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Obs, dict[str, Any]]:
        """Game i is seeded with `seed` + i."""
        seeds = None if seed is None else (seed + np.arange(self.num_envs)) % 2**31
        obs, _ = self._games.reset(seed=seeds)
        return self._blacken(obs), {"score": np.zeros(self.num_envs), "over": np.zeros(self.num_envs, bool)}

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[Obs, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        obs, paid, terminated, truncated, _ = self._games.step(actions)
        score, over = paid.astype(np.float64), terminated | truncated
        rewards = np.sign(score) - self._game.penalty * over
        never = np.zeros(self.num_envs, bool)
        return self._blacken(obs), rewards, never, never.copy(), {"score": score, "over": over}

    def _blacken(self, obs: Obs) -> Obs:
        for rows, columns in self._hidden:
            obs[..., rows, columns] = 0  # the emulators give fresh arrays in every step
        return obs


def _find(name: str, show_score: str) -> Game:
    if show_score not in SHOWN:
        raise ValueError(f"show_score is {show_score!r}: give one of {', '.join(SHOWN)}")
    games = find_games()
    if name not in games:
        raise ValueError(f"there is no game {name!r}: give a name such as Pong or SpaceInvaders")
    game = games[name]
    if not game.masks and show_score != "all":
        raise ValueError(
            f"nobody has said where {name} shows its score, so a reward could be read off it: "
            'to train with it in sight, pass --show-score all (in Python show_score="all")'
        )
    return game


def _file(game: Game) -> Path:
    try:
        file = roms.get_rom_path(game.rom)
    except OSError as error:
        message = f"ale-py's file of {game.rom} is missing or damaged: install ale-py again, and unset ALE_ROMS_DIR"
        raise FileNotFoundError(message) from error
    assert file is not None  # find_games knows ale-py's own names only
    return file


def _shown(name: str, fps: int, segment_seconds: float) -> dict[str, Any]:
    return {"render_fps": fps, "segment_seconds": segment_seconds, "instructions": INSTRUCTIONS.get(name)}

"""How it is known where the games show their scores: their memory is changed, and only what is hidden changes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from prefrl_envs.atari import Atari
from prefrl_envs.games import GAMES

Memory = NDArray[np.uint8]
Pixels = NDArray[np.bool_]


def decimal(*places: int) -> Callable[[Memory], int]:
    """What bytes of two decimal digits each say, the highest first."""
    return lambda memory: int("".join(f"{memory[place]:02x}" for place in places))


@dataclass
class Score:
    """Where a game keeps its score, and what it says there."""

    read: Callable[[Memory], int]
    places: tuple[int, ...]
    values: tuple[int, ...] = (0x05, 0x12, 0x38, 0x54, 0x76, 0x88, 0x90)
    other: tuple[int, ...] = ()
    """The score of another player."""


SCORES = {
    "BeamRider": Score(decimal(11, 10, 9), (9, 10, 11)),
    "Breakout": Score(decimal(76, 77), (76, 77)),
    "Enduro": Score(lambda memory: 200 - decimal(44, 43)(memory), (43, 44)),
    "Pong": Score(lambda memory: int(memory[14]) - int(memory[13]), (13, 14), tuple(range(20))),  # 21 ends the game
    "Qbert": Score(decimal(89, 90, 91), (89, 90, 91)),
    "Seaquest": Score(decimal(56, 57, 58), (56, 57, 58)),
    "SpaceInvaders": Score(decimal(102, 104), (102, 104), other=(103, 105)),
}

BLACK = {  # rows and columns of the agent's picture, counted on paper: 2.5 rows and 1.905 columns go into one
    "BeamRider": [(4, 8, 32, 57), (12, 16, 10, 17)],
    "Breakout": [(2, 6, 18, 76)],
    "Enduro": [(64, 77, 25, 59)],
    "Pong": [(0, 9, 8, 76)],
    "Qbert": [(2, 6, 17, 38)],
    "Seaquest": [(3, 7, 30, 56)],
    "SpaceInvaders": [(4, 8, 2, 34), (4, 8, 44, 76)],
}


def start(name: str, **options: Any) -> Atari:
    env = Atari(name, fps=15, segment_seconds=25 / 15, render_mode="rgb_array", **options)
    env.reset(seed=0)
    return env


def actions(env: Atari, name: str, steps: int = 400) -> list[np.int64]:
    """Random ones, each held for a while; in Enduro full speed, or no car would be passed."""
    n = len(env.ale.getMinimalActionSet())
    chosen = np.random.default_rng(4).integers(n, size=steps // 3 + 1)
    return [np.int64(1)] * steps if name == "Enduro" else [*np.repeat(chosen, 3)[:steps]]


def boxes(name: str) -> Pixels:
    """(210, 160): what is hidden of the emulator's picture."""
    hidden = np.zeros((210, 160), bool)
    for top, bottom, left, right in GAMES[name].masks:
        hidden[top:bottom, left:right] = True
    return hidden


def black(name: str) -> Pixels:
    """(84, 84): what is hidden of the agent's."""
    hidden = np.zeros((84, 84), bool)
    for top, bottom, left, right in BLACK[name]:
        hidden[top:bottom, left:right] = True
    return hidden


@pytest.mark.parametrize("name", SCORES)
def test_the_places_that_are_changed_here_are_where_the_score_is_kept(name: str) -> None:
    env, total, changes = start(name), 0.0, 0
    for action in actions(env, name):
        *_, info = env.step(action)
        if info["over"]:
            break
        total += info["score"]
        changes += bool(info["score"])
        assert SCORES[name].read(env.ale.getRAM()) == total
    assert changes


@pytest.mark.parametrize("name", SCORES)
def test_another_score_at_every_step_shows_in_what_is_hidden_and_nowhere_else(name: str) -> None:
    told, env = start(name), start(name)
    score, rng = SCORES[name], np.random.default_rng(9)
    differ, was_paid = np.zeros((210, 160), bool), 0
    for action in actions(env, name):
        for place in score.places + score.other:
            told.ale.setRAM(place, int(rng.choice(score.values)))
        seen, *_, wrong = told.step(action)
        obs, *_, info = env.step(action)
        np.testing.assert_array_equal(seen, obs)
        np.testing.assert_array_equal(told.render(), env.render())
        differ |= (told.ale.getScreenRGB() != env.ale.getScreenRGB()).any(axis=2)
        was_paid += bool(info["score"])
        assert wrong["over"] == info["over"]
    assert was_paid and differ.any()
    assert not (differ & ~boxes(name)).any()


def test_the_number_of_enemies_left_is_hidden_in_beam_rider() -> None:
    told, env = start("BeamRider"), start("BeamRider")
    enemies, digits = 84, np.zeros((210, 160), bool)
    for left in range(1, 15):
        told.ale.setRAM(enemies, left)
        np.testing.assert_array_equal(told.step(np.int64(0))[0], env.step(np.int64(0))[0])
        digits |= (told.ale.getScreenRGB() != env.ale.getScreenRGB()).any(axis=2)
    rows, columns = np.nonzero(digits)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == GAMES["BeamRider"].masks[1]


def test_nothing_that_moves_below_the_road_is_seen_in_enduro() -> None:
    env, shown = start("Enduro"), start("Enduro", show_score="all")
    first, panel = env.render()[155:], shown.render()[155:]
    moved = False
    for action in actions(env, "Enduro"):
        env.step(action)
        shown.step(action)
        np.testing.assert_array_equal(env.render()[155:], first)
        moved |= bool((shown.render()[155:] != panel).any())
    assert moved


@pytest.mark.parametrize("name", SCORES)
def test_all_but_the_hidden_pixels_are_seen_as_they_are(name: str) -> None:
    env, people, shown = start(name), start(name, show_score="people"), start(name, show_score="all")
    for action in actions(env, name, steps=60):
        obs, seen = env.step(action)[0], shown.step(action)[0]
        np.testing.assert_array_equal(obs, np.where(black(name), 0, seen))
        np.testing.assert_array_equal(people.step(action)[0], obs)
        screen = env.ale.getScreenRGB()
        np.testing.assert_array_equal(env.render(), np.where(boxes(name)[..., None], 0, screen))
        np.testing.assert_array_equal(people.render(), screen)
        np.testing.assert_array_equal(shown.render(), screen)
    assert seen[:, black(name)].any() or name == "Qbert"  # which shows its score now and then only


@pytest.mark.parametrize("name", SCORES)
def test_the_hidden_pixels_are_those_into_which_the_boxes_are_resized(name: str) -> None:
    resized = cv2.resize(boxes(name).astype(np.float64), (84, 84), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(resized > 1e-6, black(name))

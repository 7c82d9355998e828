"""What a teacher who wants the car to drive level with the others pays in Enduro, and whether it may be trusted."""

from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from prefrl_envs.atari import Atari
from prefrl_envs.enduro_even import BESIDE, Even, enduro_even

NOOP, GAS, BRAKE = 0, 1, 4
SPEED, CARS_LEFT, DAY = 0x16, slice(0x2B, 0x2D), 0x2D  # bytes of the console's memory
OTHERS = 24  # their speed

Driver = Callable[[Any, np.random.Generator], int]
"""(the console's memory, rng) -> action."""


class Drive(NamedTuple):
    memories: Any
    rewards: Any
    infos: list[dict[str, Any]]

    def of(self, key: str) -> Any:
        return np.array([info[key] for info in self.infos])


def even(**options: Any) -> Even:
    return enduro_even(fps=15, segment_seconds=25 / 15, **options)


def steady(speed: int) -> Driver:
    return lambda memory, rng: GAS if memory[SPEED] < speed else BRAKE if memory[SPEED] > speed else NOOP


def catches_up(memory: Any, rng: np.random.Generator) -> int:
    """As fast as the others beside one of them, faster while none is near."""
    return steady(OTHERS if memory[BESIDE].any() else OTHERS + 8)(memory, rng)


DRIVERS: dict[str, Driver] = {
    "stands": lambda memory, rng: NOOP,
    "races": lambda memory, rng: GAS,
    "acts at random": lambda memory, rng: int(rng.integers(9)),
    "drives at the others' speed": steady(OTHERS),
    "catches up": catches_up,
}


def drive(env: Even, driver: Driver, steps: int, seed: int | None = 3) -> Drive:
    rng = np.random.default_rng(0)
    if seed is not None:
        env.reset(seed=seed)
    memories, rewards, infos = [], [], []
    for _ in range(steps):
        _, reward, _, _, info = env.step(np.int64(driver(env._ale.getRAM(), rng)))
        memories.append(env._ale.getRAM())
        rewards.append(reward)
        infos.append(info)
    return Drive(np.array(memories), np.array(rewards), infos)


@pytest.fixture(scope="module")
def drives() -> dict[str, Drive]:
    return {name: drive(even(), driver, 1000) for name, driver in DRIVERS.items()}


@pytest.mark.filterwarnings("ignore:.*is different from the unwrapped version")
def test_the_environment_passes_gymnasiums_check():
    check_env(gym.make("prefrl/EnduroEven-v0", render_mode="rgb_array", disable_env_checker=True))


def test_what_people_see_and_are_told_is_of_this_task():
    with gym.make("prefrl/EnduroEven-v0", render_mode="rgb_array") as env:
        env.reset(seed=0)
        picture: Any = env.render()
        assert picture.shape == (210, 160, 3)
        assert env.metadata["continuing"] is True and env.metadata["render_fps"] == 15
        assert env.metadata["instructions"]["question"] == "Which car drives more evenly with the others?"


def test_only_the_reward_differs_from_the_game():
    ours, game = even(), Atari("Enduro", fps=15, segment_seconds=25 / 15)
    obs, info = ours.reset(seed=5)
    assert info == {"score": 0.0, "over": False, "passed": 0, "points": 0.0}
    assert (obs == game.reset(seed=5)[0]).all()
    for action in np.random.default_rng(5).choice([NOOP, GAS, GAS, GAS, BRAKE], size=300):
        obs, _, *ends, info = ours.step(action)
        expected, _, *expected_ends, expected_info = game.step(action)
        assert (obs == expected).all() and ends == expected_ends == [False, False]
        assert (info["points"], info["over"]) == (expected_info["score"], expected_info["over"])


def test_cars_are_counted_as_the_score_counts_them_where_it_does(drives):
    drove = drives["races"]
    left = (drove.memories[:, CARS_LEFT] != (0x00, 0x02)).any(axis=1)  # not all 200: the score can go either way
    counts = left & np.roll(left, 1)
    assert (drove.of("passed")[counts] == drove.of("points")[counts]).all()
    assert (drove.of("points")[counts] > 0).sum() >= 5 and (drove.of("points")[counts] < 0).sum() >= 5


def test_cars_that_pass_are_counted_where_the_score_cannot_fall(drives):
    drove = drives["stands"]
    assert not drove.of("points").any()
    assert set(drove.of("passed")) == {0, -1}
    assert (drove.of("passed") < 0).sum() > 40


def test_a_car_near_ours_is_seen_where_the_memory_says():
    """By day cars are coloured, and ours, the lines and the sides of the road are grey or green."""
    env = even(render_mode="rgb_array")
    env.reset(seed=3)
    seen, near = [], []
    for _ in range(300):
        env.step(np.int64(NOOP))
        road = env.render()[123:155, 8:]
        plain = (np.ptp(road, axis=2) == 0) | (road == (0, 68, 0)).all(axis=2)
        seen.append(not plain.all())
        near.append(bool(env._ale.getRAM()[BESIDE].any()))
    assert sum(near) > 50
    assert np.mean(np.array(seen) == near) > 0.9  # the rest: a car that has not come into the picture yet


def test_a_step_costs_the_cars_passed_and_pays_for_one_that_is_near(drives):
    for drove in drives.values():
        near = drove.memories[:, BESIDE].any(axis=1)
        assert drove.rewards == pytest.approx(0.05 * near - abs(drove.of("passed")))


def test_only_driving_level_pays_and_best_beside_others(drives):
    mean = {name: drove.rewards.mean() for name, drove in drives.items()}
    assert mean["catches up"] > mean["drives at the others' speed"] > 0
    assert max(mean["stands"], mean["races"], mean["acts at random"]) < -0.02


def test_the_nearer_to_the_others_speed_the_better():
    means = [drive(even(), steady(speed), 600).rewards[100:].mean() for speed in (6, 12, 18, 24)]
    assert means == sorted(means)
    assert means[0] < 0 < means[-1]


@pytest.mark.slow
def test_the_next_game_starts_with_no_car_passed():
    """A day is 13,312 frames; who stands still has lost the game with it."""
    drove = drive(even(), DRIVERS["stands"], 3500)
    (end,) = np.flatnonzero(drove.of("over"))
    assert (drove.rewards[end], drove.of("passed")[end]) == (0.0, 0)
    assert abs(drove.of("passed")).max() == 1


@pytest.mark.slow
def test_cars_are_counted_after_the_days_200_too_and_when_the_day_turns():
    env = even()
    env.reset(seed=3)
    steps = 0
    while env.step(np.int64(GAS))[4]["passed"] < 1:
        steps += 1
    for place, digits in zip(range(CARS_LEFT.start, CARS_LEFT.stop), (0x01, 0x00), strict=True):
        env._ale.setRAM(place, digits)  # one car left
    drove = drive(env, DRIVERS["races"], 3600, seed=None)
    won = int(np.flatnonzero(drove.of("points") == 1)[0])
    turn = int(np.flatnonzero(drove.memories[:, DAY] == 2)[0])
    assert not drove.of("over").any()
    assert not drove.of("points")[won + 1 : turn].any()
    assert (drove.of("passed")[won + 1 : turn] > 0).sum() > 50
    assert abs(drove.of("passed")).max() == 1

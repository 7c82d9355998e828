from itertools import pairwise
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st

import prefrl.testing
from prefrl.control.environments import inspect
from prefrl_envs.moving_dot import MovingDot

STAY, UP, RIGHT, DOWN, LEFT = range(5)


def dot(**options: Any) -> MovingDot:
    return MovingDot(fps=15, segment_seconds=25 / 15, **options)


def place(frame: Any) -> tuple[float, float]:
    """Row and column of the middle of what is bright."""
    rows, columns = np.nonzero(frame)
    return float(rows.mean()), float(columns.mean())


def off(frame: Any) -> float:
    """Pixels to the middle of the frame."""
    row, column = place(frame)
    return abs(row - 41.5) + abs(column - 41.5)


def homewards(obs: Any) -> int:
    row, column = place(obs[-1])
    if row != 41.5:
        return UP if row > 41.5 else DOWN
    return STAY if column == 41.5 else LEFT if column > 41.5 else RIGHT


@pytest.mark.filterwarnings("ignore:.*is different from the unwrapped version")
def test_the_dot_passes_gymnasiums_check_and_ours():
    check_env(gym.make("prefrl/MovingDot-v0", render_mode="rgb_array", disable_env_checker=True))
    prefrl.testing.check_env("prefrl/MovingDot-v0")


def test_training_finds_three_whole_segments_in_an_episode():
    facts = inspect("prefrl/MovingDot-v0")
    assert (facts.horizon, facts.segment_length, facts.fps, facts.renders) == (75, 25, 15, True)
    assert facts.observation_space == Box(0, 255, (4, 84, 84), np.uint8)
    assert facts.action_space == Discrete(5)


def test_an_episode_is_truncated_after_75_steps():
    env = gym.make("prefrl/MovingDot-v0")
    env.reset(seed=0)
    assert [env.step(STAY)[2:4] for _ in range(75)] == [(False, False)] * 74 + [(False, True)]


def test_every_frame_shows_one_white_dot_of_16_pixels():
    env = dot()
    obs, _ = env.reset(seed=0)
    for action in [UP] * 50 + [RIGHT] * 50:
        obs = env.step(action)[0]
    assert [np.unique(frame, return_counts=True)[1].tolist() for frame in obs] == [[84 * 84 - 16, 16]] * 4


def test_frames_before_the_first_are_black_and_the_newest_is_the_last():
    env = dot()
    first, _ = env.reset(seed=0)
    assert not first[:3].any() and first[3].any()
    second = env.step(LEFT)[0]
    assert not second[:2].any() and (second[2] == first[3]).all()
    env.reset()
    assert not env.step(STAY)[0][:2].any()  # nothing of the episode before


@given(seed=st.integers(0, 1000), actions=st.lists(st.sampled_from(range(5)), max_size=60))
def test_the_reward_is_what_the_pictures_show(seed, actions):
    env = dot()
    obs, _ = env.reset(seed=seed)
    for action in actions:
        obs, reward, *_ = env.step(action)
        assert reward == (44 - off(obs[3])) / 126


@pytest.mark.parametrize(
    ("action", "step", "wall"),
    [(STAY, (0, 0), None), (UP, (-2, 0), 0), (RIGHT, (0, 2), 80), (DOWN, (2, 0), 80), (LEFT, (0, -2), 0)],
)
def test_a_move_is_two_pixels_until_the_border(action, step, wall):
    env = dot()
    obs, _ = env.reset(seed=0)  # at none of the borders
    seen = [place(obs[-1]), *(place(env.step(action)[0][-1]) for _ in range(60))]
    moves = {(after[0] - before[0], after[1] - before[1]) for before, after in pairwise(seen)}
    assert moves == {step, (0, 0)}
    assert wall is None or wall + 1.5 in seen[-1]


def test_whoever_goes_straight_to_the_middle_and_stays_gets_most():
    env = gym.make("prefrl/MovingDot-v0")
    returns = []
    for seed in range(50):
        obs, _ = env.reset(seed=seed)
        way, total, truncated = off(obs[-1]), 0.0, False
        while not truncated:
            obs, reward, _, truncated, _ = env.step(homewards(obs))
            total += float(reward)
        assert total == pytest.approx(sum((44 - max(way - 2 * step, 0)) / 126 for step in range(1, 76)))
        assert off(obs[-1]) == 0
        returns.append(total)
    assert 20 < np.mean(returns) < 24


def test_random_actions_are_worth_about_nothing():
    """A standard deviation of 8.5 over 200 episodes: 3 is five of their mean's from 0.3."""
    env = gym.make("prefrl/MovingDot-v0")
    env.action_space.seed(0)
    env.reset(seed=0)
    total = 0.0
    for _ in range(200):
        total += sum(float(env.step(env.action_space.sample())[1]) for _ in range(75))
        env.reset()
    assert abs(total / 200) < 3


def test_an_episode_repeats_with_its_seed_alone():
    def play() -> Any:
        env = dot()
        first, _ = env.reset(seed=7)
        return first.tolist(), env.step(UP)[0].tolist(), env.reset()[0].tolist()

    assert play() == play()
    assert dot().reset(seed=1)[0].tolist() != dot().reset(seed=2)[0].tolist()


def test_what_was_observed_stays_as_it_was():
    env = dot()
    first, _ = env.reset(seed=0)
    kept = first.copy()
    second = env.step(UP)[0]
    second[:] = 0
    env.step(UP)
    assert (first == kept).all()
    assert env.step(STAY)[0].any()


def test_a_person_sees_the_dot_and_where_the_middle_is():
    env = dot(render_mode="rgb_array")
    obs, _ = env.reset(seed=0)
    picture = env.render()
    assert picture.shape == (336, 336, 3) and picture.dtype == np.uint8
    assert ((picture[::4, ::4, 0] == 255) == (obs[-1] == 255)).all()
    assert (picture[168, 168] == picture[0, 168]).all() and 0 < picture[168, 168, 0] < 255


def test_a_labeller_is_told_about_the_lines():
    told = dot().metadata["instructions"]
    assert told["question"] == "Which dot is nearer to the middle?"
    assert "grey lines" in told["look_for"][0]

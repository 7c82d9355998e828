"""Backflips: what the teacher prefers, and what counts as one."""

import math
from contextlib import closing
from dataclasses import replace
from io import BytesIO

import mujoco
import numpy as np
import pytest
from PIL import Image

from experiments import backflip
from experiments.backflip import (
    CLAIM,
    FLIPS,
    HOPPER,
    TURNS,
    Episode,
    Pose,
    count_flips,
    film,
    gif,
    hopper,
    liveliest,
    teacher,
    turns,
    verdicts,
)
from prefrl.control.camera import no_gl, working_gl
from prefrl.control.environments import make
from prefrl.media import decode
from prefrl.reproduce.records import Record
from prefrl.testing import check_env, check_oracle
from prefrl.train import train
from prefrl.types import Segment

TURN = 2 * math.pi


def segment(angle, height):
    """Of a torso at `angle` rad, of which backward is negative, `height` metres above the floor; (T,) or numbers."""
    obs = np.zeros((60, 12))
    obs[:, 0], obs[:, 1], obs[:, 2] = height, np.sin(angle), np.cos(angle)
    return Segment(obs, np.zeros((60, 3)))


def clip(turned, height=1.2, begin=0.0):
    """A segment in which the torso turns backward by `turned` rad."""
    return segment(begin - np.linspace(0, turned, 60), height)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (clip(3), clip(0)),
        (clip(0), clip(-3)),
        (clip(3), clip(2)),
        (clip(3, height=1.2), clip(3, height=0.8)),
        (clip(2, height=1.2), clip(3, height=0.2)),
        (clip(0, height=1.2), clip(0, height=0.2)),
    ],
    ids=["backward", "not forward", "further", "higher", "not on the floor", "not lying"],
)
def test_the_teacher_prefers(better, worse):
    assert (teacher(better, worse), teacher(worse, better)) == (1, 0)


def test_the_teacher_cannot_tell_small_differences():
    assert teacher(clip(3), clip(3)) == 0.5
    assert teacher(clip(3), clip(3.001)) == 0.5


@pytest.mark.parametrize("begin", [0.5, 2.0, 3.1, -3.1])
def test_the_teacher_judges_how_far_a_clip_turns_not_where_it_begins(begin):
    lying = clip(0, height=0.2)
    turned = teacher.score(clip(3, begin=begin, height=0.2)) - teacher.score(lying)
    assert turned == pytest.approx(teacher.score(clip(3, height=0.2)) - teacher.score(lying), abs=0.1)


def test_rocking_to_and_fro_is_worth_less_than_turning_as_far():
    """Backward high up and forward on the floor, against backward all the time."""
    there = np.linspace(0, -1.5, 30)
    heights = np.where(np.arange(60) < 30, 0.9, 0.5)
    rocking, turning = segment([*there, *there[::-1]], heights), segment(np.linspace(0, -3, 60), heights)
    assert teacher(turning, rocking) == 1


def test_the_teacher_sees_neither_truth_nor_actions():
    shown = clip(1)
    other = Segment(shown.obs, np.ones((60, 3)), truth=np.full(60, 100.0))
    assert teacher(shown, other) == 0.5


def test_the_teacher_keeps_the_contract_of_oracles():
    rng = np.random.default_rng(0)
    walks = rng.normal(scale=0.1, size=(12, 60, 12)).cumsum(axis=1)
    check_oracle(teacher, [Segment(obs, np.zeros((60, 3))) for obs in walks])


def counted(angle, free=None):
    angle = np.asarray(angle, float)
    return len(turns(angle, np.ones(len(angle), bool) if free is None else np.asarray(free)))


@pytest.mark.parametrize(("turned", "found"), [(0.99, 0), (1.01, 1), (1.99, 1), (3.01, 3), (-3.01, 0)])
def test_a_flip_is_a_full_turn_backward(turned, found):
    assert counted(-np.linspace(0, turned * TURN, 200)) == found


def test_rocking_to_and_fro_is_no_flip():
    assert counted(3 * np.sin(np.linspace(0, 100, 1000))) == 0


def test_what_is_turned_back_is_turned_again_before_it_counts():
    there, back = -np.linspace(0, 0.9 * TURN, 50), -np.linspace(0.9 * TURN, 0.5 * TURN, 50)
    assert counted([*there, *back, *(there[:25] + back[-1])]) == 0
    assert counted([*there, *back, *(there + back[-1])]) == 1


def test_a_turn_is_measured_from_the_furthest_lean_forward():
    assert counted([*np.linspace(0, 1, 20), *np.linspace(1, 1.01 - TURN, 100)]) == 0
    assert counted([*np.linspace(0, 1, 20), *np.linspace(1, 0.99 - TURN, 100)]) == 1


def test_a_turn_that_touches_the_floor_is_none():
    angle = -np.linspace(0, 2.01 * TURN, 201)
    free = np.ones(201, bool)
    free[150] = False
    assert turns(angle, np.ones(201, bool)) == [100, 200]
    assert turns(angle, free) == [100]


def test_clearance_is_what_mujoco_says_of_contacts():
    """Random poses: head, hip and knee are clear of the floor where no torso, thigh or upper leg touches it."""
    with make(HOPPER) as env:
        model = env.unwrapped.model
    data, rng = mujoco.MjData(model), np.random.default_rng(0)
    floor, torso, thigh = (model.geom(name).id for name in ("floor", "torso_geom", "thigh_geom"))
    touched = 0
    for _ in range(500):
        data.qpos[:] = [0, rng.uniform(0.1, 1.2), *rng.uniform([-7, -2.6, -2.6, -0.7], [7, 0, 0, 0.7])]
        mujoco.mj_forward(model, data)
        pairs = [{int(contact.geom1), int(contact.geom2)} for contact in data.contact[: data.ncon]]
        touches = any(floor in pair and pair & {torso, thigh} for pair in pairs)
        assert touches == (Pose.simulated(data.qpos[None]).clearance[0] < 0.001)
        touched += touches
    assert 50 < touched < 450


def episode(angle, height=1.2):
    """Of a torso at `angle` rad at every step; x is the step."""
    state = np.zeros((len(angle), 6))
    state[:, 0], state[:, 1], state[:, 2] = np.arange(len(angle)), height, angle
    return Episode(state)


def test_rolling_on_the_floor_is_turning_but_not_flipping():
    spin = -np.linspace(0, 3.1 * TURN, 1000)
    assert (len(episode(spin).flips()), len(episode(spin).turns())) == (3, 3)
    assert (len(episode(spin, height=0.1).flips()), len(episode(spin, height=0.1).turns())) == (0, 3)


def test_the_clip_is_of_the_flips():
    still, flipping = np.zeros(1000), np.zeros(1000)
    flipping[600:] = -np.clip(np.linspace(0, 4.2 * TURN, 400), 0, 2.1 * TURN)
    kept = liveliest([episode(still), episode(flipping)], 300)
    assert kept.shape == (300, 6)
    assert kept[0, 0] <= 695 and kept[-1, 0] >= 790


def test_what_is_observed_is_the_same_after_a_turn_and_says_the_pose():
    with closing(hopper()) as env:
        sim, seen = env.unwrapped, []
        for angle in (0.3, 0.3 - TURN):
            env.reset(seed=0)
            sim.set_state(np.array([0, 1.1, angle, -0.2, -0.3, 0.1]), np.zeros(6))
            seen.append(env.observation(sim._get_obs()))
    assert seen[0].shape == env.observation_space.shape
    assert seen[0] == pytest.approx(seen[1])
    pose = Pose.seen(np.stack(seen))
    assert (pose.height[0], pose.angle[0], pose.thigh[0]) == pytest.approx((1.1, 0.3, -0.2))


def test_an_observed_angle_goes_on_beyond_a_full_turn():
    angle = -np.linspace(0, 3 * TURN, 200)
    obs = np.stack([np.ones(200), np.sin(angle), np.cos(angle), np.zeros(200)], axis=1)
    assert Pose.seen(obs).angle == pytest.approx(angle)


def test_preferences_can_be_learned_in_it():
    check_env("experiments.backflip:hopper")


def test_a_gif_plays_all_frames_at_half_the_size_for_ever():
    frames = np.zeros((4, 20, 40, 3), np.uint8)
    for step, colour in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255)]):
        frames[step + 1 :, :, 10 * step :] = colour
    with Image.open(BytesIO(gif(frames, fps=25))) as shown:
        assert (shown.size, shown.n_frames, shown.info["duration"], shown.info["loop"]) == ((20, 10), 4, 40, 0)


def record(flips):
    numbers = {"result": 1.0, "untrained": 0.0, "evaluated": 1.0, "pearson": 0.0, "minutes": 1.0, "reward_minutes": 0.1}
    names = {"name": "hopper", "task": "Hopper", "condition": "", "algo": "ppo", "command": "", "versions": ""}
    return Record(**names, **numbers, labels=900, seed=0, steps=1, measured={FLIPS: flips, TURNS: flips + 1})


@pytest.mark.parametrize(
    ("flips", "reached"),
    [
        ((), (None, None)),
        ((1.9, 0), (None, None)),
        ((1.9, 0, 0), (False, False)),
        ((2, 0), (True, None)),
        ((0, 3, 1), (True, True)),
    ],
)
def test_one_seed_that_turns_or_flips_three_times_is_enough_and_three_that_do_not_are(flips, reached):
    assert tuple(verdict.reached for verdict in verdicts([record(each) for each in flips])) == reached


@pytest.fixture
def two_episodes(monkeypatch):
    monkeypatch.setattr(backflip, "EPISODES", 2)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A hopper that has hardly learned anything."""
    small = {"n_steps": 32, "batch_size": 64, "n_epochs": 1}
    short = {"total_timesteps": 1_500, "labels": 8, "turns": 2, "n_envs": 4, "eval_episodes": 1}
    config = replace(CLAIM.runs[0].config, **short, hyper=small)
    return train(config, tmp_path_factory.mktemp("runs") / "hopper").path


def test_flips_of_a_run_are_counted_and_counted_the_same_again(run, two_episodes):
    found = count_flips(run)
    assert found.keys() == {FLIPS, TURNS, f"sampled_{FLIPS}", f"sampled_{TURNS}"}
    assert 0 <= found[FLIPS] <= found[TURNS] < 5
    assert count_flips(run) == found


def test_the_best_run_is_filmed(run, tmp_path, two_episodes):
    if working_gl() is None:
        pytest.skip(no_gl())
    film([record(1)], run.parent, tmp_path / "results")
    assert decode((tmp_path / "results/backflip.webm").read_bytes()).shape == (125, 320, 320, 3)
    for name in ("backflip.webm", "backflip.gif"):
        assert 10_000 < (tmp_path / "results" / name).stat().st_size < 1_000_000


def test_nothing_is_filmed_without_runs(tmp_path):
    film([], tmp_path, tmp_path / "results")
    assert not (tmp_path / "results").exists()

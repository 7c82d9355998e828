import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st

from prefrl_envs import FixedHorizon
from prefrl_envs.games import find_games

Sim = Any  # MujocoEnv

TABLE = {  # horizon, frames per second, steps of a segment: Christiano et al. 2017, appendix A.1, and their code
    "HalfCheetah": (1000, 20, 30),
    "Hopper": (1000, 40, 60),
    "Walker2d": (1000, 30, 45),
    "Swimmer": (1000, 40, 60),
    "Ant": (1000, 20, 30),
    "Humanoid": (1000, 40, 60),
    "Reacher": (50, 10, 15),
    "InvertedPendulum": (25, 10, 15),
    "InvertedDoublePendulum": (50, 10, 15),
}

PIXELS = ["MovingDot", "EnduroEven"]


def double_pendulum(sim: Sim, v_x: float) -> float:
    """The model's reward in the words of its documentation, and ten times the height of the tip above 1."""
    x, _, height = sim.data.site("tip").xpos
    spin, spin2 = sim.data.joint("hinge").qvel[0], sim.data.joint("hinge2").qvel[0]
    alive = 10 if height > 1 else 0
    return alive - 0.01 * x**2 - (height - 2) ** 2 - 1e-3 * spin**2 - 5e-3 * spin2**2 + 10 * (height - 1)


TRUTH: dict[str, Callable[[Sim, float], float]] = {
    "HalfCheetah": lambda sim, v_x: v_x,
    "Hopper": lambda sim, v_x: v_x + sim.data.joint("rootz").qpos[0],
    "Walker2d": lambda sim, v_x: v_x + sim.data.joint("rootz").qpos[0] - 1,
    "Swimmer": lambda sim, v_x: v_x,
    "Ant": lambda sim, v_x: v_x + (sim.data.joint("root").qpos[2] - 1.2),
    "Humanoid": lambda sim, v_x: v_x + 5 * (sim.data.joint("root").qpos[2] - 1),
    "Reacher": lambda sim, v_x: -np.linalg.norm(sim.data.body("fingertip").xpos - sim.data.body("target").xpos),
    "InvertedPendulum": lambda sim, v_x: 1 - sim.data.joint("hinge").qpos[0] ** 2,
    "InvertedDoublePendulum": double_pendulum,
}


def x_position(name: str, sim: Sim) -> float:
    if name == "Humanoid":
        return float(np.average(sim.data.xipos[:, 0], weights=sim.model.body_mass))  # the centre of mass
    return float(sim.data.body("torso").xpos[0] if name == "Ant" else sim.data.qpos[0])


def task(name: str) -> gym.Env[Any, Any]:
    return gym.make(f"prefrl/{name}-v0", disable_env_checker=True)


@dataclass
class Episode:
    """An episode of random actions."""

    name: str
    rewards: list[float]
    truth: list[float]
    infos: list[dict[str, Any]]
    ends: list[tuple[bool, bool]]


@pytest.fixture(scope="module", params=TABLE)
def episode(request: pytest.FixtureRequest) -> Episode:
    name = request.param
    env = task(name)
    sim: Sim = env.unwrapped
    env.action_space.seed(0)
    _, info = env.reset(seed=0)
    episode = Episode(name, [], [], [info], [])
    while not episode.ends or not any(episode.ends[-1]):
        before = x_position(name, sim)
        _, reward, *end, info = env.step(env.action_space.sample())
        v_x = (x_position(name, sim) - before) / sim.dt
        episode.rewards.append(float(reward))
        episode.truth.append(TRUTH[name](sim, v_x))
        episode.infos.append(info)
        episode.ends.append((bool(end[0]), bool(end[1])))
    env.close()
    return episode


def test_a_task_pays_what_the_table_says(episode: Episode) -> None:
    np.testing.assert_allclose(episode.rewards, episode.truth, rtol=1e-9, atol=1e-9)


def test_a_task_ends_at_its_horizon_and_never_before(episode: Episode) -> None:
    horizon = TABLE[episode.name][0]
    assert episode.ends == [(False, False)] * (horizon - 1) + [(False, True)]


@pytest.mark.parametrize("name", ["Hopper", "Walker2d", "Humanoid"])
def test_a_task_goes_on_when_the_body_has_fallen(name: str) -> None:
    with task(name) as env:
        sim: Sim = env.unwrapped
        env.reset(seed=0)
        assert sim.is_healthy
        ends = [env.step(env.action_space.high)[2:4] for _ in range(200)]
        assert not sim.is_healthy
    assert ends == [(False, False)] * 200


def test_no_term_of_the_reward_leaks_through_info(episode: Episode) -> None:
    assert not any(episode.infos)


@pytest.mark.parametrize("name", TABLE)
def test_what_a_labeller_sees_is_data_of_the_spec(name: str) -> None:
    horizon, fps, segment = TABLE[name]
    spec = gym.spec(f"prefrl/{name}-v0")
    assert spec.max_episode_steps == horizon
    assert spec.kwargs["fps"] == fps
    assert spec.kwargs["fps"] * spec.kwargs["segment_seconds"] == segment


def test_the_metadata_says_what_the_spec_says() -> None:
    metadata = task("Hopper").metadata
    assert (metadata["render_fps"], metadata["segment_seconds"]) == (40, 1.5)
    assert "rgb_array" in metadata["render_modes"]


def test_every_registered_task_is_in_the_table() -> None:
    assert {f"prefrl/{name}-v0" for name in [*TABLE, *PIXELS, *find_games()]} == {
        env_id for env_id in gym.registry if env_id.startswith("prefrl/")
    }


@pytest.mark.parametrize("name", TABLE)
def test_a_task_repeats_with_its_seed(name: str) -> None:
    def play() -> list[Any]:
        with task(name) as env:
            env.action_space.seed(7)
            first, _ = env.reset(seed=7)
            steps = [env.step(env.action_space.sample()) for _ in range(20)]
            return [first.tolist(), *((obs.tolist(), reward) for obs, reward, *_ in steps)]

    assert play() == play()


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.filterwarnings("ignore:.*is different from the unwrapped version", "ignore:.*Box observation space m")
@pytest.mark.filterwarnings("ignore:.*recommend using a symmetric and normalized space")
def test_a_task_passes_gymnasiums_own_check(name: str) -> None:
    check_env(task(name), skip_render_check=True)  # rendering needs a graphics driver


def test_a_task_takes_the_options_of_its_model() -> None:
    with gym.make("prefrl/Reacher-v0", render_mode="rgb_array", width=64, height=48) as env:
        assert env.render_mode == "rgb_array"


def test_compiling_the_models_says_nothing(tmp_path) -> None:
    code = f"import sys; sys.path = {sys.path!r}; import gymnasium, prefrl_envs\n"
    code += f"for name in {list(TABLE)}: gymnasium.make(f'prefrl/{{name}}-v0').close()"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=tmp_path, check=True)
    assert (run.stdout, run.stderr, os.listdir(tmp_path)) == (b"", b"", [])


def test_importing_the_tasks_needs_no_mujoco() -> None:
    code = f"import sys; sys.path = {sys.path!r}; import prefrl_envs; print('mujoco' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).stdout == b"False\n"


class Countdown(gym.Env[Any, Any]):
    """Ends after so many steps; each pays its number and observes it."""

    observation_space = Box(0, 1000, (1,), np.float32)
    action_space = Discrete(2)

    def __init__(self, steps: int, truncates: bool) -> None:
        self.steps, self.truncates = steps, truncates

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.at = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.at < self.steps, "stepped after its end"
        self.at += 1
        over = self.at == self.steps
        return np.full(1, self.at, np.float32), self.at, over and not self.truncates, over and self.truncates, {}


def play(env: gym.Env[Any, Any]) -> list[tuple[float, float, bool, bool]]:
    env.reset(seed=0)
    steps = []
    while not steps or not any(steps[-1][2:]):
        obs, reward, terminated, truncated, _ = env.step(0)
        steps.append((float(obs[0]), float(reward), terminated, truncated))
    return steps


@given(ends=st.integers(1, 12), horizon=st.integers(1, 12), truncates=st.booleans())
def test_every_episode_of_a_fixed_horizon_has_its_length(ends: int, horizon: int, truncates: bool) -> None:
    env = FixedHorizon(Countdown(ends, truncates), horizon)
    for _ in range(2):
        assert [end for *_, end in play(env)] == [False] * (horizon - 1) + [True]
        assert not any(terminated for _, _, terminated, _ in play(env))


@given(ends=st.integers(1, 12), horizon=st.integers(1, 12))
def test_after_its_end_an_episode_stands_still_and_pays_nothing(ends: int, horizon: int) -> None:
    steps = play(FixedHorizon(Countdown(ends, False), horizon))
    assert [obs for obs, *_ in steps] == [min(at, ends) for at in range(1, horizon + 1)]
    assert [reward for _, reward, *_ in steps] == [at if at <= ends else 0 for at in range(1, horizon + 1)]


def test_who_changes_what_a_step_gave_does_not_change_the_next() -> None:
    env = FixedHorizon(Countdown(1, False), 3)
    env.reset(seed=0)
    env.step(0)
    for _ in range(2):
        obs, *_, info = env.step(0)
        assert (obs, info) == (1, {})
        obs[:], info["seen"] = 9, True


@pytest.mark.filterwarnings("ignore:.*is different from the unwrapped version", "ignore:.*Not able to test alternative")
def test_a_fixed_horizon_passes_gymnasiums_own_check() -> None:
    check_env(FixedHorizon(Countdown(1, False), 5))


def test_a_horizon_of_no_step_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one step"):
        FixedHorizon(Countdown(1, False), 0)

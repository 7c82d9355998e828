"""Atari games against the emulator itself, ale-py's own environments and Stable-Baselines3's wrappers."""

import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ale_py
import gymnasium as gym
import numpy as np
import pytest
from ale_py.vector_env import AtariVectorEnv
from gymnasium.spaces import Box
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3.common.atari_wrappers import AtariWrapper
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack

from prefrl_envs import atari, games
from prefrl_envs.atari import Atari, AtariVector
from prefrl_envs.games import GAMES, find_games

SHOWN: dict[str, Any] = {"fps": 15, "segment_seconds": 25 / 15}
SHORT = [game if game in {"Breakout", "Pong"} else pytest.param(game, marks=pytest.mark.slow) for game in GAMES]
OTHERS = sorted(set(find_games()) - set(GAMES))


class Waits:
    """Says how long a game waits before it starts, in place of a random generator."""

    def __init__(self, noops: Iterator[int]) -> None:
        self.noops = noops

    def integers(self, below: int) -> int:
        noops = next(self.noops)
        assert noops < below
        return noops


def waiting(game: str, noops: Iterator[int], **options: Any) -> Atari:
    """Until its first reset with a seed; till then the emulator's own seed is 0."""
    env = Atari(game, **SHOWN, **options)
    env.np_random = Waits(noops)  # type: ignore[assignment]
    return env


def at_once(game: str, **options: Any) -> Atari:
    return waiting(game, itertools.repeat(0), **options)


def random_actions(n: int, steps: int, envs: int = 1) -> NDArray[np.int64]:
    """(steps, envs): each is held for some steps, so that balls are hit."""
    rng = np.random.default_rng(1)
    return np.repeat(rng.integers(n, size=(steps // 3 + 1, envs)), 3, axis=0)[:steps]


def reference(game: str, envs: int = 1, **options: Any) -> AtariVectorEnv:
    same = {"autoreset_mode": AutoresetMode.SAME_STEP, "reward_clipping": False, "use_fire_reset": False}
    return AtariVectorEnv(GAMES[game].rom, envs, num_threads=1, **same | options)


def emulator(game: str, skip: int) -> ale_py.ALEInterface:
    ale = ale_py.ALEInterface()
    ale.setInt("random_seed", 0)
    ale.setFloat("repeat_action_probability", 0.0)
    ale.setInt("frame_skip", skip)
    file = ale_py.roms.get_rom_path(GAMES[game].rom)
    assert file is not None
    ale.loadROM(file)
    return ale


@pytest.mark.parametrize("game", SHORT)
def test_one_game_equals_ale_pys_own_vector_over_two_ends(game: str) -> None:
    theirs = reference(game)
    shown, info = theirs.reset(seed=0)
    frames, rewards, ends, waits = [shown[0]], [], [], [int(info["episode_frame_number"][0])]
    actions = random_actions(theirs.single_action_space.n, 9_000)
    for action in actions:
        shown, paid, terminated, truncated, info = theirs.step(action)
        frames.append(shown[0])
        rewards.append(float(paid[0]))
        ends.append(bool(terminated[0] or truncated[0]))
        if ends[-1]:
            waits.append(int(info["episode_frame_number"][0]))
        if len(waits) == 3:
            break
    assert len(waits) == 3
    env = waiting(game, iter(waits), show_score="all")
    obs, _ = env.reset()
    np.testing.assert_array_equal(obs, frames[0])
    for step, (action, reward, end) in enumerate(zip(actions, rewards, ends, strict=False)):
        obs, _, _, _, info = env.step(action[0])
        np.testing.assert_array_equal(obs, frames[step + 1])
        assert (info["score"], info["over"]) == (reward, end)


@pytest.mark.parametrize("game", SHORT)
def test_many_games_equal_ale_pys_own_vector_but_for_what_is_hidden(game: str) -> None:
    ours, theirs = AtariVector(game, 2, **SHOWN), reference(game, 2)
    hidden = np.zeros((84, 84), bool)
    for rows, columns in GAMES[game].hidden(84, 84):
        hidden[rows, columns] = True
    obs, _ = ours.reset(seed=7)
    shown, _ = theirs.reset(seed=7)
    overs = 0
    for actions in random_actions(theirs.single_action_space.n, 250, envs=2):
        np.testing.assert_array_equal(obs, np.where(hidden, 0, shown))
        obs, rewards, terminated, truncated, info = ours.step(actions)
        shown, paid, *ends, _ = theirs.step(actions)
        np.testing.assert_array_equal(info["score"], paid)
        np.testing.assert_array_equal(info["over"], np.logical_or(*ends))
        np.testing.assert_array_equal(rewards, np.sign(paid) - GAMES[game].penalty * info["over"])
        assert not terminated.any() and not truncated.any()
        overs += int(info["over"].sum())
    assert overs or game != "Breakout"  # the others last longer


@pytest.mark.parametrize("game", SHORT)
def test_the_truth_of_a_game_is_what_the_emulator_alone_pays(game: str) -> None:
    env, ale = at_once(game), emulator(game, skip=4)
    env.reset()
    ale.reset_game()
    legal = ale.getMinimalActionSet()
    over, total, last = False, 0.0, 0.0
    for action in random_actions(len(legal), 9_000)[:, 0]:
        _, reward, *_, info = env.step(action)
        assert info["score"] == ale.act(legal[action])
        assert info["over"] == ale.game_over()
        total, last, over = total + info["score"], reward, info["over"]
        if over:
            break
        assert reward == np.sign(info["score"])
    assert over and (total != 0 or game == "Enduro")
    assert last == (np.sign(info["score"]) if game == "Pong" else np.sign(info["score"]) - 1)


class Grey(gym.ObservationWrapper[Any, Any, Any]):
    """Says its grey in three colours: the wrappers take the brighter of two frames by colour, the emulators by grey."""

    observation_space = Box(0, 255, (210, 160, 3), np.uint8)

    def observation(self, observation: Any) -> Any:
        return np.repeat(observation[..., None], 3, axis=-1)


@pytest.mark.parametrize("game", SHORT)
def test_a_game_equals_stable_baselines_wrappers_until_it_is_over(game: str) -> None:
    def wrapped() -> gym.Env[Any, Any]:
        env = gym.make(f"ALE/{game}-v5", frameskip=1, repeat_action_probability=0.0, obs_type="grayscale")
        return AtariWrapper(Grey(env), noop_max=0, terminal_on_life_loss=False)

    theirs = VecFrameStack(DummyVecEnv([wrapped]), 4, channels_order="last")
    theirs.reset()
    env = at_once(game, show_score="all")
    env.reset()
    for fire in (1, 2):  # the wrappers press these at every reset, and forget the frames before
        env.step(np.int64(fire))
    step = 0
    for step, action in enumerate(random_actions(len(env.ale.getMinimalActionSet()), 400)[:, 0], start=1):
        frames, rewards, overs, _ = theirs.step(np.array([action]))
        obs, reward, *_, info = env.step(action)
        assert info["over"] == overs[0]
        if info["over"]:
            break
        assert reward == rewards[0]
        if step >= 3:
            np.testing.assert_array_equal(obs, np.moveaxis(frames[0], -1, 0))
    assert step > 100


def test_nobody_sees_the_reset_when_a_game_ends() -> None:
    env = at_once("Breakout")
    first, _ = env.reset()
    assert not first[:3].any() and first[3].any()
    infos, obs = [], first
    while not any(info["over"] for info in infos):
        obs, _, terminated, truncated, info = env.step(np.int64(env.action_space.sample()))
        infos.append(info)
        assert not terminated and not truncated
    np.testing.assert_array_equal(obs, first)
    assert [*info] == ["score", "over"]


def test_a_lost_life_changes_nothing() -> None:
    env = at_once("Breakout")
    env.reset()
    before, lost = env.ale.lives(), []
    for action in [1, *[0] * 100] * 2:
        _, reward, *_, info = env.step(np.int64(action))
        lost.append(env.ale.lives() < before)
        assert (reward, info) == (0.0, {"score": 0.0, "over": False})
    assert any(lost)


@pytest.mark.parametrize(("limit", "steps"), [(100, 25), (101, 26), (104, 26)])
def test_an_episode_ends_at_its_last_frame_as_if_the_game_were_over(
    monkeypatch: pytest.MonkeyPatch, limit: int, steps: int
) -> None:
    assert atari.LONGEST == 108_000
    monkeypatch.setattr(atari, "LONGEST", limit)
    env, many = Atari("Breakout", **SHOWN), AtariVector("Breakout", 2, **SHOWN)
    env.reset(seed=0)
    many.reset(seed=0)
    for step in range(1, 2 * steps + 1):
        _, reward, *_, info = env.step(np.int64(0))
        _, rewards, *_, infos = many.step(np.zeros(2, int))
        assert info["over"] == (step % steps == 0)
        assert infos["over"].tolist() == [info["over"]] * 2
        assert rewards.tolist() == [reward] * 2 == [-float(info["over"])] * 2


def test_a_game_starts_after_fewer_than_30_frames_of_waiting() -> None:
    env = Atari("Pong", **SHOWN)
    env.reset(seed=0)
    waits = [env.reset() and env.ale.getEpisodeFrameNumber() for _ in range(60)]
    assert min(waits) >= 0 and max(waits) < 30
    assert len(set(waits)) > 20


def test_the_same_seed_and_actions_give_the_same_play() -> None:
    def play(envs: int, seed: int, chosen: slice) -> list[Any]:
        many = AtariVector("Pong", envs, **SHOWN)
        seen = [many.reset(seed=seed)[0][chosen].tobytes()]
        for actions in random_actions(3, 20, 3):
            obs, rewards, *_ = many.step(actions[:envs] if envs > 1 else actions[2:])
            seen += [obs[chosen].tobytes(), rewards[chosen].tobytes()]
        return seen

    everything = play(3, 10, slice(None))
    assert everything == play(3, 10, slice(None)) != play(3, 11, slice(None))
    assert play(3, 10, slice(2, 3)) == play(1, 12, slice(None))  # game 2 has seed 10 + 2


def test_one_game_repeats_with_its_seed() -> None:
    def play(seed: int) -> list[bytes]:
        env = Atari("Breakout", **SHOWN)
        obs, _ = env.reset(seed=seed)
        return [obs.tobytes(), *(env.step(action)[0].tobytes() for action in random_actions(4, 100)[:, 0])]

    assert play(5) == play(5) != play(6)


@pytest.mark.parametrize("make", [Atari, lambda game, **shown: AtariVector(game, 2, **shown)])
def test_an_observation_stays_as_it_was_when_the_games_go_on(make: Any) -> None:
    env = make("Breakout", **SHOWN)
    seen = [env.reset(seed=0)[0]]
    copies = [seen[0].copy()]
    for _ in range(40):
        seen.append(env.step(np.ones_like(env.action_space.sample()))[0])
        copies.append(seen[-1].copy())
    np.testing.assert_array_equal(seen, copies)


@pytest.mark.parametrize("game", SHORT)
def test_a_game_is_made_by_its_id_alone_and_at_once(game: str) -> None:
    with gym.make(f"prefrl/{game}-v0", render_mode="rgb_array") as env:
        obs, info = env.reset(seed=0)
        assert env.observation_space.contains(obs)
        assert info == {"score": 0.0, "over": False}
        assert env.metadata["continuing"] and env.metadata["render_fps"] == 15
        assert env.metadata["render_fps"] * env.metadata["segment_seconds"] == pytest.approx(25)
        assert env.metadata["instructions"]["question"]
        spec = env.spec
    assert spec and spec.max_episode_steps is None
    many = gym.make_vec(f"prefrl/{game}-v0", num_envs=2)
    obs, info = many.reset(seed=0)
    assert isinstance(many.unwrapped, AtariVector)
    assert many.observation_space.contains(obs) and obs.shape == (2, 4, 84, 84)
    assert [value.tolist() for value in info.values()] == [[0.0, 0.0], [False, False]]
    assert many.metadata["continuing"]


def test_gymnasium_finds_no_fault_with_a_game() -> None:
    with gym.make("prefrl/Pong-v0", render_mode="rgb_array") as env:
        check_env(env.unwrapped)


@pytest.mark.parametrize(
    ("game", "options", "message"),
    [
        ("Pong", {"show_score": "some"}, "show_score is 'some': give one of nobody, people, all"),
        ("Pongs", {}, "there is no game 'Pongs'"),
        ("Combat", {"show_score": "all"}, "there is no game 'Combat'"),
        ("Tennis", {}, "nobody has said where Tennis shows its score, so a reward could be read off it.*--show-score"),
        ("Tennis", {"show_score": "people"}, "nobody has said where Tennis shows its score"),
    ],
)
def test_what_cannot_be_played_is_refused_in_a_line(game: str, options: dict[str, Any], message: str) -> None:
    for make in (lambda: Atari(game, **SHOWN, **options), lambda: AtariVector(game, 2, **SHOWN, **options)):
        with pytest.raises(ValueError, match=message) as error:
            make()
        assert "\n" not in str(error.value)


def test_games_that_are_played_at_once_are_not_rendered() -> None:
    with pytest.raises(ValueError, match="render_mode=None"):
        AtariVector("Pong", 2, **SHOWN, render_mode="rgb_array")


def test_a_missing_rom_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ALE_ROMS_DIR", str(tmp_path))
    for make in (lambda: Atari("Pong", **SHOWN), lambda: AtariVector("Pong", 2, **SHOWN)):
        with pytest.raises(FileNotFoundError, match="file of pong is missing or damaged: install ale-py again"):
            make()


@pytest.mark.parametrize("package", ["ale_py", "cv2"])
def test_a_missing_package_is_told_in_a_line(package: str) -> None:
    code = (
        "import sys, gymnasium, prefrl_envs\n"
        f"sys.modules[{package!r}] = None\n"
        "try: gymnasium.make('prefrl/Pong-v0')\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == 'Atari needs ale-py and OpenCV: pip install "prefrl[atari]"\n'


def test_without_ale_py_the_papers_seven_are_still_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(games, "find_spec", lambda name: None)
    assert find_games() == GAMES


def test_importing_the_tasks_loads_no_emulator() -> None:
    code = "import sys, prefrl_envs; print({'ale_py', 'cv2'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.slow
def test_every_other_game_plays_with_its_score_in_sight() -> None:
    assert len(OTHERS) > 90
    for game in OTHERS:
        with gym.make(f"prefrl/{game}-v0", show_score="all", render_mode="rgb_array") as env:
            env.reset(seed=0)
            obs, *_ = env.step(0)
            assert env.observation_space.contains(obs)
            picture: Any = env.render()
            assert picture.shape[1:] == (160, 3)  # some games are higher than 210

import subprocess
import sys
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiBinary

from prefrl.control.environments import describe, findings, inspect, make, sees_frames
from prefrl_envs import FixedHorizon
from tests import tiny_pixels
from tests.tiny_envs import HORIZON, Dot, VariableLength

TINY, PIXELS = "tests.tiny_envs", tiny_pixels.__name__


class Bare(gym.Wrapper[Any, Any, Any, Any]):
    """A dot that states nothing about its pictures."""

    metadata: ClassVar[dict[str, Any]] = {}


class Unseeded(gym.Wrapper[Any, Any, Any, Any]):
    def reset(self, **_: Any) -> tuple[Any, dict[str, Any]]:
        return super().reset(seed=None)


class WrongShape(Dot):
    observation_space = Box(-1, 1, (3,), np.float32)


class RaisesAtReset(Dot):
    def reset(self, **_: Any) -> Any:
        raise OSError("no display\nat :0")


class OldStep(Dot):
    """The step of OpenAI's gym, with one `done`."""

    def step(self, action: Any) -> Any:
        return super().step(action)[1:]


class FromOne(Dot):
    action_space = Discrete(2, start=1)


class Switches(Dot):
    action_space = MultiBinary(2)


class Worst(VariableLength):
    metadata: ClassVar[dict[str, Any]] = {}
    action_space = Box(-np.inf, np.inf, (2,), np.float32)

    def reset(self, **_: Any) -> tuple[Any, dict[str, Any]]:
        return super().reset(seed=None)


def always_terminates() -> gym.Env[Any, Any]:
    class Terminates(gym.Wrapper[Any, Any, Any, Any]):
        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            obs, reward, _, truncated, info = self.env.step(action)
            return obs, float(reward), truncated, False, info

    return Terminates(FixedHorizon(Dot(), HORIZON))


def needs_a_file() -> gym.Env[Any, Any]:
    raise FileNotFoundError("level.txt")


def wordy() -> gym.Env[Any, Any]:
    raise ValueError("give it a level:\n  there are three\n")


gym.register("Bare-v0", lambda: Bare(Dot()), max_episode_steps=HORIZON)
gym.register("LongBare-v0", lambda: Bare(Dot()), max_episode_steps=200)
gym.register("FixedCartPole-v0", lambda: FixedHorizon(gym.make("CartPole-v1"), 100))
gym.register("Unseeded-v0", lambda: Unseeded(Dot()), max_episode_steps=HORIZON)
gym.register("WrongShape-v0", WrongShape, max_episode_steps=HORIZON)
gym.register("RaisesAtReset-v0", RaisesAtReset, max_episode_steps=HORIZON)
gym.register("OldStep-v0", OldStep, max_episode_steps=HORIZON, order_enforce=False)
gym.register("FromOne-v0", FromOne, max_episode_steps=HORIZON)
gym.register("Switches-v0", Switches, max_episode_steps=HORIZON)
gym.register("Worst-v0", lambda: Worst(Dot()), max_episode_steps=HORIZON)
gym.register("AlwaysTerminates-v0", always_terminates)
gym.register("NeedsAFile-v0", needs_a_file)
gym.register("Wordy-v0", wordy)
gym.register("Endless-v0", Dot)
gym.register("Long-v0", Dot, max_episode_steps=12_345)


@pytest.mark.parametrize("env_id", ["Pendulum-v1", "prefrl/Reacher-v0", f"{TINY}:Dot-v0", f"{TINY}:dot"])
def test_an_environment_is_made_by_id_by_module_and_id_or_by_factory(env_id: str) -> None:
    with make(env_id) as env:
        assert env.reset(seed=0)[0] in env.observation_space


def test_options_reach_the_environment() -> None:
    with make(f"{TINY}:Dot-v0", render_mode="rgb_array") as env:
        env.reset(seed=0)
        frame: Any = env.render()
    assert frame.shape == (32, 32, 3)


def test_a_module_in_the_current_folder_is_found(tmp_path, monkeypatch) -> None:
    (tmp_path / "my_own_envs.py").write_text("from tests.tiny_envs import dot as mine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert inspect("my_own_envs:mine").horizon == HORIZON


@pytest.mark.parametrize(
    ("env_id", "words"),
    [
        ("prefrl/HalfCheeta-v0", "no environment 'prefrl/HalfCheeta-v0': did you mean 'prefrl/HalfCheetah-v0'?"),
        (f"{TINY}:Dott-v0", "did you mean 'tests.tiny_envs:Dot-v0'?"),
        (f"{TINY}:dott", "did you mean 'tests.tiny_envs:dot'?"),
        (f"{TINY}:HORIZON", "no environment 'tests.tiny_envs:HORIZON'"),
        ("no_such_module:Dot-v0", "No module named 'no_such_module'"),
        ("NeedsAFile-v0", "'NeedsAFile-v0' cannot be made: FileNotFoundError: level.txt"),
        ("os:getcwd", "it gave a str, not a gymnasium.Env"),
        ("ALE/Pong-v5", "ALE/Pong-v5 is the bare game, its score in sight: train on prefrl/Pong-v0, which is prepared"),
        ("ALE/Pong-ram-v5", "train on prefrl/Pong-v0, which is prepared"),
        ("ALE/SpaceInvaders-v5", "train on prefrl/SpaceInvaders-v0"),
        ("ale_py:SpaceInvadersNoFrameskip-v4", "train on prefrl/SpaceInvaders-v0"),
        ("ale_py:Pong-v0", "Pong-v0 is the bare game"),
        ("Wordy-v0", "'Wordy-v0' cannot be made: give it a level: there are three"),
    ],
)
def test_a_name_that_makes_no_environment_is_refused_in_one_line(env_id: str, words: str) -> None:
    with pytest.raises(ValueError) as refusal:
        make(env_id)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("package", "env_id", "words"),
    [
        ("mujoco", "prefrl/Hopper-v0", 'MuJoCo is not installed: pip install "prefrl[mujoco]"'),
        ("ale_py", "prefrl/Pong-v0", 'Atari needs ale-py and OpenCV: pip install "prefrl[atari]"'),
    ],
)
def test_the_extra_to_install_is_named_where_a_package_is_missing(package: str, env_id: str, words: str) -> None:
    code = f"""
import sys
sys.path = {sys.path!r}
sys.modules["{package}"] = None
from prefrl.control.environments import make
try:
    make("{env_id}")
except ValueError as refusal:
    print(refusal)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert run.stdout.decode().strip() == f"environment '{env_id}' cannot be made: {words}"


@pytest.mark.parametrize("env_id", [f"{TINY}:Dot-v0", "prefrl/Hopper-v0"])
def test_an_environment_without_a_score_is_not_asked_to_show_it(env_id: str) -> None:
    with pytest.raises(ValueError, match=r"cannot be made: it has no score to show: leave out --show-score$"):
        make(env_id, show_score="people")


def test_a_game_whose_score_nobody_has_hidden_is_refused_in_one_line() -> None:
    pytest.importorskip("ale_py")
    with pytest.raises(ValueError, match=r"'prefrl/Tennis-v0' cannot be made: nobody .* pass --show-score") as refusal:
        make("prefrl/Tennis-v0")
    assert "\n" not in str(refusal.value)


def test_whether_an_environment_is_observed_as_frames_is_found_without_playing() -> None:
    assert sees_frames(f"{PIXELS}:Unseen-v0")
    assert not sees_frames(f"{TINY}:Dot-v0")


def test_a_game_that_is_only_made_with_its_score_in_sight_is_observed_as_frames() -> None:
    pytest.importorskip("ale_py")
    assert sees_frames("prefrl/Tennis-v0", show_score="all")


def test_inspection_finds_what_training_needs() -> None:
    facts = inspect(f"{TINY}:Dot-v0")
    assert facts.observation_space == Box(-1, 1, (2,), np.float32)
    assert facts.action_space == Box(-1, 1, (2,), np.float32)
    assert (facts.horizon, facts.varies) == (20, False)
    assert (facts.segment_length, facts.fps, facts.renders) == (5, 10, True)


def test_a_segment_of_a_task_lasts_as_long_as_the_paper_says() -> None:
    facts = inspect("prefrl/InvertedPendulum-v0")
    assert (facts.horizon, facts.fps, facts.segment_length) == (25, 10, 15)


def test_without_metadata_half_an_episode_is_a_segment_and_takes_one_and_a_half_seconds() -> None:
    facts = inspect("Bare-v0")
    assert (facts.segment_length, facts.fps, facts.renders) == (10, 7, False)


def test_without_metadata_no_segment_is_longer_than_fifty_steps() -> None:
    assert inspect("LongBare-v0").segment_length == 50


def test_the_users_segment_length_counts() -> None:
    assert inspect(f"{TINY}:Dot-v0", segment_length=HORIZON).segment_length == HORIZON


def test_a_stated_horizon_is_believed_without_playing_it_out() -> None:
    assert inspect("Long-v0").horizon == 12_345


def test_episodes_may_end_unseen() -> None:
    """Their lengths then tell nobody about the reward; the horizon is their mean length."""
    facts = inspect(f"{PIXELS}:Unseen-v0")
    assert (facts.continuing, facts.varies, facts.frames, facts.segment_length) == (True, False, True, 5)
    assert 8 < facts.horizon < 12


def test_a_segment_fits_into_every_episode_that_ends_unseen() -> None:
    assert inspect(f"{PIXELS}:Unseen-v0", segment_length=8).segment_length == 8
    with pytest.raises(ValueError, match="a segment of 12 steps does not fit into an episode of 8"):
        inspect(f"{PIXELS}:Unseen-v0", segment_length=12)


def test_ends_that_are_unseen_are_a_good_finding() -> None:
    found = {finding.name: finding for finding in findings(f"{PIXELS}:Unseen-v0")}
    assert found["horizon"].words == "episodes end after 8 to 12 steps, unseen by the policy"
    assert [name for name, finding in found.items() if not finding.ok] == ["render mode"]


def test_vectors_are_no_frames() -> None:
    facts = inspect(f"{TINY}:Dot-v0")
    assert (facts.continuing, facts.frames) == (False, False)


def test_discrete_actions_are_taken() -> None:
    facts = inspect("FixedCartPole-v0")
    assert (facts.action_space, facts.horizon, facts.varies) == (Discrete(2), 100, False)


def test_inspection_leaves_no_environment_open(monkeypatch) -> None:
    closed = []
    monkeypatch.setattr(Dot, "close", lambda self: closed.append(self))
    inspect(f"{TINY}:Dot-v0")
    with pytest.raises(ValueError):
        inspect(f"{TINY}:VariableLength-v0")
    assert len(closed) == 2


REFUSED = [
    ("DictObs-v0", "observations must be a Box, not Dict: flatten them with gymnasium.wrappers.FlattenObservation"),
    ("UnboundedActions-v0", "actions have no bounds.*give the Box a finite low and high"),
    ("Switches-v0", "actions must be a bounded Box or Discrete, not MultiBinary"),
    ("FromOne-v0", "actions are numbered from 1: number them from 0"),
    (
        "VariableLength-v0",
        r"episodes terminate after \d+ to 20 steps, and an early end would tell the policy about the reward: "
        r"wrap it in prefrl_envs.FixedHorizon\(env, horizon\) or pass --allow-variable-horizon",
    ),
    ("AlwaysTerminates-v0", "episodes terminate after 20 steps, and an early end"),
    ("Endless-v0", "did not end within 10000 steps: register it with max_episode_steps or wrap it in .*FixedHorizon"),
    ("NaNReward-v0", "step 8 of the episode with seed 0 paid nan: a reward must be finite"),
    ("InfiniteObs-v0", "step 8 of the episode with seed 0 observed nan or infinity"),
    ("Raises-v0", "step 8 of the episode with seed 0 raised RuntimeError: the simulator is gone"),
    ("RaisesAtReset-v0", r"reset\(seed=0\) raised OSError: no display at :0"),
    ("OldStep-v0", "step 1 of the episode with seed 0 raised ValueError: not enough values to unpack"),
    ("Memory-v0", r"observations of 128 bytes are a console's memory, not what a person sees: observe frames"),
    ("Flat-v0", r"observations of shape \(84, 84\) are no frames: bytes must be frames \(n, H, W\) or \(H, W, n\)"),
    ("Dim-v0", r"observations of shape \(4, 84, 84\) are no frames: .*, from 0 to 255"),
    ("Small-v0", r"frames of shape \(4, 35, 84\) are too small for the policy's network: give 36x36 or more"),
    ("LastSmall-v0", r"frames of shape \(84, 35, 4\) are too small"),
    ("WrongShape-v0", r"observed the shape \(2,\): observation_space says \(3,\)"),
]


@pytest.mark.parametrize(("env_id", "words"), REFUSED)
def test_an_environment_that_cannot_be_trained_on_is_refused_with_reason_and_cure(env_id: str, words: str) -> None:
    with pytest.raises(ValueError, match=f"^environment '{env_id}': .*{words}") as refusal:
        inspect(env_id)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("length", [0, 21, 1000])
def test_a_segment_that_does_not_fit_into_an_episode_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=f"segment of {length} steps .* episode of 20: choose 1 to 20 steps"):
        inspect(f"{TINY}:Dot-v0", segment_length=length)


def test_what_an_environment_raised_is_kept_as_the_cause() -> None:
    with pytest.raises(ValueError) as refusal:
        inspect("Raises-v0")
    assert isinstance(refusal.value.__cause__, RuntimeError)


def test_a_variable_horizon_is_admitted_if_asked_for() -> None:
    facts = inspect("VariableLength-v0", allow_variable_horizon=True)
    assert (facts.horizon, facts.varies) == (20, True)


@pytest.mark.parametrize("env_id", ["NaNRewardLater-v0", "InfiniteObsLater-v0", "RaisesLater-v0"])
def test_what_goes_wrong_later_passes_inspection(env_id: str) -> None:
    assert inspect(env_id).horizon == HORIZON


@pytest.mark.parametrize("env_id", ["Dot-v0", "prefrl/Reacher-v0"])
def test_a_good_environment_has_no_bad_finding(env_id: str) -> None:
    found = findings(env_id)
    assert all(finding.ok for finding in found), describe(found)
    names = "observations, actions, stepping, horizon, seeding, segments, render mode, frame rate"
    assert ", ".join(finding.name for finding in found) == names


@pytest.mark.parametrize(("env_id", "words"), REFUSED)
def test_findings_hold_whatever_is_refused(env_id: str, words: str) -> None:
    with pytest.raises(ValueError) as refusal:
        inspect(env_id)
    bad = [finding.words for finding in findings(env_id) if finding.needed and not finding.ok]
    assert str(refusal.value) == f"environment '{env_id}': {bad[0]}"


def test_an_environment_that_ignores_its_seed_is_found_out() -> None:
    assert [finding.name for finding in findings("Unseeded-v0") if not finding.ok] == ["seeding"]


def test_findings_do_not_stop_at_the_first() -> None:
    found = findings("Worst-v0")
    refused = [finding.name for finding in found if not finding.ok and finding.needed]
    missing = [finding.name for finding in found if not finding.ok and not finding.needed]
    assert refused == ["actions", "horizon"]
    assert missing == ["seeding", "render mode", "frame rate"]


def test_findings_are_described_one_in_a_line() -> None:
    lines = describe(findings("Bare-v0")).splitlines()
    assert len(lines) == 8
    assert lines[3] == "ok       horizon: episodes end after 20 steps"
    assert lines[6].startswith("missing  render mode: there is nothing to show to people")

"""Environments by name, and whether preferences can be learned in them."""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from itertools import islice
from statistics import mean
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.utils.env_checker import data_equivalence
from stable_baselines3.common.preprocessing import is_image_space

from prefrl.control.camera import has_model
from prefrl.names import import_module, unknown
from prefrl_envs import SEGMENT_SECONDS

Env = gym.Env[Any, Any]

EPISODES = 10
"""Random episodes that are looked at: enough for lengths that vary to be seen to vary."""
STEPS = 3_000
"""After as many steps no further episode is begun: a fraction of a second on MuJoCo."""
LIMIT = 10_000
"""An episode that is longer than this, and states no length, is taken to have no end."""
SMALLEST = 36
"""Pixels of a side that the convolutions of SB3's network for frames need."""
STEPS_WITHOUT_FPS = 50
"""Length of a segment where no frame rate says what 1.5 s are: within the paper's 15 to 60 steps."""


def make(env_id: str, **options: Any) -> Env:
    """The environment called `id`, `module:id` or `module:factory`; the module is imported, and may register ids."""
    place, _, name = env_id.rpartition(":")
    factories = vars(import_module(place)) if place else {}
    if game := _bare_game(name):
        raise ValueError(f"{name} is the bare game, its score in sight: train on prefrl/{game}-v0, which is prepared")
    if name not in gym.registry and not callable(factories.get(name)):
        known = [env_id.removesuffix(name) + other for other in [*factories, *gym.registry]]
        raise unknown("environment", env_id, known)
    try:
        if name in gym.registry:
            return gym.make(name, disable_env_checker=True, **options)
        return _called(factories[name], options)
    except Exception as error:
        words = " ".join(str(error).split()) if isinstance(error, ValueError | ImportError) else _one_line(error)
        if isinstance(error, gym.error.DependencyNotInstalled) and "mujoco" in words.lower():
            words = 'MuJoCo is not installed: pip install "prefrl[mujoco]"'
        if isinstance(error, TypeError) and "show_score" in words:
            words = "it has no score to show: leave out --show-score"
        raise ValueError(f"environment {env_id!r} cannot be made: {words}") from error


def _bare_game(name: str) -> str:
    """Which game of ale-py's an id is, by any of the names that it has had; empty for all else."""
    if name.startswith("ALE/"):
        return name.removeprefix("ALE/").rpartition("-v")[0].removesuffix("-ram")
    spec = gym.registry.get(name)
    if spec is None or not str(spec.entry_point).startswith("ale_py"):
        return ""
    return "".join(part.capitalize() for part in str(spec.kwargs["game"]).split("_"))


@cache
def sees_frames(env_id: str, **options: Any) -> bool:
    """Whether an environment is observed as frames; nothing is played."""
    with closing(make(env_id, **options)) as env:
        return env.observation_space.dtype == np.uint8


@dataclass(frozen=True)
class EnvFacts:
    """What a run needs to know about its environment."""

    env_id: str
    observation_space: Box
    action_space: Box | Discrete
    horizon: int
    """Steps of an episode; of the longest that was seen if `varies`."""
    varies: bool
    """Episodes may end early, as the user allowed."""
    continuing: bool
    """Episodes have no end that the policy sees; `horizon` is their mean length under random actions."""
    segment_length: int
    """Steps of a segment."""
    fps: int
    """Steps that a labeller is shown per second."""
    renders: bool
    """There are frames to show."""
    drawn: bool
    """MuJoCo draws it later, from the states of its model."""
    instructions: dict[str, Any]
    """What labellers are told: `metadata["instructions"]`."""

    @property
    def frames(self) -> bool:
        """Observations are frames."""
        return self.observation_space.dtype == np.uint8


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    ok: bool
    words: str
    """What was found; if not `ok`, why it matters and how to mend it."""
    needed: bool = True
    """Training refuses an environment in which it is not `ok`."""
    cause: BaseException | None = None
    """What the environment raised."""


def inspect(
    env_id: str,
    *,
    segment_length: int | None = None,
    allow_variable_horizon: bool = False,
    options: Mapping[str, Any] | None = None,
) -> EnvFacts:
    """The facts of an environment in which preferences can be learned; for any other, a ValueError in one line.

    Plays a few episodes of random actions. `segment_length` is in steps; by default a segment lasts as many seconds
    as the environment's metadata says ("segment_seconds" at "render_fps" steps a second). `options`: what the
    environment is made with.
    """
    with closing(make(env_id, **(options or {}))) as env:
        _refuse(env_id, [_observations(env), _actions(env)])
        probe = _probe(env)
        _refuse(env_id, [_stepping(probe), _horizon(probe, allow_variable_horizon)])
        horizon = round(mean(probe.lengths)) if probe.continuing else max(probe.lengths)
        usual, fps = _segment_length(env, horizon), _fps(env, horizon)
        length = usual if segment_length is None else segment_length
        _refuse(env_id, [_segments(length, min(probe.lengths) if probe.continuing else horizon)])
        observations, actions = env.observation_space, env.action_space
        assert isinstance(observations, Box)
        assert isinstance(actions, Box | Discrete)
        told = dict(env.metadata.get("instructions") or {})
        drawn = has_model(env.unwrapped)
        varies = probe.varies and not probe.continuing
        return EnvFacts(
            env_id, observations, actions, horizon, varies, probe.continuing, length, fps, _renders(env), drawn, told
        )


def findings(env_id: str, **options: Any) -> list[Finding]:
    """What `inspect` would refuse, and what else it takes to repeat a run and to show it to people."""
    with closing(make(env_id, **options)) as env:
        probe = _probe(env)
        found = [_observations(env), _actions(env), _stepping(probe)]
        if not probe.trouble:
            found += [_horizon(probe), _seeding(env)]
        if probe.lengths and (probe.continuing or not probe.varies):
            found += [_segments(_segment_length(env, min(probe.lengths)), min(probe.lengths))]
        return [*found, _frames(env), _frame_rate(env)]


def describe(found: Iterable[Finding]) -> str:
    """A line for each finding."""
    return "\n".join(f"{_verdict(finding):7}  {finding.name}: {finding.words}" for finding in found)


def _refuse(env_id: str, found: Iterable[Finding]) -> None:
    for finding in found:
        if not finding.ok:
            raise ValueError(f"environment {env_id!r}: {finding.words}") from finding.cause


def _verdict(finding: Finding) -> str:
    if finding.ok:
        return "ok"
    return "refused" if finding.needed else "missing"


def _finding(name: str, flaw: str, fine: str, needed: bool = True, cause: BaseException | None = None) -> Finding:
    return Finding(name, not flaw, flaw or fine, needed, cause)


def _observations(env: Env) -> Finding:
    space = env.observation_space
    cure = "flatten them with gymnasium.wrappers.FlattenObservation(env)"
    flaw = (
        _flaw_of_bytes(space) if isinstance(space, Box) else f"observations must be a Box, not {_name(space)}: {cure}"
    )
    return _finding("observations", flaw, f"{_name(space)} of shape {space.shape}")


def _flaw_of_bytes(space: Box) -> str:
    """Why bytes cannot be frames for networks that look at pictures; empty if they can, or are no bytes."""
    if space.dtype != np.uint8:
        return ""
    shape = space.shape
    if len(shape) == 1:
        cure = "observe frames, or give float32 if they are numbers"
        return f"observations of {shape[0]} bytes are a console's memory, not what a person sees: {cure}"
    if not is_image_space(space):
        cure = "bytes must be frames (n, H, W) or (H, W, n), from 0 to 255"
        return f"observations of shape {shape} are no frames: {cure}"
    if sorted(shape)[1] < SMALLEST:
        return f"frames of shape {shape} are too small for the policy's network: give {SMALLEST}x{SMALLEST} or more"
    return ""


def _actions(env: Env) -> Finding:
    space, flaw = env.action_space, ""
    if not isinstance(space, Box | Discrete):
        cure = "translate them in a gymnasium.ActionWrapper"
        flaw = f"actions must be a bounded Box or Discrete, not {_name(space)}: {cure}"
    elif isinstance(space, Box) and not space.is_bounded():
        flaw = "actions have no bounds, so there is no scale to explore at: give the Box a finite low and high"
    elif isinstance(space, Discrete) and space.start != 0:
        flaw = f"actions are numbered from {space.start}: number them from 0"
    return _finding("actions", flaw, str(space) if isinstance(space, Discrete) else f"Box of shape {space.shape}")


def _stepping(probe: "_Probe") -> Finding:
    fine = f"{sum(probe.lengths)} random steps, all rewards and observations finite"
    cause = probe.trouble.__cause__ if probe.trouble else None
    return _finding("stepping", str(probe.trouble or ""), fine, cause=cause)


def _horizon(probe: "_Probe", allow_variable: bool = False) -> Finding:
    if not probe.lengths:
        cure = "register it with max_episode_steps or wrap it in prefrl_envs.FixedHorizon(env, horizon)"
        return _finding("horizon", f"an episode did not end within {LIMIT} steps: {cure}", "")
    low, high = min(probe.lengths), max(probe.lengths)
    span = f"{low} to {high}" if low < high else f"{low}"
    if probe.continuing:
        flaw = "it says that it is continuing, but tells its ends: return False, False, and the end in info['over']"
        return _finding("horizon", flaw if probe.told else "", f"episodes end after {span} steps, unseen by the policy")
    seen = f"episodes {'terminate' if probe.terminated else 'end'} after {span} steps"
    cure = "wrap it in prefrl_envs.FixedHorizon(env, horizon) or pass --allow-variable-horizon"
    flaw = f"{seen}, and an early end would tell the policy about the reward: {cure}"
    return _finding("horizon", flaw if probe.varies and not allow_variable else "", seen)


def _segments(length: int, horizon: int) -> Finding:
    cure = f"choose 1 to {horizon} steps with --segment-length"
    flaw = f"a segment of {length} steps does not fit into an episode of {horizon}: {cure}"
    return _finding("segments", "" if 1 <= length <= horizon else flaw, f"{length} steps")


def _seeding(env: Env) -> Finding:
    first, second = ([deepcopy(step) for step in islice(_play(env, seed=0), 100)] for _ in range(2))
    cure = "call super().reset(seed=seed) and draw from self.np_random alone"
    flaw = f"reset(seed=0) and the same actions gave another episode the second time: {cure}"
    same = data_equivalence(first, second, exact=True)
    return _finding("seeding", "" if same else flaw, "the same seed and actions give the same episode", needed=False)


def _frames(env: Env) -> Finding:
    flaw = 'there is nothing to show to people: render with "rgb_array" and list it in metadata["render_modes"]'
    return _finding("render mode", "" if _renders(env) else flaw, "rgb_array", needed=False)


def _frame_rate(env: Env) -> Finding:
    fps = env.metadata.get("render_fps")
    flaw = 'nothing says how long a step lasts: give metadata["render_fps"], the steps to show per second'
    return _finding("frame rate", "" if fps else flaw, f"{fps} steps a second", needed=False)


def _segment_length(env: Env, horizon: int) -> int:
    fps = env.metadata.get("render_fps")
    return round(_seconds(env) * fps) if fps else max(1, min(STEPS_WITHOUT_FPS, horizon // 2))


def _fps(env: Env, horizon: int) -> int:
    fps = env.metadata.get("render_fps") or _segment_length(env, horizon) / _seconds(env)
    return max(1, round(fps))


def _seconds(env: Env) -> float:
    return float(env.metadata.get("segment_seconds", SEGMENT_SECONDS))


def _renders(env: Env) -> bool:
    return "rgb_array" in env.metadata.get("render_modes", ())


class _Probe(NamedTuple):
    """What episodes of random actions showed."""

    lengths: list[int]
    """Empty if one did not end."""
    terminated: bool = False
    trouble: ValueError | None = None
    continuing: bool = False
    told: bool = False
    """An end was told to the policy."""

    @property
    def varies(self) -> bool:
        return self.terminated or len(set(self.lengths)) > 1


class _Step(NamedTuple):
    obs: Any
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False
    over: bool = False
    """An episode ended, hidden from the policy."""

    @property
    def last(self) -> bool:
        return self.terminated or self.truncated or self.over


def _probe(env: Env) -> _Probe:
    lengths: list[int] = []
    ends: list[_Step] = []
    continuing = bool(env.metadata.get("continuing"))
    while len(lengths) < EPISODES and sum(lengths) < STEPS:
        try:
            length, end = _last(_play(env, seed=len(lengths)))
        except ValueError as trouble:
            return _Probe([], trouble=trouble)
        if not end.last:
            length = (env.spec and env.spec.max_episode_steps) or (LIMIT if continuing else 0)
        if not length:
            return _Probe([])
        lengths.append(length)
        ends.append(end)
    terminated = any(end.terminated for end in ends)
    told = any(end.terminated or end.truncated for end in ends)
    return _Probe(lengths, terminated, continuing=continuing, told=told)


def _last(episode: Iterator[_Step]) -> tuple[int, _Step]:
    for at, step in enumerate(islice(episode, LIMIT + 1)):
        last = at, step
    return last


def _play(env: Env, seed: int) -> Iterator[_Step]:
    """The reset and the steps of an episode of random actions; a ValueError names the one that went wrong."""
    env.action_space.seed(seed)
    number, ended = 0, False
    while not ended:
        where = f"step {number} of the episode with seed {seed}" if number else f"reset(seed={seed})"
        try:
            step = _step(env) if number else _Step(env.reset(seed=seed)[0])
            flaw = _flaw(env, step)
        except Exception as error:
            raise ValueError(f"{where} raised {_one_line(error)}") from error
        if flaw:
            raise ValueError(f"{where} {flaw}")
        yield step
        number, ended = number + 1, step.last


def _step(env: Env) -> _Step:
    obs, reward, terminated, truncated, info = env.step(env.action_space.sample())
    if env.metadata.get("continuing") and not {"over", "score"} <= info.keys():
        raise ValueError("its info lacks 'over' and 'score', by which a continuing environment tells what it hides")
    return _Step(obs, float(reward), bool(terminated), bool(truncated), bool(info.get("over")))


def _flaw(env: Env, step: _Step) -> str:
    space = env.observation_space
    if not math.isfinite(step.reward):
        return f"paid {step.reward}: a reward must be finite"
    if isinstance(space, Box) and np.shape(step.obs) != space.shape:
        return f"observed the shape {np.shape(step.obs)}: observation_space says {space.shape}"
    if isinstance(space, Box) and not np.isfinite(step.obs).all():
        return "observed nan or infinity: an observation must be finite"
    return ""


def _called(factory: Any, options: dict[str, Any]) -> Env:
    env = factory(**options)
    if not isinstance(env, gym.Env):
        raise TypeError(f"it gave a {type(env).__name__}, not a gymnasium.Env")
    return env


def _name(space: gym.Space[Any]) -> str:
    return type(space).__name__


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())

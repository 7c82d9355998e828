"""A backflip, which no reward of the environment describes: 900 labels teach it to a hopper (Christiano et al., 3.2).

    prefrl reproduce backflip

The labels are a scripted teacher's, not a person's. It judges what a person sees in a clip: how far the torso turns
backward, how high up that is, and whether the body is on the floor.
"""

import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from statistics import fmean as mean
from typing import Any

import gymnasium as gym
import numpy as np
from PIL import Image

from prefrl import media
from prefrl.control import policy
from prefrl.control.camera import Camera
from prefrl.files import whole
from prefrl.parts import Parts
from prefrl.reproduce.claim import Claim, Run, Verdict
from prefrl.reproduce.records import Record
from prefrl.runs import RunConfig, RunFolder
from prefrl.types import Array, Segment

HOPPER = "prefrl/Hopper-v0"
LABELS = 900
CONDITION = f"{LABELS} labels"
FLIPS, TURNS = "flips_per_1000_steps", "turns_per_1000_steps"
WANTED = 3
"""Of either in 1,000 steps, which are 8 seconds."""
SEEDS = 3
EPISODES, SEED = 8, 1_000
"""Played to count flips; their beginnings are none that training saw."""

HALF_TORSO, LONG_THIGH, RADIUS = 0.2, 0.45, 0.05
"""Of Gymnasium's hopper, in m."""
CLEAR = 0.2
"""Metres above the floor from which a body is seen to be off it."""
TOUCH = 0.01
"""Metres above the floor up to which a body is taken to touch it: more than rounding, less than anyone sees."""

HYPER = {"gamma": 0.995, "learning_rate": 5e-4, "ent_coef": 0.01, "policy_kwargs": {"log_std_init": 0.0}}
"""PPO's preset for Hopper, with more exploration: with less, it lies down or stands on its head, and stays there."""

SECONDS, FPS, STRIDE = 5, 25, 3
"""Of the clip, and steps from frame to frame: 3 of 8 ms, shown for 40 ms, are three fifths of real time."""


class Round(gym.ObservationWrapper[Any, Any, Any]):
    """Tells the torso's angle by sine and cosine, so that after a flip everything looks as it did before.

    Gymnasium's angle goes on beyond a full turn: whoever has learned one flip would have to learn the next anew.
    Observes (height of the torso in m, sine, cosine, and what Gymnasium's Hopper says after the angle): 12 numbers.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (12,))

    def observation(self, obs: Array) -> Array:
        return np.concatenate([obs[:1], [np.sin(obs[1]), np.cos(obs[1])], obs[2:]])


def hopper(**options: Any) -> gym.Env[Any, Any]:
    """The hopper of the other experiments, which never falls for good, so observed."""
    return Round(gym.make(HOPPER, disable_env_checker=True, **options))


@dataclass(frozen=True)
class Pose:
    """Of a hopper at some steps: what decides how it turns, and what of it touches the floor; arrays of one shape."""

    height: Array
    """Of the torso's middle, m."""
    angle: Array
    """Of the torso, rad; it falls as the torso turns backward, and goes on beyond a full turn."""
    thigh: Array
    """To the torso, rad."""

    @classmethod
    def seen(cls, obs: Array) -> "Pose":
        """From observations on end, (T, 12)."""
        height, sine, cosine, thigh = obs[:, :4].astype(float).T
        return cls(height, np.unwrap(np.arctan2(sine, cosine)), thigh)

    @classmethod
    def simulated(cls, state: Array) -> "Pose":
        """From positions of MuJoCo's joints, (T, 6)."""
        return cls(*state[:, 1:4].T)

    @property
    def clearance(self) -> Array:
        """Metres between the floor and the lowest of head, hip and knee: only the foot is lower."""
        head = self.height + HALF_TORSO * np.cos(self.angle)
        hip = self.height - HALF_TORSO * np.cos(self.angle)
        knee = hip - LONG_THIGH * np.cos(self.angle - self.thigh)
        lowest: Array = np.minimum(np.minimum(head, hip), knee) - RADIUS
        return lowest


@dataclass(frozen=True)
class Teacher:
    """Prefers the clip with more backward rotation, above all high up; of two that hardly turn, the higher body.

    What is not rotation keeps a hopper from lying where it fell, which turns neither way, and is compared with rad.
    """

    floor: float = 0.4
    """Height of the torso, in m, up to which rotation counts `rolling`; each m above adds 1 to that."""
    rolling: float = 0.2
    """Without it, rocking to and fro would do: backward high up, forward again on the floor, where it cost nothing."""
    standing: float = 0.5
    """What the torso's mean height is worth, per m up to 1 m."""
    clear: float = 0.3
    """What it is worth if head, hip and knee are `CLEAR` above the floor all the time."""
    tie: float = 0.02
    """Differences below it cannot be seen."""

    def __call__(self, left: Segment, right: Segment) -> float:
        difference = self.score(left) - self.score(right)
        return 0.5 if abs(difference) < self.tie else float(difference > 0)

    def score(self, segment: Segment) -> float:
        """Forward rotation counts against backward."""
        pose = Pose.seen(segment.obs)
        turned, height = -np.diff(pose.angle), pose.height[:-1]
        rotation = turned @ (np.clip(height - self.floor, 0, 1) + self.rolling)
        up = np.clip(height, 0, 1).mean()
        free = np.clip(pose.clearance[:-1] / CLEAR, 0, 1).mean()
        return float(rotation + self.standing * up + self.clear * free)


teacher = Teacher()


def turns(angle: Array, free: Array) -> list[int]:
    """The steps at which the torso has completed a full turn backward, `free` at every step of it; both (T,).

    Measured from where it leaned forward furthest since the last turn, so that rocking to and fro adds up to none.
    """
    ends: list[int] = []
    top = -math.inf
    for step, (now, is_free) in enumerate(zip(angle.tolist(), free.tolist(), strict=True)):
        top = max(top, now) if is_free else -math.inf
        if top - now >= 2 * math.pi:
            ends.append(step)
            top -= 2 * math.pi
    return ends


@dataclass(frozen=True, eq=False)
class Episode:
    """What a policy did."""

    state: Array
    """Positions of MuJoCo's joints, (T, 6)."""

    def turns(self, lowest: float = -math.inf) -> list[int]:
        """The ends of turns with head, hip and knee above `lowest`."""
        pose = Pose.simulated(self.state)
        return turns(pose.angle, pose.clearance > lowest)

    def flips(self) -> list[int]:
        """Turns in which nothing but the foot touched the floor."""
        return self.turns(TOUCH)


def play(run: Path, likeliest: bool = True) -> list[Episode]:
    """The final policy of a run, which takes the likeliest actions or draws them, as in training."""
    folder = RunFolder.open(run)
    parts = Parts.of(folder.config)
    horizon = parts.facts.horizon
    recorder = policy.recorded(parts.config.env, EPISODES, horizon, parts.facts.segment_length)
    with closing(recorder):
        model = parts.model(recorder)
        policy.load(model, folder.checkpoint())
        model.set_random_seed(SEED)
        venv = model.get_env()
        assert venv is not None
        venv.seed(SEED)
        obs = venv.reset()
        for _ in range(horizon):
            acts, _ = model.predict(np.asarray(obs), deterministic=likeliest)
            obs, *_ = venv.step(acts)
        rollout = recorder.take()
    assert rollout.state is not None
    return [Episode(state) for state in rollout.state.swapaxes(0, 1)]


def count_flips(run: Path) -> dict[str, float]:
    """Means over episodes of 1,000 steps: of flips, and of turns whatever touches the floor."""
    likely, drawn = play(run), play(run, likeliest=False)
    return {
        FLIPS: mean(len(episode.flips()) for episode in likely),
        TURNS: mean(len(episode.turns()) for episode in likely),
        f"sampled_{FLIPS}": mean(len(episode.flips()) for episode in drawn),
        f"sampled_{TURNS}": mean(len(episode.turns()) for episode in drawn),
    }


def verdicts(records: Sequence[Record]) -> list[Verdict]:
    """The strict one last: a turn in which a head or a knee helps is a turn, but no flip."""
    measured = [record.measured for record in records if FLIPS in record.measured]
    return [
        _reached(f"{LABELS} labels teach full backward turns", "turns", [float(each[TURNS]) for each in measured]),
        _reached("... with nothing but the foot on the floor", "flips", [float(each[FLIPS]) for each in measured]),
    ]


def _reached(claim: str, what: str, found: Sequence[float]) -> Verdict:
    words = ", ".join(f"{count:.1f}" for count in sorted(found, reverse=True)) or "no runs yet"
    target = f"{WANTED} {what} in 1,000 steps in at least 1 of {SEEDS} seeds"
    reached = max(found, default=0) >= WANTED
    return Verdict(claim, target, words, True if reached else False if len(found) >= SEEDS else None)


def film(records: Sequence[Record], runs: Path, results: Path) -> None:
    """backflip.webm and backflip.gif: where the policy that flips most flips most."""
    if not records:
        return
    best = max(records, key=lambda record: [float(record.measured.get(what, 0)) for what in (FLIPS, TURNS)])
    state = liveliest(play(runs / best.name), SECONDS * FPS * STRIDE)
    with Camera(HOPPER) as camera:
        frames = camera.film(Segment(state, state, state=state[::STRIDE]))
    results.mkdir(parents=True, exist_ok=True)
    for name, data in (("webm", media.encode(frames, FPS)), ("gif", gif(frames, FPS))):
        with whole(results / f"backflip.{name}") as file:
            file.write(data)


def liveliest(episodes: Sequence[Episode], steps: int) -> Array:
    """The states of those `steps` steps on end in which most flips end; most turns, where there are no flips."""
    flips = [episode.flips() for episode in episodes]
    found = flips if any(flips) else [episode.turns() for episode in episodes]
    begins = range(0, len(episodes[0].state) - steps + 1, STRIDE)
    places = [(which, begin) for which in range(len(found)) for begin in begins]

    def ends(place: tuple[int, int]) -> int:
        which, begin = place
        return sum(begin <= end < begin + steps for end in found[which])

    which, begin = max(places, key=ends)
    return episodes[which].state[begin : begin + steps]


def gif(frames: Array, fps: int, colours: int = 32) -> bytes:
    """A clip at half the size, that plays again and again; frames (T, H, W, 3), H and W even."""
    steps, height, width, _ = frames.shape
    small = frames.reshape(steps, height // 2, 2, width // 2, 2, 3).mean((2, 4)).round().astype(np.uint8)
    some = Image.fromarray(np.concatenate(small[:: max(steps // 10, 1)]))
    palette = some.quantize(colours, Image.Quantize.FASTOCTREE)  # other ways lose the body's colour: it is small
    images = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in small]
    file = BytesIO()
    images[0].save(file, "GIF", save_all=True, append_images=images[1:], duration=1000 // fps, loop=0)
    return file.getvalue()


CLAIM = Claim(
    name="backflip",
    about=f"A hopper learns backflips, which no reward of its environment describes, from {LABELS} labels",
    runs=(
        Run(
            "Hopper",
            CONDITION,
            RunConfig(
                env="experiments.backflip:hopper",
                oracle="experiments.backflip:teacher",
                labels=LABELS,
                total_timesteps=1_300_000,
                schedule="constant(initial=0.15)",
                hyper=HYPER,
            ),
        ),
    ),
    baseline=None,
    seeds=SEEDS,
    pictures=("backflip.gif",),
    verdicts=verdicts,
    measure=count_flips,
    finish=film,
)

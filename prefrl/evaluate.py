"""How good a trained policy is under the true reward, and how like it the learned one is."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prefrl.control import policy
from prefrl.control.policy import Algorithm
from prefrl.control.rollout import Pay, learned
from prefrl.control.vec_env import Episode
from prefrl.files import reading
from prefrl.parts import Parts
from prefrl.reward.diagnostics import pearson
from prefrl.runs import RunFolder
from prefrl.types import Array

ENVS = 10
"""Episodes played side by side."""

CHUNK = 100
"""Steps of each that are kept before the learned reward is asked: frames would fill the memory."""


@dataclass(frozen=True)
class Evaluation:
    """True returns of whole episodes, and the correlation of learned with true reward over their steps."""

    returns: Array
    """(episodes,), in the environment's units."""
    pearson: float | None
    """None for a run on the true reward, or before there is a learned one."""

    def as_dict(self) -> dict[str, Any]:
        return {
            "return_mean": float(self.returns.mean()),
            "return_std": float(self.returns.std()),
            "episodes": len(self.returns),
            "pearson": self.pearson,
        }


def evaluate(path: Path, episodes: int = 20, best: bool = False, seed: int = 0, **objects: Any) -> Evaluation:
    """Plays `episodes` with the newest policy of a run, or with its `best`, taking the likeliest actions.

    `objects`: the parts of the run that were given to `train` as Python objects. Raises ValueError for what is no run,
    or has no checkpoint yet.
    """
    folder = RunFolder.open(path)
    checkpoint = folder.checkpoint(best)
    parts = Parts.of(folder.config, **objects)
    with closing(parts.recorder()) as recorder:
        model = parts.model(recorder)
        policy.load(model, checkpoint)
        return measure(model, parts, _newest_reward(folder, parts), episodes, seed)


def _newest_reward(folder: RunFolder, parts: Parts) -> Pay | None:
    """What the store published last; None for a run on the true reward, or before there is one."""
    if folder.config.reward == "true":
        return None
    with folder.open_store() as store:
        published = store.reward()
    if not published:
        return None
    version, parameters = published
    ensemble = parts.ensemble()
    with reading(folder.path / "store.db"):
        ensemble.from_bytes(parameters, version)
    return learned(ensemble)


def measure(model: Algorithm, parts: Parts, pay: Pay | None, episodes: int, seed: int) -> Evaluation:
    """`episodes` of `model` in fresh environments; `pay`: the learned reward to correlate with the true one.

    Every environment plays as many as any other, or one less: the first to end would be the short ones.
    """
    recorder = parts.recorder(min(episodes, ENVS))
    recorder.seed(seed)
    act = policy.actor(model, not parts.facts.frames, seed)
    obs = recorder.reset()
    paid, truth = [], []
    found: list[float] = []
    while len(found) < episodes:
        obs, _, _, _ = recorder.step(act(obs))
        found = _first(recorder.episodes, episodes, recorder.num_envs)
        if recorder.kept >= CHUNK or len(found) == episodes:
            rollout = recorder.take()
            truth.append(rollout.truth.ravel())
            paid.append((pay(rollout) if pay else rollout.truth).ravel())
    recorder.close()
    return Evaluation(np.array(found), pearson(np.concatenate(paid), np.concatenate(truth)) if pay else None)


def _first(ended: Sequence[Episode], episodes: int, envs: int) -> list[float]:
    """True returns of the first episodes of every environment, so many that they are `episodes` in all."""
    found = []
    for env in range(envs):
        quota = episodes // envs + (env < episodes % envs)
        found += [each.total for each in ended if each.env == env][:quota]
    return found

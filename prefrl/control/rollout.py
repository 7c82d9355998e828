"""What a policy did: rollouts, and the segments cut from them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from prefrl.frames import compact
from prefrl.reward.ensemble import Ensemble
from prefrl.reward.true import TrueReward
from prefrl.types import Array, Segment


@dataclass(frozen=True, eq=False)
class Rollout:
    """Consecutive steps of several environments, time first."""

    obs: Array  # (T, envs, *obs), before the step
    acts: Array  # (T, envs, *act), as the environment received them
    truth: Array  # (T, envs)
    dones: Array  # (T, envs): the episode ended with this step, whether or not the policy was told
    state: Array | None = None  # (T, envs, n), or (T, envs) of frames and None: what a camera needs to draw the step

    def __len__(self) -> int:
        return len(self.acts)


Pay = Callable[[Rollout], Array]
"""A rollout -> the reward of every step, (T, envs)."""


@dataclass(frozen=True)
class Learned:
    """Pays what the ensemble predicts: 0 before its first version; then normalised, as `Ensemble` says."""

    ensemble: Ensemble

    def __call__(self, rollout: Rollout) -> Array:
        return self.ensemble.pay(rollout.obs.swapaxes(0, 1), rollout.acts.swapaxes(0, 1)).swapaxes(0, 1)

    @property
    def nothing(self) -> bool:
        """There is no reward yet."""
        return self.ensemble.version == 0


def learned(ensemble: Ensemble) -> Learned:
    """How a policy is paid by what `ensemble` has learned."""
    return Learned(ensemble)


def true(reward: TrueReward) -> Pay:
    """Pays the environment's own reward, normalised."""
    return lambda rollout: reward.pay(rollout.truth)


class Cutter:
    """Cuts consecutive rollouts into segments; none crosses the end of an episode.

    Episodes are cut from a random first step, so that labels see every phase of them. `length` of a segment and
    `horizon` of an episode are in steps (clips of 1 to 2 seconds: section 2.2.2).
    """

    def __init__(self, length: int, horizon: int, seed: int = 0) -> None:
        self.length = length
        self._slack = min(length, horizon - length + 1)
        self.restart(seed)

    def restart(self, seed: int) -> None:
        """Forgets the steps not yet cut: the environments were reset."""
        self._rng = np.random.default_rng(seed)
        self.forget()

    def forget(self) -> None:
        """Forgets the steps not yet cut: what comes next does not follow them."""
        self._waiting: list[Rollout] = []
        self._starts: list[int] = []

    def __call__(self, rollout: Rollout, step: int) -> list[Segment]:
        """The segments that `rollout` completes, oldest first within an environment; `step` is noted in them."""
        envs = rollout.dones.shape[1]
        if not self._starts:
            self._starts = [int(self._rng.integers(self._slack)) for _ in range(envs)]
        self._waiting.append(rollout)
        dones = np.concatenate([steps.dones for steps in self._waiting])
        segments = [segment for env in range(envs) for segment in self._cut(dones[:, env], env, step)]
        while self._waiting and min(self._starts) >= (past := len(self._waiting[0])):
            self._waiting.pop(0)
            self._starts = [start - past for start in self._starts]
        return segments

    def _cut(self, dones: Array, env: int, step: int) -> list[Segment]:
        segments, at = [], self._starts[env]
        ends = np.flatnonzero(dones) + 1
        for end in (*ends[ends > at].tolist(), None):
            while at + self.length <= (len(dones) if end is None else end):
                segments.append(self._segment(at, env, step))
                at += self.length
            if end is not None:
                at = end + int(self._rng.integers(self._slack))
        self._starts[env] = at
        return segments

    def _segment(self, start: int, env: int, step: int) -> Segment:
        """Of one environment, the steps from `start` on, counted from the first one that waits."""
        parts: list[tuple[Rollout, slice]] = []
        end = start + self.length
        for steps in self._waiting:
            if end > 0 and start < len(steps):
                parts.append((steps, slice(max(start, 0), end)))
            start, end = start - len(steps), end - len(steps)

        def joined(name: str) -> Array:
            return np.concatenate([getattr(steps, name)[span, env] for steps, span in parts])

        state = None if parts[0][0].state is None else _state(joined("state"))
        return Segment(compact(joined("obs")), joined("acts"), joined("truth"), step=step, state=state)


def _state(rows: Array) -> Array | None:
    """Of one segment: (T, n), or frames (T, H, W, 3); None where a frame is missing."""
    if rows.dtype != object:
        return rows
    return None if any(frame is None for frame in rows) else np.stack([*rows])

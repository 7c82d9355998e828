"""The best of n continuations by a reward, and over-optimisation: proxy and oracle against the distance from SFT."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, log, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from prefrl.text.environment import TextReward
from prefrl.text.samples import Example
from prefrl.text.sampling import Sampler
from prefrl.types import Array


class Point(NamedTuple):
    """A policy on the curve of over-optimisation (Gao et al. 2023)."""

    name: str
    kl: float
    """Nats from the SFT policy, summed per sequence."""
    proxy: float
    """Mean reward of the model that was optimised."""
    oracle: float
    """What the judge thinks: mean quality, or how often it prefers the policy to SFT."""

    @property
    def distance(self) -> float:
        """The curve's abscissa, sqrt(KL); an estimate of KL may be a little below 0."""
        return sqrt(max(self.kl, 0.0))


@dataclass(frozen=True)
class BestOf:
    """Draws `n` continuations of every example, and says the one that the reward likes best."""

    policy: Sampler
    reward: TextReward
    n: int = 16

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n is {self.n}: give at least 1")

    def __call__(self, examples: Sequence[Example], seed: int) -> list[str]:
        drawn = [example for example in examples for _ in range(self.n)]
        texts = self.policy(drawn, seed)
        scores = np.asarray(self.reward([str(example.prompt) for example in drawn], texts), dtype=float)
        if scores.shape != (len(drawn),):
            raise ValueError(f"the reward gives {scores.shape} scores of {len(drawn)} continuations: give one each")
        chosen = choose(scores.reshape(len(examples), self.n))
        return [texts[row * self.n + best] for row, best in enumerate(chosen.tolist())]


def kl(n: int) -> float:
    """Of best-of-n from the policy that is drawn from: log n - (n - 1) / n nats (Stiennon et al. 2020)."""
    return log(n) - (n - 1) / n


def choose(scores: ArrayLike) -> Array:
    """Of scores (B, n), the place of the best in each row (B,), the first of equals. Raises ValueError for NaN."""
    found = np.asarray(scores, dtype=float)
    if np.isnan(found).any():
        raise ValueError(
            f"the reward of continuation {int(np.argwhere(np.isnan(found))[0, -1])} is NaN: mend the reward"
        )
    return np.asarray(found.argmax(axis=-1))


def expected(scores: ArrayLike, values: ArrayLike, n: int) -> float:
    """Mean value of the best by score of n, over all ways to draw n of these m >= n continuations of one prompt.

    Unbiased, of far less variance than one draw. Continuations of equal score are as likely to be the best.
    """
    by, of = np.asarray(scores, dtype=float), np.asarray(values, dtype=float)
    m = len(by)
    if not 1 <= n <= m:
        raise ValueError(f"the best of {n} cannot be told from {m} continuations: draw at least as many")
    choose(by)
    ways = np.array([comb(rank, n - 1) / comb(m, n) for rank in range(m)])  # that the one of this rank is the best
    order = np.argsort(by, kind="stable")
    _, equal = np.unique(by[order], return_inverse=True)
    shared = np.bincount(equal, ways) / np.bincount(equal)
    return float(shared[equal] @ of[order])


def over_optimisation(proxy: ArrayLike, oracle: ArrayLike, ns: Sequence[int]) -> list[Point]:
    """Best-of-n by proxy for each n, of proxy rewards and qualities of m continuations of each prompt, (prompts, m)."""
    rewards, qualities = np.asarray(proxy, dtype=float), np.asarray(oracle, dtype=float)
    if rewards.shape != qualities.shape or rewards.ndim != 2:
        raise ValueError(f"give rewards and qualities (prompts, m), not {rewards.shape} and {qualities.shape}")
    found = []
    for n in ns:
        ours = float(np.mean([expected(row, row, n) for row in rewards]))
        theirs = float(np.mean([expected(row, of, n) for row, of in zip(rewards, qualities, strict=True)]))
        found.append(Point(f"best of {n}", kl(n), ours, theirs))
    return found


def peak(points: Sequence[Point]) -> Point:
    """Where the oracle is highest: to optimise the proxy further makes it worse."""
    return max(points, key=lambda point: point.oracle)

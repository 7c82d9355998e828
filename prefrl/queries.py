"""Which pairs of segments are worth a question.

Every strategy returns different pairs, sides at random; where segments are too few for `n` pairs, all that exist.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from prefrl.types import Array, Segment, Select


@dataclass(frozen=True)
class Disagreement:
    """Of many random pairs, those with the highest variance of P over the nets (Christiano et al. 2017, 2.2.4)."""

    pool: int = 10
    """Candidates per question; the paper's."""

    def __post_init__(self) -> None:
        _check_pool(self.pool)

    def __call__(
        self, segments: Sequence[Segment], returns: Array, n: int, rng: np.random.Generator
    ) -> list[tuple[int, int]]:
        pairs = _draw(len(segments), n * self.pool, rng)
        variance = _chance(returns, pairs).var(axis=0)
        return _best(pairs, n, lambda _: variance)


@dataclass(frozen=True)
class InformationGain:
    """Of many random pairs, those whose answer tells most about which net is right (BALD, Houlsby et al. 2011).

    Entropy of the mean preference less mean of the entropies: pairs that every net finds even are not asked.
    """

    pool: int = 10
    """Candidates per question."""

    def __post_init__(self) -> None:
        _check_pool(self.pool)

    def __call__(
        self, segments: Sequence[Segment], returns: Array, n: int, rng: np.random.Generator
    ) -> list[tuple[int, int]]:
        pairs = _draw(len(segments), n * self.pool, rng)
        chance = _chance(returns, pairs)
        gain = _entropy(chance.mean(axis=0)) - _entropy(chance).mean(axis=0)
        return _best(pairs, n, lambda _: gain)


@dataclass(frozen=True)
class Uniform:
    """Any pair as likely as any other."""

    def __call__(
        self, segments: Sequence[Segment], returns: Array, n: int, rng: np.random.Generator
    ) -> list[tuple[int, int]]:
        return _listed(_draw(len(segments), n, rng))


@dataclass(frozen=True)
class Coverage:
    """Of many random pairs, those farthest from each other in mean observation and action (greedy k-center)."""

    pool: int = 10
    """Candidates per question."""

    def __post_init__(self) -> None:
        _check_pool(self.pool)

    def __call__(
        self, segments: Sequence[Segment], returns: Array, n: int, rng: np.random.Generator
    ) -> list[tuple[int, int]]:
        pairs = _draw(len(segments), n * self.pool, rng)
        if not len(pairs):
            return []
        drawn, rows = np.unique(pairs, return_inverse=True)
        features = _features([segments[i] for i in drawn])
        left, right = rows.reshape(-1, 2).T
        distance = np.full(len(pairs), np.inf)  # of each candidate from the nearest chosen one

        def far(chosen: list[int]) -> Array:
            if chosen:
                from_left = np.linalg.norm(features - features[left[chosen[-1]]], axis=1)
                from_right = np.linalg.norm(features - features[right[chosen[-1]]], axis=1)
                np.minimum(distance, from_left[left] + from_right[right], out=distance)
                np.minimum(distance, from_left[right] + from_right[left], out=distance)  # a swapped pair is no other
            return distance

        return _best(pairs, n, far)


@dataclass(frozen=True)
class PolicyAligned:
    """Another strategy among the newest segments only: what the policy does now (QPA, Hu et al. 2024)."""

    inner: Select = Uniform()
    newest: float = 0.25
    """Share of the segments; more where `n` questions would repeat them."""

    def __post_init__(self) -> None:
        if not 0 < self.newest <= 1:
            raise ValueError(f"newest is {self.newest}: give a share above 0, at most 1")

    def __call__(
        self, segments: Sequence[Segment], returns: Array, n: int, rng: np.random.Generator
    ) -> list[tuple[int, int]]:
        first = max(0, len(segments) - max(2 * n, math.ceil(self.newest * len(segments))))
        pairs = self.inner(segments[first:], returns[:, first:], n, rng)
        return [(first + left, first + right) for left, right in pairs]


def _draw(count: int, n: int, rng: np.random.Generator) -> Array:
    """Different pairs of `count` segments, (pairs, 2)."""
    total = count * (count - 1) // 2
    number = rng.choice(total, min(n, total), replace=False)  # pairs are numbered (0, 1), (0, 2), (1, 2), (0, 3), ...
    right = ((1 + np.sqrt(1 + 8 * number)) // 2).astype(int)
    left = number - right * (right - 1) // 2
    return rng.permuted(np.stack([left, right], axis=1), axis=1)


def _best(pairs: Array, n: int, score: Callable[[list[int]], Array]) -> list[tuple[int, int]]:
    """The best pairs, one by one, each among those whose segments were chosen least: near-duplicates teach little.

    `score`: of every pair, given the positions of those chosen so far.
    """
    asked = np.zeros(pairs.max(initial=0) + 1)
    rest = np.ones(len(pairs), dtype=bool)
    chosen: list[int] = []
    while len(chosen) < min(n, len(pairs)):
        often = np.where(rest, asked[pairs].max(axis=1), np.inf)
        best = int(np.argmax(np.where(often == often.min(), score(chosen), -np.inf)))
        chosen.append(best)
        rest[best] = False
        asked[pairs[best]] += 1
    return _listed(pairs[chosen])


def _listed(pairs: Array) -> list[tuple[int, int]]:
    return [(left, right) for left, right in pairs.tolist()]


def _chance(returns: Array, pairs: Array) -> Array:
    """Each net's P that left is better, (members, pairs)."""
    left, right = pairs.T
    chance: Array = (1 + np.tanh((returns[:, left] - returns[:, right]) / 2)) / 2  # the sigmoid, without overflow
    return chance


def _entropy(chance: Array) -> Array:
    tiny = np.finfo(chance.dtype).tiny  # 0 log 0 is 0
    entropy: Array = -sum(p * np.log(np.maximum(p, tiny)) for p in (chance, 1 - chance))
    return entropy


def _features(segments: Sequence[Segment]) -> Array:
    """Mean observation and action, in standard deviations: (segments, features)."""
    means = np.array([np.append(segment.obs.mean(axis=0), segment.acts.mean(axis=0)) for segment in segments])
    features: Array = means / (means.std(axis=0) + 1e-8)  # what never changes stays finite
    return features


@dataclass(frozen=True)
class AnySide:
    """The pairs of another strategy, each turned round or not by a coin: people prefer a side."""

    select: Select = Uniform()

    def __call__(
        self, segments: Sequence[Segment], returns: Array, n: int, rng: np.random.Generator
    ) -> list[tuple[int, int]]:
        pairs = self.select(segments, returns, n, rng)
        turned = rng.random(len(pairs)) < 0.5
        return [(j, i) if turn else (i, j) for (i, j), turn in zip(pairs, turned, strict=True)]


def _check_pool(pool: int) -> None:
    if pool < 1:
        raise ValueError(f"pool is {pool}: give at least 1 candidate per question")

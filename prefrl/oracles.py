"""Oracles that answer by the true reward, and wrappers that make them err as people do (after B-Pref, Lee et al. 2021).

Wrappers nest, all of them as `Skipping(Equal(Mistaken(Myopic(Stochastic()))))`. "Cannot tell" prevails over a tie, and
that over a preference; only the place of `Myopic` matters: what is outside it judges by undiscounted sums.
"""

import math
from collections import deque
from dataclasses import dataclass, field, replace
from functools import partial
from zlib import crc32

import numpy as np

from prefrl.types import Array, Oracle, Segment

WINDOW = 200
"""Recent pairs, by which good and close are judged: enough for a quantile of 1 %, few enough to follow the policy."""

_window = partial(deque[float], maxlen=WINDOW)


@dataclass(frozen=True)
class Synthetic:
    """Prefers the larger sum of true rewards; equal sums are a tie, however the rewards are ordered."""

    def __call__(self, left: Segment, right: Segment) -> float:
        a, b = _worth(left), _worth(right)
        return 0.5 if a == b else float(a > b)


@dataclass(frozen=True)
class Human:
    """People, on the labelling page: they answer when they like, and nobody waits for them."""

    overlap: float = 0.0
    """Share of pairs that two labellers are asked about, for their agreement."""
    repeats: float = 0.0
    """Share of pairs that a labeller is asked about twice, sides swapped."""

    def __post_init__(self) -> None:
        _check_share("overlap", self.overlap)
        _check_share("repeats", self.repeats)

    def __call__(self, left: Segment, right: Segment) -> float | None:
        raise ValueError("people answer on the labelling page: train with --oracle human, or label a run")


@dataclass(frozen=True)
class Stochastic:
    """Errs the more, the closer the pair: right with chance sigmoid(beta * |difference| / its mean over recent pairs).

    Multiplying all true rewards by a constant changes no answer. Equal sums are a tie.
    """

    beta: float = 1.0
    """1: a pair of average difference is answered right 73 % of the time; 0: a coin."""
    seed: int = 0
    _recent: deque[float] = field(default_factory=_window, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.beta >= 0:
            raise ValueError(f"beta is {self.beta}: give 0 or more, larger for fewer errors")

    def __call__(self, left: Segment, right: Segment) -> float:
        difference = _worth(left) - _worth(right)
        self._recent.append(abs(difference))
        if difference == 0:
            return 0.5
        scale = math.fsum(self._recent) / len(self._recent)
        correct = _draw(self, self.seed, left, right) < 1 / (1 + math.exp(-self.beta * abs(difference) / scale))
        return float(correct == (difference > 0))

    def observe(self, left: Segment, right: Segment) -> None:
        self._recent.append(abs(_worth(left) - _worth(right)))


@dataclass(frozen=True)
class Mistaken:
    """Turns a share of the decisive answers round."""

    oracle: Oracle = Synthetic()
    chance: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        _check_share("chance", self.chance)

    def __call__(self, left: Segment, right: Segment) -> float | None:
        answer = self.oracle(left, right)
        mistaken = _draw(self, self.seed, left, right) < self.chance
        return 1 - answer if mistaken and answer is not None else answer

    def observe(self, left: Segment, right: Segment) -> None:
        observe(self.oracle, left, right)


@dataclass(frozen=True)
class Skipping:
    """Cannot tell if neither segment is good: the better one is among the worst of recent pairs."""

    oracle: Oracle = Synthetic()
    chance: float = 0.1
    """Share of pairs, whatever the sign and scale of the rewards."""
    seed: int = 0
    _recent: deque[float] = field(default_factory=_window, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_share("chance", self.chance)

    def __call__(self, left: Segment, right: Segment) -> float | None:
        answer = self.oracle(left, right)  # even if it is not needed: its history holds every pair
        better = max(_worth(left), _worth(right))
        low = _rank(better, self._recent, _draw(self, self.seed, left, right)) < self.chance
        self._recent.append(better)
        return None if low else answer

    def observe(self, left: Segment, right: Segment) -> None:
        self._recent.append(max(_worth(left), _worth(right)))
        observe(self.oracle, left, right)


@dataclass(frozen=True)
class Equal:
    """Calls it a tie if the sums are close: their difference is among the smallest of recent pairs."""

    oracle: Oracle = Synthetic()
    chance: float = 0.1
    """Share of pairs, whatever the sign and scale of the rewards."""
    seed: int = 0
    _recent: deque[float] = field(default_factory=_window, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_share("chance", self.chance)

    def __call__(self, left: Segment, right: Segment) -> float | None:
        answer = self.oracle(left, right)  # even if it is not needed: its history holds every pair
        difference = abs(_worth(left) - _worth(right))
        close = _rank(difference, self._recent, _draw(self, self.seed, left, right)) < self.chance
        self._recent.append(difference)
        return 0.5 if close and answer is not None else answer

    def observe(self, left: Segment, right: Segment) -> None:
        self._recent.append(abs(_worth(left) - _worth(right)))
        observe(self.oracle, left, right)


@dataclass(frozen=True)
class Myopic:
    """Remembers the end best: each step back counts `discount` times as much."""

    oracle: Oracle = Synthetic()
    discount: float = 0.9

    def __post_init__(self) -> None:
        if not 0 < self.discount <= 1:
            raise ValueError(f"discount is {self.discount}: give a number above 0, at most 1")

    def __call__(self, left: Segment, right: Segment) -> float | None:
        return self.oracle(self._discounted(left), self._discounted(right))

    def observe(self, left: Segment, right: Segment) -> None:
        observe(self.oracle, self._discounted(left), self._discounted(right))

    def _discounted(self, segment: Segment) -> Segment:
        truth = _truth(segment)
        return replace(segment, truth=truth * self.discount ** np.arange(len(truth) - 1, -1, -1))


def observe(oracle: Oracle, left: Segment, right: Segment) -> None:
    """Show an oracle a pair answered before, if it keeps a history: a resumed run does so for all of them, in order."""
    if hasattr(oracle, "observe"):
        oracle.observe(left, right)


def _truth(segment: Segment) -> Array:
    if segment.truth is None:
        raise ValueError("these segments carry no true reward for the oracle to judge by: use an oracle of your own")
    return segment.truth


def _worth(segment: Segment) -> float:
    return math.fsum(_truth(segment))  # rounded once, so that the same rewards in another order tie


def _draw(oracle: object, seed: int, left: Segment, right: Segment) -> float:
    """A number in [0, 1) that belongs to the pair, so that sides, order and restarts change no answer.

    Nor does the scale of the truth, which therefore takes no part.
    """
    pair = sorted(crc32(side.acts.tobytes(), crc32(side.obs.tobytes())) for side in (left, right))
    role = crc32(type(oracle).__name__.encode())  # nested oracles of one seed err independently
    return np.random.default_rng([seed, role, *pair]).random()


def _rank(value: float, recent: deque[float], u: float) -> float:
    """Share of recent values below this one. Ties, itself among them, count `u`: uniform if values are exchangeable."""
    others = np.array(recent)
    return float(np.sum(others < value) + u * (1 + np.sum(others == value))) / (1 + len(others))


def _check_share(name: str, share: float) -> None:
    if not 0 <= share <= 1:
        raise ValueError(f"{name} is {share}: give a share from 0 to 1")

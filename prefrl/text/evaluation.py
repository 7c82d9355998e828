"""How often one side's continuations are preferred to another's, and what length and copying have to do with it."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from prefrl.intervals import Interval, interval
from prefrl.text.judge import Judge, verdict
from prefrl.text.oracle import copied_share
from prefrl.text.rouge import words
from prefrl.text.samples import Example
from prefrl.types import Array

RESAMPLES = 500
"""Bootstraps of a regression: bounds are good to a fifth of a standard error."""
STEPS = 30
"""Newton steps of a regression; 10 are enough where neither side always wins."""
RIDGE = 1e-3
"""Of a regression's two numbers: they stay finite where one side always wins, and change by nothing elsewhere."""

NOTHING = Interval(np.nan, np.nan, np.nan)
"""Where the judge could tell of no pair."""


@dataclass(frozen=True)
class Evaluation:
    """One side's continuations against another's, over prompts."""

    wins: Interval
    """Share of prompts in which ours is preferred; a tie is half a win."""
    at_equal_length: Interval
    """The same if both were equally long."""
    prompts: int
    ties: int
    skipped: int
    """Pairs of which the judge could not tell; they do not count."""
    lengths: tuple[float, float]
    """Mean words, ours and theirs."""
    copied: tuple[float, float]
    """Mean share of words in the longest run copied from the prompt, ours and theirs."""

    def __str__(self) -> str:
        return (
            f"wins {_percent(self.wins)} of {self.prompts} prompts, {_percent(self.at_equal_length)} at equal length; "
            f"{self.ties} ties, {self.skipped} cannot tell; {self.lengths[0]:.1f} words against {self.lengths[1]:.1f}; "
            f"{self.copied[0]:.0%} copied against {self.copied[1]:.0%}"
        )


def evaluate(examples: Sequence[Example], ours: Sequence[str], theirs: Sequence[str], judge: Judge) -> Evaluation:
    """Compares two continuations of each example; several seeds' of one prompt are averaged before the bootstrap.

    Win rates are nan where the judge can tell of no pair. Raises ValueError for lists of different lengths, and for
    empty ones.
    """
    if not len(examples) == len(ours) == len(theirs):
        raise ValueError(
            f"{len(ours)} and {len(theirs)} continuations of {len(examples)} examples: give each one of both"
        )
    if not examples:
        raise ValueError("there are no examples to evaluate: give one or more")
    said = [verdict(judge, str(e.prompt), a, b) for e, a, b in zip(examples, ours, theirs, strict=True)]
    told = [i for i, preference in enumerate(said) if preference is not None]
    names = [examples[i].prompt for i in told]
    preferences = [preference for preference in said if preference is not None]
    lengths = np.array([[len(words(text)) for text in side] for side in (ours, theirs)], dtype=float)
    copied = [[copied_share(t, e.prompt.body) for e, t in zip(examples, side)] for side in (ours, theirs)]
    return Evaluation(
        win_rate(names, preferences) if told else NOTHING,
        at_equal_length(names, preferences, *lengths[:, told]) if told else NOTHING,
        prompts=len({*names}),
        ties=preferences.count(0.5),
        skipped=len(said) - len(told),
        lengths=_pair(lengths),
        copied=_pair(copied),
    )


def win_rate(prompts: Sequence[Hashable], preferences: Sequence[float]) -> Interval:
    """Mean over prompts of the mean preference, ties as one half; the bootstrap draws prompts (detail 15)."""
    by_prompt: dict[Hashable, list[float]] = {}
    for prompt, preference in zip(prompts, preferences, strict=True):
        by_prompt.setdefault(prompt, []).append(preference)
    return interval([[float(np.mean(of_one)) for of_one in by_prompt.values()]], np.mean)


def at_equal_length(
    prompts: Sequence[Hashable], preferences: Sequence[float], ours: ArrayLike, theirs: ArrayLike
) -> Interval:
    """Chance to be preferred at equal length, by logistic regression on log(ours / theirs) (Stiennon et al. 2020).

    Lengths in words, an empty text counts as one. The bootstrap draws prompts.
    """
    ratios = np.log(np.maximum(ours, 1) / np.maximum(theirs, 1))
    numbers = {prompt: i for i, prompt in enumerate(dict.fromkeys(prompts))}
    group = np.array([numbers[prompt] for prompt in prompts])

    def chance(drawn: Array, axis: int) -> Array:
        """Of samples of prompts, (..., prompts)."""
        del axis  # always the last
        rows = np.atleast_2d(drawn).astype(int)
        weights = np.stack([np.bincount(row, minlength=len(numbers)) for row in rows])[:, group]
        found = _intercept(ratios, np.asarray(preferences, dtype=float), weights)
        return found if np.ndim(drawn) > 1 else found[0]

    return interval([[float(number) for number in numbers.values()]], chance, resamples=RESAMPLES)


def leave_out(examples: Sequence[Example], seed: int) -> list[tuple[Example, str]]:
    """Each example without one of its references, and that one: people's place in a comparison with a policy.

    Raises ValueError for an example with fewer than two.
    """
    rng = np.random.default_rng(seed)
    found = []
    for index, example in enumerate(examples):
        count = len(example.references)
        if count < 2:
            raise ValueError(f"example {index} has {count} references: one can be left out of two or more")
        out = int(rng.integers(count))
        rest = example.references[:out] + example.references[out + 1 :]
        found.append((Example(example.prompt, rest, example.id), example.references[out]))
    return found


def _intercept(ratios: Array, preferences: Array, weights: Array) -> Array:
    """sigmoid(a) of the best sigmoid(a + b * ratio), per row of weights (rows, pairs), by Newton's method."""
    features = np.stack([np.ones_like(ratios), ratios], axis=1)  # (pairs, 2)
    squares = np.einsum("ni,nj->nij", features, features).reshape(len(ratios), 4)
    found = np.zeros((len(weights), 2))
    for _ in range(STEPS):
        chances = 1 / (1 + np.exp(-(found @ features.T).clip(-30, 30)))
        gradient = (weights * (preferences - chances)) @ features - RIDGE * found
        curvature = ((weights * chances * (1 - chances)) @ squares).reshape(-1, 2, 2) + RIDGE * np.eye(2)
        found += np.linalg.solve(curvature, gradient[..., None])[..., 0].clip(-2, 2)
    chances = 1 / (1 + np.exp(-found[:, 0]))
    return np.asarray(chances)


def _percent(of: Interval) -> str:
    if np.isnan(of.value):
        return "-"
    bounds = "-" if np.isnan(of.low) else f"{of.low:.1%} to {of.high:.1%}"  # nothing tells those of one prompt
    return f"{of.value:.1%} ({bounds})"


def _pair(sides: Array | list[list[float]]) -> tuple[float, float]:
    ours, theirs = np.mean(sides, axis=1)
    return float(ours), float(theirs)

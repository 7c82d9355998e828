"""How often scores tell which of two texts people find better: reward models beside what needs no learning."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from prefrl.text.data.judgement import Judgement
from prefrl.text.reward_model import Combine, RewardModel, mean
from prefrl.text.rouge import METRICS, best, rouge_l, words
from prefrl.types import Array

Scores = Callable[[Sequence[Judgement]], Array]
"""Pairs -> scores of their left and right texts, (2, pairs); NaN where there is nothing to score by."""

LENGTH_EDGES = (0.1, 0.25, 0.5)
"""Bounds of how much longer one text is than the other, as the difference of log lengths: 10, 28 and 65 %."""
FEW = 9
"""Values of confidence that each get a row, the points of the paper's scale; more are divided into thirds."""
RESAMPLES = 2_000
"""Bootstraps of an interval."""


def by_reward(model: RewardModel, combine: Combine = mean) -> Scores:
    """The learned reward."""

    def scores(pairs: Sequence[Judgement]) -> Array:
        prompts = [pair.prompt for pair in pairs]
        return np.stack([model.judge(prompts, texts, combine) for texts in _sides(pairs)])

    return scores


def by_length(pairs: Sequence[Judgement]) -> Array:
    """The longer, in words, the better."""
    return np.array([[len(words(text)) for text in side] for side in _sides(pairs)], dtype=float)


def by_lead(pairs: Sequence[Judgement]) -> Array:
    """The nearer to the first sentence of the prompt's body, by ROUGE-L, the better."""
    leads = [re.split(r"(?<=[.!?])\s|\n", pair.prompt.body.strip(), maxsplit=1)[0] for pair in pairs]
    return np.array([[rouge_l(text, lead) for text, lead in zip(side, leads, strict=True)] for side in _sides(pairs)])


def by_rouge(name: str = "rouge-l") -> Scores:
    """The nearer to a reference, the better; of pairs without one it says nothing."""
    metric = METRICS[name]

    def scores(pairs: Sequence[Judgement]) -> Array:
        return np.array(
            [
                [best(text, pair.references, metric) if pair.references else np.nan for text, pair in zip(side, pairs)]
                for side in _sides(pairs)
            ]
        )

    return scores


BASELINES: dict[str, Scores] = {**{name: by_rouge(name) for name in METRICS}, "length": by_length, "lead": by_lead}
"""What a reward model must beat."""


@dataclass(frozen=True)
class Cell:
    """Of the pairs of a part that somebody preferred one side of, the share that scores tell; equal ones tell half."""

    part: str
    scores: str
    accuracy: float
    """NaN where there is no pair to tell."""
    low: float
    """Bounds of the 95 % interval of a bootstrap over prompts; NaN for fewer than two of them."""
    high: float
    pairs: int


def accuracies(pairs: Sequence[Judgement], judges: Mapping[str, Scores], seed: int = 0) -> list[Cell]:
    """Of all pairs, then by confidence, split and length difference (detail 16), by every one of `judges`.

    Ties and "cannot tell" have no right answer, and do not count.
    """
    told = [pair for pair in pairs if pair.preference not in (None, 0.5)]
    if not told:
        raise ValueError("nobody preferred either side of any pair: there is nothing to tell")
    prompts = np.unique([str(pair.prompt) for pair in told], return_inverse=True)[1]
    right = {name: _right(told, scores(told)) for name, scores in judges.items()}
    return [
        _cell(part, name, hits[rows], prompts[rows], np.random.default_rng(seed))
        for part, rows in _parts(told).items()
        for name, hits in right.items()
    ]


def table(cells: Sequence[Cell]) -> str:
    """Markdown: a row for each part, a column for each of the scores."""
    columns = list(dict.fromkeys(cell.scores for cell in cells))
    rows: dict[str, dict[str, Cell]] = {}
    for cell in cells:
        rows.setdefault(cell.part, {})[cell.scores] = cell
    lines = [f"| Pairs | Number | {' | '.join(columns)} |", f"| :-- | --: |{' --: |' * len(columns)}"]
    for part, row in rows.items():
        number = max(cell.pairs for cell in row.values())
        lines.append(f"| {part} | {number:,} | {' | '.join(_told(row[name]) for name in columns)} |")
    return "\n".join(lines)


def _told(cell: Cell) -> str:
    if not cell.pairs:
        return "–"
    bounds = "" if np.isnan(cell.low) else f" [{cell.low:.0%} to {cell.high:.0%}]"
    return f"{cell.accuracy:.1%}{bounds}"


def _sides(pairs: Sequence[Judgement]) -> tuple[list[str], list[str]]:
    return [pair.left for pair in pairs], [pair.right for pair in pairs]


def _right(pairs: Sequence[Judgement], scores: Array) -> Array:
    """1 where the better side has the higher score, 0.5 where both have the same, NaN where it has none."""
    better = np.sign([pair.preference - 0.5 for pair in pairs if pair.preference is not None])
    right: Array = (1 + better * np.sign(scores[0] - scores[1])) / 2
    return right


def _parts(pairs: Sequence[Judgement]) -> dict[str, Array]:
    """Names of parts, and which pairs they hold, (pairs,) bool."""
    lengths = np.log(np.maximum(by_length(pairs), 1))
    difference = np.abs(lengths[0] - lengths[1])
    longer = np.sign(lengths[0] - lengths[1]) * np.sign([(pair.preference or 0) - 0.5 for pair in pairs])
    splits = np.array([pair.split for pair in pairs])
    parts = {"all": np.ones(len(pairs), bool), **_by_confidence(pairs)}
    parts |= {f"split {name}": splits == name for name in sorted({*splits.tolist()} - {""})}
    edges = (0.0, *LENGTH_EDGES, np.inf)
    for low, high in pairwise(edges):
        above = f"{np.expm1(low):.0%}" if np.isinf(high) else f"{np.expm1(low):.0%} to {np.expm1(high):.0%}"
        name = f"lengths differ by {above}{' or more' if np.isinf(high) else ''}"
        parts[name] = (low <= difference) & (difference < high)
    parts |= {"the longer is better": longer > 0, "the shorter is better": longer < 0}
    return {name: rows for name, rows in parts.items() if rows.any()}


def _by_confidence(pairs: Sequence[Judgement]) -> dict[str, Array]:
    sure = np.array([np.nan if pair.confidence is None else pair.confidence for pair in pairs])
    known = np.unique(sure[~np.isnan(sure)])
    if len(known) <= FEW:
        return {f"confidence {value:g}": sure == value for value in known}
    low, high = np.quantile(sure[~np.isnan(sure)], [1 / 3, 2 / 3])
    return {
        f"confidence up to {low:.2g}": sure <= low,
        f"confidence {low:.2g} to {high:.2g}": (low < sure) & (sure <= high),
        f"confidence above {high:.2g}": sure > high,
    }


def _cell(part: str, name: str, hits: Array, prompts: Array, rng: np.random.Generator) -> Cell:
    known = ~np.isnan(hits)
    hits, (_, group) = hits[known], np.unique(prompts[known], return_inverse=True)
    if not len(hits):
        return Cell(part, name, np.nan, np.nan, np.nan, 0)
    counts, sums = np.bincount(group), np.bincount(group, hits)
    low, high = np.nan, np.nan
    if len(counts) > 1:
        drawn = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), RESAMPLES)
        low, high = np.quantile((drawn @ sums) / (drawn @ counts), [0.025, 0.975])
    return Cell(part, name, float(hits.mean()), float(low), float(high), len(hits))

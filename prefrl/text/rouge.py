"""ROUGE F1 between a text and references, on words of any script (Lin 2004, sections 2 and 3)."""

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache

HELD = 4_096
"""Texts whose words are remembered: references and prompts are compared with many texts, one after another."""

Words = tuple[str, ...]
Metric = Callable[[str, str], float]
"""(text, reference) -> F1 in [0, 1]."""


@lru_cache(HELD)
def words(text: str) -> Words:
    """Runs of letters, digits and their marks, whatever their case and composition.

    A character of a script that is written without spaces (Chinese, Japanese, and Korean syllables) is a word.
    """
    spaced = "".join(_spaced(letter) for letter in unicodedata.normalize("NFKC", text).casefold())
    return tuple(spaced.split())


def rouge_1(text: str, reference: str) -> float:
    """Of single words."""
    return _rouge_n(text, reference, 1)


def rouge_2(text: str, reference: str) -> float:
    """Of pairs of neighbouring words."""
    return _rouge_n(text, reference, 2)


def rouge_l(text: str, reference: str) -> float:
    """Of the longest common subsequence of words, each text taken as one sentence."""
    ours, theirs = words(text), words(reference)
    return f1(common_subsequence(ours, theirs), len(ours), len(theirs))


METRICS: dict[str, Metric] = {"rouge-1": rouge_1, "rouge-2": rouge_2, "rouge-l": rouge_l}


def rouge(text: str, reference: str) -> float:
    """Mean of ROUGE-1, -2 and -L."""
    return sum(metric(text, reference) for metric in METRICS.values()) / len(METRICS)


def best(text: str, references: Sequence[str], metric: Metric = rouge) -> float:
    """To the reference that the text is nearest to; raises ValueError where there is none."""
    if not references:
        raise ValueError("there is no reference to compare with: give at least one to every prompt")
    return max(metric(text, reference) for reference in references)


def f1(common: int, ours: int, theirs: int) -> float:
    """Harmonic mean of common / ours (precision) and common / theirs (recall); 0 where nothing is common."""
    return 2 * common / (ours + theirs) if common else 0.0


def common_subsequence(left: Words, right: Words) -> int:
    """Length of the longest one.

    One integer holds a row of the usual table, a bit per word of `left`, 0 where the length grows: an addition carries
    the change along the row (Hyyrö 2004).
    """
    places: dict[str, int] = {}
    for i, word in enumerate(left):
        places[word] = places.get(word, 0) | 1 << i
    every = (1 << len(left)) - 1
    row = every
    for word in right:
        common = row & places.get(word, 0)
        row = ((row + common) | (row - common)) & every
    return len(left) - row.bit_count()


def common_run(left: Words, right: Words) -> int:
    """Length of the longest run of neighbouring words that is in both."""
    longest, before = 0, [0] * (len(right) + 1)
    for word in left:
        row = [0, *(length + 1 if word == other else 0 for length, other in zip(before, right))]
        longest, before = max(longest, *row), row
    return longest


def _rouge_n(text: str, reference: str, n: int) -> float:
    ours, theirs = _n_grams(words(text), n), _n_grams(words(reference), n)
    return f1((ours & theirs).total(), ours.total(), theirs.total())


@lru_cache(HELD)
def _n_grams(words: Words, n: int) -> Counter[Words]:
    return Counter(zip(*(words[i:] for i in range(n))))


def _spaced(letter: str) -> str:
    """The letter, with spaces where words end."""
    kind = unicodedata.category(letter)
    if kind == "Lo" and unicodedata.east_asian_width(letter) == "W":
        return f" {letter} "
    return letter if kind[0] in "LMN" else " "

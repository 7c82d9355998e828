"""How far the answers of people can be trusted."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

LEFT, TIE, RIGHT = "left", "tie", "right"


def category(preference: float) -> str:
    """What a preference says, strength aside."""
    return TIE if preference == 0.5 else LEFT if preference > 0.5 else RIGHT


def krippendorff_alpha(units: Iterable[Sequence[str]]) -> float | None:
    """1: all agree, 0: as if by chance (nominal; Krippendorff 2004, section 11.3); None where chance cannot differ.

    A unit is what several people said about one thing; one said by a single person tells nothing.
    """
    total: Counter[str] = Counter()
    disagreed = 0.0
    for unit in units:
        if len(unit) > 1:
            said = Counter(unit)
            total += said
            disagreed += (len(unit) ** 2 - _squares(said)) / (len(unit) - 1)
    n = total.total()
    by_chance = (n**2 - _squares(total)) / (n - 1) if n > 1 else 0.0
    return 1 - disagreed / by_chance if by_chance else None


def _squares(counts: Counter[str]) -> int:
    return sum(count**2 for count in counts.values())


def side_bias(left: int, right: int) -> tuple[float | None, float | None]:
    """(share of left, z of that share): sides are random, so beyond 3 somebody prefers a side, not a clip."""
    n = left + right
    return (left / n, (left - right) / math.sqrt(n)) if n else (None, None)


def repeat_agreement(answers: Sequence[tuple[float, float]]) -> float | None:
    """Share of pairs said to be the same the second time, when their sides were swapped."""
    agreed = sum(category(first) == category(1 - second) for first, second in answers)
    return agreed / len(answers) if answers else None

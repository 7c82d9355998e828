"""The nouns of prefrl, and the callables by which it is extended."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Segment:
    """A few consecutive steps of one episode: what a preference is about (Christiano et al. 2017, section 2.1)."""

    obs: Array
    """What was observed before each step, (T, *obs)."""
    acts: Array
    """What was done in it, as the environment received it, (T, *act)."""
    truth: Array | None = None
    """The hidden reward of each step, (T,): for oracles and evaluation only."""
    media: str | None = None
    """Name of the clip or text that a person sees."""
    id: int = 0
    """Row in the store; 0 until recorded."""
    step: int = 0
    """Environment steps that the policy had taken when the segment was cut."""
    state: Array | None = None
    """What a camera needs to draw each step, (T, n); frames (T, H, W, 3) where the simulator has no state to keep."""

    def __len__(self) -> int:
        return len(self.acts)

    def blind(self) -> "Segment":
        """The same segment without truth and state: what reward nets and query strategies may see."""
        return replace(self, truth=None, state=None)


@dataclass(frozen=True)
class Query:
    """A question: which of two segments is better (section 2.2.2)?"""

    left: int
    """Row of a segment, as the next."""
    right: int
    id: int = 0
    """Row in the store; 0 until asked."""
    step: int = 0
    """Environment steps of the policy when the question was asked."""
    why: str = ""
    """The strategy that asked."""


REPEAT = "repeat"
"""`why` of a query that asks a labeller again, with the sides swapped."""
UNDONE = "undone"
"""Note of a label by which a labeller takes an answer back: the query is open again."""
BROKEN = "broken"
"""Note of a label that says that there was nothing to see."""
STALE = "stale"
"""Note of a label by which a run withdraws a query that tells it nothing any more."""
NOTES = ("", UNDONE, BROKEN, STALE)


@dataclass(frozen=True)
class Label:
    """An answer. A later label of the same labeller to the same query supersedes it."""

    query: int
    """Row of the query."""
    preference: float | None
    """Chance that left is better, in [0, 1]; None: cannot tell."""
    labeller: str
    seconds: float = 0.0
    """How long the answer took."""
    at: float = 0.0
    """When it was given, in seconds since the epoch."""
    key: str = ""
    """Unique name that makes answering twice the same as answering once; made up if empty."""
    id: int = 0
    """Row in the store; 0 until answered."""
    note: str = ""
    """Why there is no preference: `undone`, `broken` or `stale`; empty for an answer, "cannot tell" included."""
    confidence: float | None = None
    """How sure the labeller was, on the scale of who asked; kept for tables, and not learned from."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """A label with its segments, without their truth: what fitting sees (the paper's triple, section 2.2.2)."""

    left: Segment
    right: Segment
    preference: float | None
    """As in `Label`; None withdraws what the same labeller said about the same query before."""
    query: int = 0
    labeller: str = ""


Oracle = Callable[[Segment, Segment], float | None]
"""(left, right) -> chance that left is better, in [0, 1], or None for "cannot tell"."""

Select = Callable[[Sequence[Segment], Array, int, np.random.Generator], list[tuple[int, int]]]
"""(segments oldest first, predicted returns (members, segments), n, rng) -> n pairs of different positions."""

Schedule = Callable[[float], float]
"""Progress of the run in [0, 1] -> share of the label budget that should have been asked by then, in [0, 1]."""

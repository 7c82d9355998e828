"""Who has which query in hand."""

import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")

LASTS = 60.0
"""Seconds without a sign of life after which a query goes to somebody else; the page gives one every few seconds."""


class Leases:
    """Queries in the hands of labellers, until they are dropped or run out; `clock` never goes back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, lasts: float = LASTS) -> None:
        self.clock, self.lasts = clock, lasts
        self._until: OrderedDict[tuple[int, str], float] = OrderedDict()  # the first to run out is first
        self._holders: dict[int, dict[str, None]] = {}  # in the order in which they were taken, as the next
        self._held: dict[str, dict[int, None]] = {}

    def take(self, query: int, labeller: str) -> None:
        """For `lasts` seconds from now, whether or not he holds it already."""
        self._until[query, labeller] = self.clock() + self.lasts
        self._until.move_to_end((query, labeller))
        self._holders.setdefault(query, {}).setdefault(labeller)
        self._held.setdefault(labeller, {}).setdefault(query)

    def drop(self, query: int, labeller: str) -> None:
        if self._until.pop((query, labeller), None) is None:
            return
        _remove(self._holders, query, labeller)
        _remove(self._held, labeller, query)

    def expired(self) -> list[int]:
        """Queries that somebody held too long, and holds no more."""
        now, gone = self.clock(), []
        while self._until and next(iter(self._until.values())) <= now:
            query, labeller = next(iter(self._until))
            self.drop(query, labeller)
            gone.append(query)
        return gone

    def held(self, labeller: str) -> list[int]:
        """What he has in hand, in the order in which he got it."""
        return list(self._held.get(labeller, ()))

    def labellers(self) -> int:
        """How many have something in hand."""
        return len(self._held)

    def holders(self, query: int) -> Collection[str]:
        return self._holders.get(query, {}).keys()


def _remove(index: dict[K, dict[V, None]], key: K, value: V) -> None:
    del index[key][value]
    if not index[key]:
        del index[key]

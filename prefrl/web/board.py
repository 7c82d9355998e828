"""Who is asked what next: the open queries of a run, and the leases on them."""

import heapq
from collections.abc import Iterable
from contextlib import AbstractContextManager
from hashlib import sha256
from threading import RLock

from prefrl.store import Store
from prefrl.types import REPEAT, Label, Query
from prefrl.web.leases import Leases
from prefrl.web.pairs import Media
from prefrl.web.rows import Rows

GAP = 10
"""Answers of a labeller before a pair comes again, so that he does not remember it."""
Line = tuple[str, str]
"""A waiting line of queries: for anybody, for anybody but the one who has it, or only for the one who had it."""
ANYBODY: Line = ("anybody", "")


class Board:
    """Every method may be called by any thread; what only looks at memory takes microseconds.

    A query is open until as many labellers answered it as it wants; "broken" and "stale" close it for all.
    """

    def __init__(self, store: Store, leases: Leases, overlap: float = 0.0, repeats: float = 0.0) -> None:
        self.store, self.leases, self.overlap, self.repeats = store, leases, overlap, repeats
        self.rows = Rows()
        self.lock: AbstractContextManager[bool] = RLock()
        """Held while `rows` are looked at from outside."""
        self._reading = RLock()
        self._line: dict[int, Line | None] = {}
        self._lines: dict[Line, list[tuple[int, int]]] = {}

    def refresh(self) -> None:
        """Reads what the store has got since the last time."""
        with self._reading:
            queries, labels, media = self.rows.news(self.store)
            with self.lock:
                self.rows.add(queries, labels, media)
                self._let_go()
                for query in dict.fromkeys([*(q.id for q in queries), *(label.query for label in labels)]):
                    self._place(query)

    def answered(self, new: list[Label]) -> None:
        """To be called with labels that were just kept, as they are in the store: asks again what is to be repeated."""
        with self.lock:
            self.rows.kept(new)
            self._let_go()
            for id in dict.fromkeys(label.query for label in new):
                self._place(id)
            drawn = [label.query for label in new if self._draws(label)]
            asked = [query for id in dict.fromkeys(drawn) if (query := self.rows.repeat(id))]
        if asked:
            self.store.ask(asked)
            self.refresh()

    def next(self, labeller: str, n: int, holding: Iterable[int] = ()) -> list[tuple[Query, Media]]:
        """Up to `n` queries that are now his: first those he has, among them those of `holding` that he may keep."""
        with self.lock:
            self._let_go()
            for query in holding:
                if query in self.rows.queries and self._may_have(query, labeller):
                    self._lease(query, labeller)
            held = self.leases.held(labeller)
            for query in held:
                self.leases.take(query, labeller)
            while len(held) < n and (found := self._choice(labeller)):
                self._lease(found, labeller)
                held.append(found)
            return [(self.rows.queries[query], self.rows.media(query)) for query in held[:n]]

    def waiting(self, labeller: str) -> bool:
        """Whether there is nothing that he could be asked now."""
        with self.lock:
            self._let_go()
            return not self.leases.held(labeller) and self._choice(labeller) is None

    def labellers(self) -> int:
        """How many are at work."""
        with self.lock:
            self._let_go()
            return self.leases.labellers()

    def take_back(self, labeller: str) -> int | None:
        """The query of his newest answer, leased to him before the row that takes it back opens it to others."""
        with self.lock:
            query = self.rows.last(labeller)
            if query is not None:
                self.leases.take(query, labeller)
            return query

    def release(self, query: int, labeller: str) -> None:
        with self.lock:
            self.leases.drop(query, labeller)
            self._place(query)

    def _draws(self, label: Label) -> bool:
        first = self.rows.first(label.query)
        his = first is not None and first[0] == label.labeller and label.preference is not None
        return his and chosen(label.key, self.repeats) and not self.rows.closed(label.query)

    def _wanted(self, query: int) -> int:
        overlaps = self.rows.queries[query].why != REPEAT and chosen(f"overlap {query}", self.overlap)
        return 2 if overlaps else 1

    def _owner(self, query: int) -> tuple[str, int] | None:
        """Of a repeat, whose it is, and after how many answers of his it is due."""
        original = self.rows.original(query)
        first = self.rows.first(original) if original is not None else None
        return (first[0], first[1] + GAP) if first else None

    def _may_have(self, query: int, labeller: str) -> bool:
        answered = self.rows.answered(query)
        if self.rows.closed(query) or labeller in answered or len(answered) >= self._wanted(query):
            return False
        if labeller in (holders := self.leases.holders(query)):
            return True
        if self.rows.queries[query].why == REPEAT and (self._owner(query) or ("", 0))[0] != labeller:
            return False
        return len(answered | set(holders)) < self._wanted(query)

    def _let_go(self) -> None:
        for query in self.leases.expired():
            self._place(query)

    def _lease(self, query: int, labeller: str) -> None:
        self.leases.take(query, labeller)
        self._place(query)

    def _place(self, query: int) -> None:
        """Puts the query into the line where it belongs now, and takes it from the hands of who need not answer it.

        Who has gone away is to be let go before, or he may be kept and somebody who is there not.
        """
        answered = self.rows.answered(query)
        asks = 0 if self.rows.closed(query) else max(0, self._wanted(query) - len(answered))
        holders = list(self.leases.holders(query))
        keep = [holder for holder in holders if holder not in answered][:asks]  # the first may be looking at it
        for holder in set(holders).difference(keep):
            self.leases.drop(query, holder)
        line, rank = self._belongs(query, answered.union(keep)) if asks else (None, 0)
        if line and line != self._line.get(query):
            heapq.heappush(self._lines.setdefault(line, []), (rank, query))
        self._line[query] = line

    def _belongs(self, query: int, takers: set[str]) -> tuple[Line | None, int]:
        if self.rows.queries[query].why == REPEAT:
            owner, due = self._owner(query) or (None, 0)
            return (None if takers or owner is None else ("only", owner)), due
        if len(takers) >= self._wanted(query):
            return None, 0
        return (("but", min(takers)) if takers else ANYBODY), query

    def _choice(self, labeller: str) -> int | None:
        """A repeat that is due, or else the oldest query that he may have."""
        again = self._head(("only", labeller))
        if again and again[0] <= self.rows.answers[labeller]:
            return again[1]
        lines = [ANYBODY, *(line for line in self._lines if line[0] == "but" and line[1] != labeller)]
        heads = [head for line in lines if (head := self._head(line))]
        return min(heads)[1] if heads else None

    def _head(self, line: Line) -> tuple[int, int] | None:
        queue = self._lines.get(line, [])
        while queue and self._line[queue[0][1]] != line:
            heapq.heappop(queue)  # it went elsewhere
        return queue[0] if queue else None


def chosen(name: str, share: float) -> bool:
    """Whether `name` is among a random `share` of all names: always the same."""
    return int.from_bytes(sha256(name.encode()).digest()[:8]) < share * 2**64

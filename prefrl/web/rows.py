"""What the rows of a store say about its labellers, in memory and read as they come."""

from bisect import insort
from collections import Counter, defaultdict, deque
from typing import NamedTuple

from prefrl.store import Store
from prefrl.types import BROKEN, REPEAT, STALE, UNDONE, Label, Query
from prefrl.web.pairs import Media, showable

PACE = 20
"""Answers over which a labeller's pace is measured."""


class Said(NamedTuple):
    """The newest label of a labeller to a query."""

    id: int
    preference: float | None
    seconds: float
    note: str


NOTHING = Said(0, None, 0.0, UNDONE)


class Rows:
    """A mirror of queries and labels; `add` and `kept` bring it up to date, and nothing else changes it."""

    def __init__(self) -> None:
        self.queries: dict[int, Query] = {}
        self.said: dict[int, dict[str, Said]] = {}
        """Per query; the inner dictionaries are replaced, never changed, so that a shallow copy is a snapshot."""
        self.labelled: Counter[str] = Counter()
        """Newest labels with a preference, per labeller."""
        self.answers: Counter[str] = Counter()
        """All answers ever, "cannot tell" included, per labeller."""
        self.undone: Counter[str] = Counter()
        """Answers taken back, per labeller."""
        self.undos: dict[str, Label] = {}
        """By key, the labels that took an answer back."""
        self._media: dict[int, str | None] = {}
        self._asked: dict[tuple[int, int, int], int] = {}
        self._first: dict[int, tuple[str, int]] = {}
        self._stacks: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self._seconds: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=PACE))
        self._query = self._label = 0
        self._early: set[int] = set()

    def news(self, store: Store) -> tuple[list[Query], list[Label], dict[int, str | None]]:
        """What `add` has not seen: labels are read first, so that the queries they name are there."""
        labels = store.labels(after=self._label)
        queries = store.queries(after=self._query)
        unknown = {i for query in queries for i in (query.left, query.right)} - self._media.keys()
        return queries, labels, store.media(unknown)

    def add(self, queries: list[Query], labels: list[Label], media: dict[int, str | None]) -> None:
        self._media |= media
        for query in queries:
            self.queries[query.id] = query
            self._asked[query.left, query.right, query.step] = query.id
            self._query = query.id
        for label in labels:
            if label.id not in self._early:
                self._say(label)
            self._label = label.id
        self._early = {id for id in self._early if id > self._label}

    def kept(self, labels: list[Label]) -> None:
        """Labels that this process wrote, without reading them: `add` passes them over later."""
        for label in labels:
            if label.id > self._label and label.id not in self._early:
                self._early.add(label.id)
                self._say(label)

    def _say(self, label: Label) -> None:
        query, who = label.query, label.labeller
        before = self.said.get(query, {})
        newest = before.get(who, NOTHING)
        if label.id > newest.id:  # another process's label may be read after a later one of this process was kept
            self.said[query] = before | {who: Said(label.id, label.preference, label.seconds, label.note)}
            self.labelled[who] += (label.preference is not None) - (newest.preference is not None)
        if label.note == UNDONE:
            self.undone[who] += 1
            self.undos[label.key] = label
        if label.note == "":
            self.answers[who] += 1
            insort(self._stacks[who], (label.id, query))
            self._seconds[who].append(label.seconds)
        if label.preference is not None:
            self._first.setdefault(query, (who, self.answers[who]))

    def answered(self, query: int) -> set[str]:
        """Who answered it and did not take that back."""
        return {who for who, said in self.said.get(query, {}).items() if said.note != UNDONE}

    def closed(self, query: int) -> bool:
        """Whether nobody needs to see it any more, or nobody can."""
        gone = any(said.note in (BROKEN, STALE) for said in self.said.get(query, {}).values())
        return gone or not all(map(showable, self.media(query)))

    def media(self, query: int) -> Media:
        row = self.queries[query]
        return self._media[row.left], self._media[row.right]

    def last(self, labeller: str) -> int | None:
        """The query of his newest answer that he has not taken back; "broken" is no answer of his, but the page's."""
        stack = self._stacks.get(labeller, [])
        while stack:
            id, query = stack[-1]
            if self.said[query][labeller].id == id:
                return query
            stack.pop()  # superseded: it will never be the newest again
        return None

    def original(self, query: int) -> int | None:
        """Of a repeat, the query that it repeats."""
        row = self.queries[query]
        return self._asked.get((row.right, row.left, row.step)) if row.why == REPEAT else None

    def first(self, query: int) -> tuple[str, int] | None:
        """Who was the first with a preference, and how many answers he had given by then."""
        return self._first.get(query)

    def repeat(self, query: int) -> Query | None:
        """The same pair with its sides swapped, if that was not asked yet."""
        row = self.queries[query]
        if row.why == REPEAT or (row.right, row.left, row.step) in self._asked:
            return None
        return Query(row.right, row.left, step=row.step, why=REPEAT)

    def per_minute(self, labeller: str) -> float:
        """His pace while he answers, over the last answers."""
        seconds = self._seconds.get(labeller, ())
        return 60 * len(seconds) / total if (total := sum(seconds)) > 0 else 0.0

"""The board in memory: many threads, many queries, and any order of what happens."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from prefrl.store import Store
from prefrl.types import BROKEN, STALE, UNDONE, Label, Query
from prefrl.web.board import Board, chosen
from prefrl.web.leases import LASTS, Leases
from prefrl.web.rows import Rows
from tests.web_pages import Clock, ask, new_run


@pytest.fixture
def store(tmp_path):
    with Store(new_run(tmp_path / "run")) as store:
        yield store


@pytest.mark.parametrize("overlap", [0.0, 0.5])
def test_sixteen_threads_never_lease_a_query_to_more_than_may_have_it(store, overlap):
    board = Board(store, Leases(), overlap)
    everything = [Query(2 * i, 2 * i + 1, id=i) for i in range(1, 5001)]
    board.rows.add(everything, [], dict.fromkeys(range(10002), "0" * 64 + ".webm"))
    for query in everything:
        board._place(query.id)

    def work(worker):
        names = [f"{worker} {round}" for round in range(40)]
        return [(query.id, name) for name in names for query, _ in board.next(name, 10)]

    with ThreadPoolExecutor(16) as pool:
        taken = [lease for found in pool.map(work, range(16)) for lease in found]
    assert len(set(taken)) == len(taken) > 4900
    for query, n in Counter(query for query, _ in taken).items():
        assert n <= 1 + chosen(f"overlap {query}", overlap)


def test_a_hundred_thousand_leases_by_sixteen_workers_are_held_once_each(store):
    clock = Clock()
    board = Board(store, Leases(clock))
    everything = [Query(2 * i, 2 * i + 1, id=i) for i in range(1, 1001)]
    board.rows.add(everything, [], dict.fromkeys(range(2002), "0" * 64 + ".webm"))
    for query in everything:
        board._place(query.id)
    leases = 0
    with ThreadPoolExecutor(16) as pool:
        for turn in range(100):
            names = [f"{worker} {turn}" for worker in range(100)]
            found = list(pool.map(lambda name: board.next(name, 10), names))
            taken = [query.id for queries in found for query, _ in queries]
            assert len(set(taken)) == len(taken) == 1000
            leases += len(taken)
            clock.now += LASTS
    assert leases == 100_000


def test_the_next_pair_costs_microseconds_among_a_hundred_thousand(store):
    board = Board(store, Leases())
    everything = [Query(2 * i, 2 * i + 1, id=i) for i in range(1, 100_001)]
    said = [Label(i, 1, "Bob", id=i) for i in range(1, 90_001)]
    board.rows.add(everything, said, dict.fromkeys(range(200002), "0" * 64 + ".webm"))
    for query in everything:
        board._place(query.id)
    began = time.thread_time()
    for i in range(1000):
        assert board.next(f"{i}", 3)[0][0].id == 90_001 + 3 * i
    assert time.thread_time() - began < 1  # 30 us each


def test_rows_that_were_kept_before_older_ones_were_read_stay_the_newest():
    rows, query = Rows(), Query(1, 2, id=1)
    rows.add([query], [], {1: None, 2: None})
    other, own = Label(1, 0, "Ann", id=1, key="a"), Label(1, None, "Ann", id=2, key="b", note=UNDONE)
    rows.kept([own])
    rows.add([], [other, own], {})
    in_order = Rows()
    in_order.add([query], [other, own], {1: None, 2: None})
    assert rows.said == in_order.said
    assert rows.labelled == in_order.labelled == {"Ann": 0}
    assert rows.last("Ann") is in_order.last("Ann") is None


def test_an_undo_takes_back_the_newest_answer_in_whatever_order_they_were_read():
    rows, queries = Rows(), [Query(1, 2, id=1), Query(2, 1, id=2)]
    older, newer = Label(1, 0, "Ann", id=1), Label(2, 1, "Ann", id=2)
    rows.add(queries, [], {1: None, 2: None})
    rows.kept([newer])
    rows.add([], [older, newer], {})
    assert rows.last("Ann") == 2


PEOPLE = ("Ann", "Bob", "Cem")


class Labelling(RuleBasedStateMachine):
    """A board against what is meant, said in loops over all rows."""

    def __init__(self):
        super().__init__()
        self.folder = TemporaryDirectory()
        self.store = Store(new_run(Path(self.folder.name) / "run"))
        self.clock = Clock()
        self.board = Board(self.store, Leases(self.clock), overlap=0.5, repeats=0.5)

    def teardown(self):
        self.store.close()
        self.folder.cleanup()

    @rule(n=st.integers(1, 4))
    def queries_are_asked(self, n):
        ask(self.store, n, first=len(self.store.queries()))
        self.board.refresh()

    @rule(who=st.sampled_from(PEOPLE), n=st.integers(1, 4), holding=st.lists(st.integers(1, 12), max_size=3))
    def somebody_asks(self, who, n, holding):
        mine = set(self.board.leases.held(who))
        for query, _ in self.board.next(who, n, holding):
            assert query.id in mine or not self.fulfilled(query.id)
            assert who not in self.answered(query.id) or query.id in mine

    @rule(who=st.sampled_from(PEOPLE), query=st.integers(1, 12), note=st.sampled_from(["", "", "", BROKEN, STALE]))
    def somebody_answers(self, who, query, note):
        if query <= len(self.store.queries()):
            said = [Label(query, None if note else 1, who, key=str(uuid4()), note=note)]
            self.board.answered(self.store.answer(said))

    @rule(who=st.sampled_from(PEOPLE))
    def somebody_takes_back(self, who):
        newest = [said for said in self.newest() if said.labeller == who and said.note == ""]
        query = self.board.take_back(who)
        assert query == (max(newest, key=lambda said: said.id).query if newest else None)
        if query:
            self.store.answer([Label(query, None, who, note=UNDONE)])
            self.board.refresh()

    @rule(seconds=st.sampled_from([1, 40, 61]))
    def time_passes(self, seconds):
        self.clock.now += seconds

    def newest(self):
        return {(said.query, said.labeller): said for said in self.store.labels()}.values()

    def answered(self, query):
        return {said.labeller for said in self.newest() if said.query == query and said.note != UNDONE}

    def wanted(self, query):
        return 1 + (self.board.rows.queries[query].why != "repeat" and chosen(f"overlap {query}", 0.5))

    def fulfilled(self, query):
        closed = any(said.note in (BROKEN, STALE) for said in self.newest() if said.query == query)
        return closed or len(self.answered(query)) >= self.wanted(query)

    @invariant()
    def nobody_holds_more_than_is_wanted(self):
        self.board.waiting("nobody")  # lets go what has run out
        for query in self.board.rows.queries:
            holders = set(self.board.leases.holders(query))
            if not self.fulfilled(query):
                assert len(holders | self.answered(query)) <= self.wanted(query)

    @invariant()
    def nothing_that_is_wanted_is_forgotten(self):
        for query in self.board.rows.queries:
            takers = self.answered(query) | set(self.board.leases.holders(query))
            waits = self.board._line.get(query)
            if self.board.rows.queries[query].why != "repeat":
                assert (waits is not None) == (not self.fulfilled(query) and len(takers) < self.wanted(query))

    @invariant()
    def progress_is_what_the_store_counts(self):
        assert sum(self.board.rows.labelled.values()) == self.store.counts().labelled

    @invariant()
    def a_new_board_reads_the_same_from_the_rows(self):
        again = Board(self.store, Leases(self.clock), overlap=0.5, repeats=0.5)
        again.refresh()
        assert again.rows.said == self.board.rows.said
        assert [again.rows.last(who) for who in PEOPLE] == [self.board.rows.last(who) for who in PEOPLE]


TestLabelling = Labelling.TestCase
TestLabelling.settings = settings(max_examples=20, stateful_step_count=15)

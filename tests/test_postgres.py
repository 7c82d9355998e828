"""The store in a PostgreSQL database: what it does in a file, for processes of several machines."""

import inspect
import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import insert, text

from prefrl import tables
from prefrl.store import Counts, Store
from prefrl.tables import opened, writing
from prefrl.types import Label, Query
from tests import test_store
from tests.postgres import PASSWORD
from tests.test_store import ask, segment
from tests.web_pages import until

ALIKE = [
    fact
    for name, fact in vars(test_store).items()
    if name.startswith("test_") and inspect.isfunction(fact) and [*inspect.signature(fact).parameters] == ["store"]
]
"""What test_store says of any store."""


@pytest.fixture
def store(tmp_path: Path, database: str) -> Iterator[Store]:
    with Store(tmp_path, database) as store:
        yield store


@pytest.mark.parametrize("fact", ALIKE, ids=lambda fact: fact.__name__.removeprefix("test_"))
def test_what_is_so_in_a_file_is_so_on_a_server(store, fact):
    fact(store)


@pytest.mark.parametrize("missing", [("note", "confidence"), ("confidence",)])
def test_a_store_of_an_earlier_version_is_brought_up_to_date(tmp_path, database, postgres, missing):
    with Store(tmp_path, database) as store:
        query = ask(store)
        store.answer([Label(query.id, 1.0, "me", key="a")])
    for column in missing:
        postgres.say(database, f"alter table labels drop column {column}")
    postgres.say(database, f"update prefrl set schema = {tables.SCHEMA - len(missing)}")
    with Store(tmp_path, database) as store:
        store.answer([Label(query.id, None, "me", note="undone"), Label(query.id, 0.5, "you", confidence=2.5)])
        assert [(x.preference, x.note, x.confidence) for x in store.labels()] == [
            (1.0, "", None),
            (None, "undone", None),
            (0.5, "", 2.5),
        ]


def test_verbs_repeated_after_a_kill_find_their_rows(tmp_path, database):
    def run() -> list[object]:
        with Store(tmp_path, database) as store:
            query = ask(store, step=10)
            labels = store.answer([Label(query.id, 0.5, "me", key="a"), Label(query.id, None, "you", key="b")])
            return [query, labels, store.publish(b"reward", step=10, labels=2), store.counts()]

    assert run() == run()


def test_two_folders_share_what_is_asked_and_answered(store, database, tmp_path):
    with Store(tmp_path / "elsewhere", database) as other:
        query = ask(store)
        other.answer([Label(query.id, 1.0, "me")])
        assert store.labels() == other.labels() != []


IMPOSSIBLE = {
    "unknown segment": lambda store: store.ask([Query(1, 3)]),
    "huge segment": lambda store: store.ask([Query(1, 2**70)]),
    "why with NUL": lambda store: store.ask([Query(1, 2, why="a\0b")]),
    "why with a surrogate": lambda store: store.ask([Query(1, 2, why="\ud800")]),
    "unknown query": lambda store: store.answer([Label(2, 1.0, "me")]),
    "huge query": lambda store: store.answer([Label(2**63, 1.0, "me")]),
    "name with NUL": lambda store: store.answer([Label(1, 1.0, "a\0b")]),
    "name with a surrogate": lambda store: store.answer([Label(1, 1.0, "\ud800")]),
    "second key with a surrogate": lambda store: store.answer([Label(1, 1.0, "me"), Label(1, 1.0, "me", key="\udfff")]),
    "key with NUL": lambda store: store.answer([Label(1, 1.0, "me", key="a\0")]),
    "nan": lambda store: store.answer([Label(1, float("nan"), "me")]),
    "infinite seconds": lambda store: store.answer([Label(1, 1.0, "me", seconds=float("inf"))]),
    "preference with a note": lambda store: store.answer([Label(1, 1.0, "me", note="undone")]),
    "one key, two answers": lambda store: store.answer([Label(1, 1.0, "a", key="k"), Label(1, 0.0, "a", key="k")]),
    "clip with NUL": lambda store: store.record([replace(segment(5), media="\0")]),
    "segment 0": lambda store: store.segment(0),
}


@pytest.mark.parametrize("bad", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_what_cannot_be_is_refused_in_the_words_of_a_file(store, tmp_path, bad):
    said = []
    with Store(tmp_path) as file:
        for each in (store, file):
            ask(each)
            before = each.counts()
            with pytest.raises(ValueError) as refusal:
                bad(each)
            assert each.counts() == before
            said.append(str(refusal.value))
            assert len(each.answer([Label(1, 1.0, "me")])) == 1  # nothing is wedged
    assert said[0] == said[1]


@pytest.mark.parametrize("name", ["Zoë", "名前", "🙂", "a'b\"c\\d%s%%(x)s;--", " " * 64, "x" * 10_000])
def test_any_other_text_comes_back_as_it_was(store, name):
    query = ask(store)
    store.answer([Label(query.id, 1.0, name, key=f"key {name}")])
    assert [(label.labeller, label.key) for label in store.labels()] == [(name, f"key {name}")]


def test_numbers_come_back_to_the_last_bit(store):
    query = ask(store)
    kept = Label(query.id, 1 / 3, "me", seconds=2**-1074, at=1.7e9 + 1e-6, key="a")
    assert store.answer([kept]) == [replace(kept, id=1)] == store.labels()


def test_a_reward_of_many_megabytes_comes_back(store):
    parameters = np.random.default_rng(0).bytes(20_000_000)
    version = store.publish(parameters, step=0, labels=0)
    assert store.reward() == (version, parameters)


def test_any_number_of_rows_is_written_at_once(store):
    one, other = store.record([segment(1), segment(2)])
    asked = store.ask(Query(one.id, other.id, step=step) for step in range(12_000))
    assert [query.step for query in asked] == list(range(12_000))


# several at once


def write(folder: Path, database: str, barrier: object, who: int) -> None:
    """What each of several processes does at once, from the empty database on."""
    barrier.wait()
    with Store(folder, database) as store:
        for step in range(5):
            query = ask(store, step)  # the same in all processes
            store.answer([Label(query.id, 1.0, f"{who}", key=f"{who} {step} {n}") for n in range(2)])
            store.publish(b"%d" % who, step=step, labels=2)


def test_four_processes_begin_one_store_and_lose_and_double_nothing(tmp_path, database):
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(5)
    writers = [spawn.Process(target=write, args=(tmp_path, database, barrier, who)) for who in range(4)]
    for writer in writers:
        writer.start()
    barrier.wait()
    seen = []
    with Store(tmp_path, database) as store:
        while any(writer.is_alive() for writer in writers):
            seen += store.labels(after=seen[-1].id if seen else 0)
            writers[0].join(0.01)
        seen += store.labels(after=seen[-1].id if seen else 0)
        assert [writer.exitcode for writer in writers] == [0] * 4
        assert seen == store.labels()  # who reads on from the last id misses none
        assert store.counts() == Counts(recorded=2, asked=5, labelled=20, skipped=0, unanswered=0)
        assert len(seen) == 40 and len(store.versions()) == 20


def test_many_threads_share_a_store(store):
    def work(who: int) -> None:
        for step in range(5):
            store.answer([Label(ask(store, step).id, 1.0, f"{who}", key=f"{who} {step}")])
            store.counts(), store.unanswered()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert store.counts() == Counts(recorded=2, asked=5, labelled=40, skipped=0, unanswered=0)


def test_a_later_id_is_never_seen_before_an_earlier_one(store, database):
    query = ask(store)
    row = {"query": query.id, "labeller": "slow", "seconds": 0.0, "at": 0.0, "key": "slow"}
    engine = opened(database)
    with ThreadPoolExecutor(1) as pool:
        with writing(engine) as connection:
            connection.execute(insert(tables.labels).values(row))
            quick = pool.submit(store.answer, [Label(query.id, 1.0, "quick")])
            until(lambda: waiting(engine))
            assert store.labels() == [] and not quick.done()
        [kept] = quick.result(10)
    engine.dispose()
    assert [(label.id, label.labeller) for label in store.labels()] == [(1, "slow"), (kept.id, "quick")]


def waiting(engine: object) -> bool:
    with engine.connect() as connection:
        return bool(connection.scalar(text("select count(*) from pg_locks where not granted")))


def test_a_writer_that_was_killed_holds_up_nobody(store, database, postgres):
    query = ask(store)
    engine = opened(database)

    def lose_the_connection() -> None:
        with writing(engine) as connection:
            connection.execute(insert(tables.segments).values(digest="lost", step=0))
            postgres.end_connections(database)
            connection.execute(text("select 1"))

    with pytest.raises(ConnectionError):
        lose_the_connection()
    engine.dispose()
    assert len(store.answer([Label(query.id, 1.0, "me")])) == 1
    assert store.counts().recorded == 2


# a server that is gone for a while


def test_a_store_outlives_its_server(store, postgres):
    query = ask(store)
    postgres.stop()
    with pytest.raises(ConnectionError, match=r"^postgresql://tester:\*\*\*@.* cannot be reached: .*refused") as gone:
        store.answer([Label(query.id, 1.0, "me", key="a")])
    with pytest.raises(ConnectionError):
        store.labels()
    postgres.start()
    assert PASSWORD not in str(gone.value) and "\n" not in str(gone.value)
    assert [label.key for label in store.answer([Label(query.id, 1.0, "me", key="a")])] == ["a"]


def test_what_was_said_to_be_kept_outlives_a_crash_of_the_server(store, postgres):
    query = ask(store)
    kept = store.answer([Label(query.id, 1.0, "me")])
    postgres.stop(signal.SIGQUIT)
    postgres.start()
    assert store.labels() == kept

"""Full disks, locked databases, labels that spoil a batch: what was acknowledged is there, and it goes on."""

import asyncio
import errno
import sqlite3
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from uuid import uuid4

import pytest
from sqlalchemy import event

from prefrl.store import Store
from prefrl.types import Label
from prefrl.web import app
from prefrl.web.writer import Writer
from tests.web_pages import ask, browsing, until


@pytest.fixture
def store(run):
    with Store(run) as store:
        ask(store, 20)
        yield store


@contextmanager
def full(store):
    """A disk on which the database cannot grow."""

    def limit(connection, _):
        [pages] = connection.execute("pragma page_count").fetchone()
        connection.execute(f"pragma max_page_count = {pages}")

    event.listen(store._engine, "connect", limit)
    store._engine.dispose()
    try:
        yield
    finally:
        event.remove(store._engine, "connect", limit)
        store._engine.dispose()


def test_a_full_disk_is_told_and_when_there_is_room_all_goes_on(run, store, page):
    kept = []
    with full(store):
        for _ in range(500):
            key = str(uuid4())
            reply = page.answer(1, 1, id=key)
            if reply.status_code != 200:
                break
            kept.append(key)
        assert reply.status_code == 507
        assert "disk is full" in reply.json()["detail"]
        assert page.next() == [2, 3, 4]
        assert page.undo().status_code == 507
        assert page.get("/api/admin").status_code == 200
    assert page.answer(1, 1, id=key).status_code == 200
    assert page.undo().json()["undone"]["query"] == 1
    assert [label.key for label in store.labels()][:-1] == [*kept, key]
    with closing(sqlite3.connect(run / "store.db")) as connection:
        assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize(
    ("trouble", "status"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 507),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), 507),
        (ConnectionError("the database cannot be reached"), 503),
        (sqlite3.OperationalError("unknown"), 500),
    ],
    ids=str,
)
def test_what_keeps_a_label_from_the_disk_is_told(run, store, monkeypatch, trouble, status):
    def fails(_):
        raise trouble

    with monkeypatch.context() as patch:
        patch.setattr(store, "answer", fails)
        with browsing(run, store) as page:
            reply = page.answer(1)
            assert reply.status_code == status
            assert ("retry-after" in reply.headers) == (status == 503)
    with browsing(run, store) as page:
        assert page.answer(1).status_code == 200


def test_a_database_that_is_locked_too_long_is_busy_and_the_label_is_kept_once(run, store, page, monkeypatch):
    monkeypatch.setattr(app, "PATIENCE", 0.05)
    key = str(uuid4())
    with closing(sqlite3.connect(run / "store.db", isolation_level=None)) as other:
        other.execute("begin immediate")
        reply = page.answer(1, 1, id=key)
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
        assert page.next()[0] == 1  # asking goes on
        other.execute("rollback")
    monkeypatch.setattr(app, "PATIENCE", 10)
    assert page.answer(1, 1, id=key).status_code == 200
    assert [label.key for label in store.labels()] == [key]


def test_a_run_whose_database_cannot_be_read_is_busy_until_it_can(store, page, monkeypatch):
    def gone(**_):
        raise ConnectionError("gone")

    monkeypatch.setattr(app, "FRESH", 0)
    assert page.next("Ann", 1) == [1]
    with monkeypatch.context() as patch:
        patch.setattr(store, "labels", gone)
        assert page.get("/api/progress?labeller=Ann").status_code == page.answer(99).status_code == 503
        assert page.next("Ann", 1) == [1]  # from memory
    assert page.answer(99).status_code == 404


class Together:
    """Keeps labels, and remembers which came together."""

    def __init__(self):
        self.batches = []

    def __call__(self, labels):
        self.batches.append(sorted(label.query for label in labels))
        if any(label.preference is None for label in labels):
            raise ValueError("refused")
        return labels


def test_labels_that_wait_are_committed_together_and_a_bad_one_spoils_no_other(page):
    keep, told = Together(), []
    writer = Writer(keep, told.extend)
    with ThreadPoolExecutor(8) as pool:
        labels = [Label(i, None if i == 5 else 1, "Ann") for i in range(1, 9)]
        waiting = [pool.submit(page.portal.call, writer, label) for label in labels]
        until(lambda: writer._queue.qsize() == 8)
        writer.start()
        failed = [query for query, done in enumerate(waiting, 1) if done.exception()]
    writer.stop()
    assert failed == [5]
    assert sorted(label.query for label in told) == [1, 2, 3, 4, 6, 7, 8]
    assert keep.batches[0] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert len(keep.batches) == 1 + 2 * 3  # halves, until the bad one is alone


def test_what_waits_when_the_server_stops_is_kept():
    keep = Together()
    writer = Writer(keep, lambda labels: None)

    async def leave():
        tasks = [asyncio.create_task(writer(Label(i, 1, "Ann"))) for i in range(3)]
        await asyncio.sleep(0)
        writer.start()
        await asyncio.to_thread(writer.stop)
        await asyncio.gather(*tasks)

    asyncio.run(leave())
    assert sorted(query for batch in keep.batches for query in batch) == [0, 1, 2]


def test_many_people_at_once_lose_and_double_nothing(run, store, page):
    with ThreadPoolExecutor(10) as pool:
        labels = [(i % 20 + 1, 1, f"L{i % 7}", str(uuid4())) for i in range(200)]
        twice = [label for label in labels for _ in range(2)]  # a client that heard no answer asks again
        replies = list(pool.map(lambda said: page.answer(*said[:3], id=said[3]).status_code, twice))
    assert set(replies) == {200}
    assert Counter(label.key for label in store.labels()) == Counter(key for *_, key in labels)

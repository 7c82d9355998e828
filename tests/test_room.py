"""A run that has no room pauses, says so, and goes on."""

import errno
import os
from types import SimpleNamespace

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from prefrl.room import RESERVE, is_full, shortage, wait_for_room


@pytest.fixture
def free(monkeypatch):
    """Bytes that are free at each look, the last from then on."""

    def free(*left):
        left = list(left)
        monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=left.pop(0) if left[1:] else left[0]))
        monkeypatch.setattr("prefrl.room.LOOK", 0)

    return free


def test_where_there_is_room_nobody_waits(free, tmp_path):
    free(RESERVE)
    told = []
    assert shortage(tmp_path) is None
    assert wait_for_room(tmp_path, told.append) < 1
    assert told == []


def test_a_shortage_is_told_in_a_line_that_says_what_to_do(free, tmp_path):
    free(RESERVE - 1)
    assert shortage(tmp_path) == "the disk is almost full (63 MiB left): make room, and the run goes on by itself"


def test_waiting_ends_when_there_is_room(free, tmp_path):
    free(0, 0, 0, RESERVE)
    told = []
    wait_for_room(tmp_path, told.append)
    words, end = told
    assert "(0 MiB left)" in words and end is None


def test_this_disk_is_looked_at(tmp_path):
    assert shortage(tmp_path) is None or "MiB left" in shortage(tmp_path)


def raised(act):
    with pytest.raises(Exception) as caught:
        act()
    return caught.value


def full_database():
    """A real database that may not grow."""
    with create_engine("sqlite://").connect() as connection:
        connection.execute(text("pragma max_page_count = 2"))
        connection.execute(text("create table rows (words)"))
        connection.execute(text("insert into rows values (:words)"), {"words": "x" * 100_000})


def full_device():
    with open("/dev/full", "w") as file:
        file.write("words")


def because_of_it():
    try:
        full_database()
    except OperationalError as error:
        raise RuntimeError("nothing was written") from error


@pytest.mark.parametrize("act", [full_database, full_device, because_of_it])
def test_a_full_disk_is_known_by_what_it_makes_others_raise(act):
    assert is_full(raised(act))


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        RuntimeError('could not extend file "base/16384/16391": No space left on device'),  # a PostgreSQL server
    ],
)
def test_a_full_disk_has_many_names(error):
    assert is_full(error)


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "no"), ValueError("full of mistakes"), KeyError(28)])
def test_other_errors_are_no_full_disk(error):
    assert not is_full(error)

"""Who dies is reported and begun again; all end with the one that began them."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import Mock

import pytest

from prefrl import processes
from prefrl.processes import DEATHS, Beside
from tests.waiting import soon

ROOT = Path(__file__).parents[1]
LIMIT = 2.0
"""Seconds within which a death is reported."""


# what runs in processes of its own


def lives(folder, name="one"):
    """Holds a lock for as long as it lives; who removes the file with its number is given another."""
    with (folder / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        while True:
            if not (folder / name).exists():
                (folder / f"{name}.half").write_text(str(os.getpid()))
                (folder / f"{name}.half").rename(folder / name)
            time.sleep(0.01)


def deaf(folder, name="one"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    lives(folder, name)


def fails(folder):
    raise ValueError("it never works")


def fails_at_first(folder):
    if times(folder) == 1:
        raise ValueError("the first time")
    lives(folder)


def leaves_one_traceback(folder):
    """Dies again and again; the second time it leaves none."""
    if times(folder) == 1:
        raise ValueError("the first time")
    os._exit(3)


class Unborn:
    """An argument of a process that is never done beginning."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return lives, (self.folder,)


def returns_at_first(folder):
    if times(folder) > 1:
        lives(folder)


def finds_the_disk_full(folder):
    """More often than a process may die."""
    processes.BREATH = 0  # in this process only
    if times(folder) <= DEATHS:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    lives(folder)


def times(folder):
    """How often this was called, in whatever process."""
    with (folder / "times").open("a") as file:
        file.write(".")
        return file.tell()


# what is known of them


@pytest.fixture
def reports():
    return []


@pytest.fixture
def beside(tmp_path, reports):
    with Beside(tmp_path, reports.append) as beside:
        yield beside


def born(folder, name="one"):
    """The process number of who lives, once it does."""
    soon((folder / name).exists)
    return int((folder / name).read_text())


def gone(folder, name="one"):
    """Whether who lived does so no longer."""
    with (folder / f"{name}.lock").open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def given_up(beside):
    try:
        beside.check()
    except RuntimeError as error:
        return str(error)
    return None


# who dies


def test_who_raises_is_begun_again_and_its_traceback_reported(beside, reports, tmp_path):
    beside.start("learner", fails_at_first, tmp_path)
    born(tmp_path)
    (report,) = reports
    assert report.startswith("the learner process died: Traceback")
    assert "in fails_at_first" in report
    assert report.endswith("ValueError: the first time\nit is begun again")


def test_who_is_killed_is_begun_again_within_two_seconds(beside, reports, tmp_path):
    beside.start("learner", lives, tmp_path)
    os.kill(born(tmp_path), signal.SIGKILL)
    killed = time.monotonic()
    soon(lambda: reports)
    assert time.monotonic() - killed < LIMIT
    (tmp_path / "one").unlink()
    assert reports == ["the learner process died: killed by SIGKILL\nit is begun again"]
    assert beside.alive() == {"learner": born(tmp_path)}


def test_who_dies_three_times_is_given_up_with_the_last_traceback(beside, reports, tmp_path):
    beside.start("learner", fails, tmp_path)
    words = soon(lambda: given_up(beside))
    assert words.startswith("the learner process died: Traceback")
    assert "ValueError: it never works" in words and words.endswith("(3 times within 60 s)")
    assert len(reports) == 2
    assert beside.alive() == {}


def test_deaths_long_ago_are_forgiven(beside, reports, tmp_path, monkeypatch):
    monkeypatch.setattr("prefrl.processes.WITHIN", 0.0)
    beside.start("learner", fails, tmp_path)
    soon(lambda: len(reports) > DEATHS)
    beside.check()


def test_an_old_traceback_is_not_taken_for_a_new_one(beside, reports, tmp_path):
    beside.start("learner", leaves_one_traceback, tmp_path)
    soon(lambda: len(reports) == 2)
    assert reports[1] == "the learner process died: exit status 3\nit is begun again"


def test_who_returns_is_begun_again(beside, reports, tmp_path):
    """So does a server of web pages that is told to stop."""
    beside.start("page", returns_at_first, tmp_path)
    number = born(tmp_path)
    assert beside.alive() == {"page": number}
    assert reports == ["the page process died: it ended by itself\nit is begun again"]


@pytest.mark.parametrize(("sent", "cause"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGRTMIN + 3, "signal 37")])
def test_who_is_ended_by_a_signal_is_begun_again(sent, cause, beside, reports, tmp_path):
    beside.start("learner", lives, tmp_path)
    os.kill(born(tmp_path), sent)
    soon(lambda: reports)
    (tmp_path / "one").unlink()
    number = born(tmp_path)
    assert reports == [f"the learner process died: killed by {cause}\nit is begun again"]
    assert beside.alive() == {"learner": number}


def test_the_others_go_on(beside, tmp_path):
    beside.start("page", lives, tmp_path, "page")
    page = born(tmp_path, "page")
    beside.start("learner", fails, tmp_path)
    soon(lambda: given_up(beside))
    assert beside.alive() == {"page": page}


def test_who_cannot_be_begun_again_is_given_up(beside, tmp_path, monkeypatch):
    beside.start("learner", lives, tmp_path)
    number = born(tmp_path)
    monkeypatch.setattr(beside, "_begin", Mock(side_effect=BlockingIOError("no more processes")))
    os.kill(number, signal.SIGKILL)
    assert "BlockingIOError: no more processes" in soon(lambda: given_up(beside))


def test_a_full_disk_is_waited_for_and_no_death(beside, reports, tmp_path):
    beside.start("learner", finds_the_disk_full, tmp_path)
    assert beside.alive() == {"learner": born(tmp_path)}
    assert (tmp_path / "times").read_text() == "." * (DEATHS + 1)
    assert reports == []


# how they end


def test_all_end_with_stop(tmp_path, reports, monkeypatch):
    monkeypatch.setattr("prefrl.processes.GRACE", 0.2)
    with Beside(tmp_path, reports.append) as beside:
        beside.start("learner", lives, tmp_path)
        beside.start("page", deaf, tmp_path, "deaf")
        born(tmp_path), born(tmp_path, "deaf")
    assert gone(tmp_path) and gone(tmp_path, "deaf")
    assert reports == [] and beside.alive() == {}


def test_all_end_where_the_one_that_began_them_fails(tmp_path, reports):
    def fail():
        with Beside(tmp_path, reports.append) as beside:
            beside.start("learner", lives, tmp_path)
            born(tmp_path)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert gone(tmp_path)


def test_who_was_interrupted_while_it_began_another_can_end_it(tmp_path, reports, monkeypatch):
    """Ctrl-C that was held back arrives as soon as the other lives."""

    @contextmanager
    def interrupted():
        yield
        raise KeyboardInterrupt

    monkeypatch.setattr(processes, "without_ctrl_c", interrupted)
    beside = Beside(tmp_path, reports.append)
    with pytest.raises(KeyboardInterrupt):
        beside.start("learner", lives, tmp_path)
    born(tmp_path)
    beside.stop()
    assert gone(tmp_path)


def begin(folder, *functions):
    """A process that begins others and waits; it has a process group of its own."""
    command = [sys.executable, "-m", "tests.test_processes", str(folder), *functions]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)


def test_all_end_within_two_seconds_where_the_one_that_began_them_is_killed(tmp_path):
    with begin(tmp_path, "lives:one", "lives:two") as parent:
        born(tmp_path), born(tmp_path, "two")
        parent.kill()
        killed = time.monotonic()
        soon(lambda: gone(tmp_path) and gone(tmp_path, "two"))
        assert time.monotonic() - killed < LIMIT


@pytest.mark.slow
def test_who_is_deaf_ends_too_where_the_one_that_began_it_is_killed(tmp_path):
    with begin(tmp_path, "deaf:one") as parent:
        born(tmp_path)
        parent.kill()
        soon(lambda: gone(tmp_path))


@pytest.mark.parametrize("being_born", [False, True])
def test_ctrl_c_is_for_the_one_that_began_them(being_born, beside, reports, tmp_path):
    """Also while others are being begun: they would say a lot about it."""
    if being_born:
        beside.start("learner", lives, Unborn(tmp_path))
    else:
        beside.start("learner", lives, tmp_path)
    number = born(tmp_path)
    os.kill(number, signal.SIGINT)
    (tmp_path / "one").unlink()
    assert born(tmp_path) == number
    assert reports == []


def test_ctrl_c_ends_all_without_a_word(tmp_path):
    with begin(tmp_path, "lives:one", "lives:two") as parent:
        born(tmp_path), born(tmp_path, "two")
        os.killpg(parent.pid, signal.SIGINT)
        _, words = parent.communicate(timeout=30)
    assert (parent.returncode, words) == (130, "")
    assert gone(tmp_path) and gone(tmp_path, "two")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    folder = Path(sys.argv[1])
    try:
        with Beside(folder) as everything:
            for word in sys.argv[2:]:
                function, _, name = word.partition(":")
                everything.start(name, globals()[function], folder, name)
            signal.pause()
    except KeyboardInterrupt:
        sys.exit(130)

"""The page as training begins it: nothing that keeps it from beginning ends a run."""

import os
import signal
import socket
from contextlib import contextmanager
from multiprocessing import Pipe, get_context

import httpx
import pytest

from prefrl import live
from prefrl.web.options import PageOptions
from prefrl.web.serve import check, serve
from prefrl.web.tokens import FILE, invite
from tests.web_pages import Process, process, until


@contextmanager
def begun(run, **options):
    """A page's process as training begins it."""
    options = PageOptions(open_browser=False, **{"port": 0} | options)
    child = get_context("spawn").Process(target=serve, args=(run, options))
    child.start()
    try:
        yield child
    finally:
        child.terminate()
        child.join()


def said(capfd, words):
    """Waits until a process of this test's has printed `words`; gives all that it printed."""
    heard = []

    def look():
        heard.append(capfd.readouterr().out)
        return words in "".join(heard)

    until(look)
    return "".join(heard)


def test_a_page_that_training_begins_waits_until_another_page_of_the_run_ends(run, store, capfd):
    with process(run, port=0) as first, begun(run, invite=("Ann",)) as child:
        heard = said(capfd, "tried again")
        assert (
            heard == f"no labelling page yet, it is tried again: the page of {run} is served already: {first.address}\n"
        )
        first.end()
        until(lambda: live.read(run, "page").get("pid") == child.pid)
        assert f"invitation of Ann: {first.address}/?token=" in said(capfd, "invitation")
        assert httpx.get(f"{first.address}/api/next").status_code == 401


def test_a_page_that_training_begins_waits_for_its_port(run, store, capfd):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with begun(run, port=port) as child:
            said(capfd, f"cannot listen at 127.0.0.1:{port}")
            taken.close()
            until(lambda: live.read(run, "page").get("pid") == child.pid)


def test_a_page_that_training_begins_passes_over_what_is_revoked_already(run, store, capfd):
    invite(run, "Ann")
    with begun(run, revoke=("Bob",)):
        assert "nothing to revoke: Bob" in said(capfd, "labelling page")


def test_a_signal_ends_a_page_that_waits(run, store, capfd):
    with process(run, port=0), begun(run) as child:
        said(capfd, "tried again")
        child.terminate()
        child.join(10)
        assert child.exitcode == -signal.SIGTERM


def waiting(run, alive):
    """Begins a page in a process that has `alive` open; what it prints is the test's."""
    child = get_context("spawn").Process(target=served_with, args=(run, alive))
    child.start()
    child.join()


def served_with(run, alive):
    serve(run, PageOptions(open_browser=False, port=0))


def test_a_page_that_waits_ends_with_the_process_that_began_it(run, store, capfd):
    ours, theirs = Pipe()
    with process(run, port=0):
        starter = get_context("spawn").Process(target=waiting, args=(run, theirs))
        starter.start()
        theirs.close()
        said(capfd, "tried again")
        starter.kill()
        starter.join()
        assert ours.poll(10)  # nobody has the other end any more
        with pytest.raises(EOFError):
            ours.recv()


def test_what_cannot_be_is_known_before_a_page_begins(run, store):
    fine = PageOptions(host="127.0.0.1", port=0)
    for folder in (None, run):
        check(folder, fine)
        check(folder, PageOptions())
        check(folder, PageOptions(host="0.0.0.0", invite=("Ann",)))
        check(folder, PageOptions(host="0.0.0.0", open_to_all=True))
        for host in ("192.0.2.1", "no..name", "no-such-name.invalid"):
            with pytest.raises(ValueError, match=rf"^cannot listen at {host}:0: .+$"):
                check(folder, PageOptions(host=host, invite=("Ann",)))
        with pytest.raises(ValueError, match=r"nobody may come in at 0.0.0.0: --invite NAME"):
            check(folder, PageOptions(host="0.0.0.0"))
        with pytest.raises(ValueError, match="a labeller's name"):
            check(folder, PageOptions(invite=("",)))
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(ValueError, match=f"^cannot listen at 127.0.0.1:{port}: Address already in use$"):
                check(folder, PageOptions(port=port))
    invite(run, "Ann")
    check(run, PageOptions(host="0.0.0.0"))
    with pytest.raises(ValueError, match="nobody may come in"):
        check(run, PageOptions(host="0.0.0.0", revoke=("Ann",)))
    assert "Ann" in (run / FILE).read_text()


def test_the_port_of_the_runs_own_last_page_may_still_be_taken(run, store):
    with process(run, port=0) as server:
        check(run, PageOptions(port=int(server.address.rpartition(":")[2])))


def test_a_page_of_a_run_that_goes_on_is_changed_by_resuming_it(run, store):
    with begun(run):
        until(lambda: live.read(run, "page"))
        with pytest.raises(ValueError, match=r"end the run, and `prefrl resume .* --host 0.0.0.0 --invite Ann`"):
            serve(run, PageOptions(host="0.0.0.0", invite=("Ann",)))


def twice(run, ready, go):
    """Begins a page, ends it, and begins it again, as a driver does with one that died."""
    options = PageOptions(open_browser=False, port=0, invite=("Ann",), revoke=("Bob",))
    for _ in range(2):
        child = get_context("spawn").Process(target=serve, args=(run, options))
        child.start()
        ready.put(None)
        go.get()
        child.kill()
        child.join()


def test_a_page_that_is_begun_again_changes_neither_link_nor_port(run, store):
    invite(run, "Bob")
    spawn = get_context("spawn")
    ready, go = spawn.Queue(), spawn.Queue()
    driver = spawn.Process(target=twice, args=(run, ready, go))
    driver.start()
    known, seen, addresses = [], [], []
    for _ in range(2):
        ready.get()
        until(lambda: live.read(run, "page").get("pid") not in [None, *seen])
        seen.append(live.read(run, "page")["pid"])
        addresses.append(live.read(run, "page")["address"])
        known.append((run / FILE).read_text())
        go.put(None)
    driver.join()
    assert known[0] == known[1] and "Ann" in known[0]
    assert addresses[0] == addresses[1]


def parent(run):
    """Starts a page in a process of its own, says so, and is killed."""
    child = get_context("spawn").Process(target=serve, args=(run, PageOptions(open_browser=False, port=0)))
    child.start()
    until(lambda: live.read(run, "page"))
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_page_ends_when_the_process_that_started_it_dies(run, store):
    starter = get_context("spawn").Process(target=parent, args=(run,))
    starter.start()
    starter.join()
    with process(run, port=0) as server:  # the lock may be held until the old page has gone
        for _ in range(100):
            if server.address.startswith("http"):
                break
            server = Process(run, port=0)
        assert httpx.get(f"{server.address}/").status_code == 200
        server.end()

"""From the command line to the first pair on the page, to an answer that the reward has learned, and to the end."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from prefrl import live
from prefrl.cli import INTERRUPTED, main
from prefrl.control.camera import no_gl, working_gl
from prefrl.runs import RunFolder

DEADLINE = 60.0
"""Seconds to the first pair; on a quiet machine it takes eight."""

SLOWER = ("asker", "page")

pytestmark = pytest.mark.skipif(working_gl() is None, reason=no_gl())


@contextmanager
def begun(*words: str) -> Iterator["subprocess.Popen[str]"]:
    """`prefrl words...` in a process group of its own, as a terminal would start it; all of it ends with the test."""
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "  # test runners may ignore it
    )
    code += "from prefrl.cli import main; sys.exit(main())"
    begun = subprocess.Popen(
        [sys.executable, "-c", f"if __name__ == '__main__': {code}", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield begun
    finally:
        if begun.poll() is None:
            os.killpg(begun.pid, signal.SIGKILL)
        begun.communicate()


def awaited(look: Callable[[], Any], seconds: float = DEADLINE) -> Any:
    ends = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < ends, "it did not come"
        time.sleep(0.05)
    return found


def call(url: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, {"Content-Type": "application/json"})) as reply:
        return json.load(reply)


def address(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    for line in process.stdout:
        if found := re.search(r"http://\S+\d", line):
            return found[0]
    raise AssertionError("no address was printed")


def answer(page: str, query: int, preference: float) -> None:
    said = {"id": str(uuid4()), "query": query, "preference": preference, "labeller": "me", "seconds": 1.0}
    call(f"{page}/api/answer", said)


def answered(page: str, n: int) -> None:
    """Answers `n` pairs as they come."""
    for _ in range(n):
        pair = awaited(lambda: call(f"{page}/api/next?labeller=me&n=1")["pairs"])[0]
        answer(page, pair["query"], 1.0)


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_demo_shows_a_pair_within_a_minute_learns_from_answers_and_ends_with_ctrl_c(tmp_path):
    out, began = tmp_path / "demo", time.monotonic()
    with begun("demo", "--env", "prefrl/Reacher-v0", "--no-browser", "--port", "0", "--out", str(out)) as demo:
        page = address(demo)
        pair = awaited(lambda: call(f"{page}/api/next?labeller=me&n=3")["pairs"])[0]
        clip = urllib.request.urlopen(page + pair["left"]["clip"])
        assert clip.headers["content-type"] == "video/webm" and time.monotonic() - began < DEADLINE
        answered(page, 10)
        assert awaited(lambda: live.read(out, "policy").get("version", 0)) > 0
        os.killpg(demo.pid, signal.SIGINT)
        words, _ = demo.communicate(timeout=15)
        assert demo.returncode == INTERRUPTED and f"go on with `prefrl resume {out}`" in words
        awaited(lambda: not alive(demo.pid), 5)
    with RunFolder.open(out).open_store() as store:
        assert store.counts().labelled == 10


def test_a_page_of_its_own_serves_what_is_still_open(tmp_path):
    out, settings = tmp_path / "run", ["--labels", "40", "-n", "400000", "--eval-episodes", "1"]
    train = ["train", "--env", "prefrl/Reacher-v0", "--oracle", "human", *settings, "--out", str(out), "--no-browser"]
    assert main([*train, "--port", "0"]) == 0
    with begun("label", str(out), "--no-browser", "--port", "0") as label:
        page = address(label)
        [pair] = call(f"{page}/api/next?labeller=me&n=1")["pairs"]
        answer(page, pair["query"], 0.5)
        os.killpg(label.pid, signal.SIGINT)
        label.communicate(timeout=10)
        assert label.returncode == 0
    assert RunFolder.open(out).summary["pearson"] is None  # nobody answered while it trained
    with RunFolder.open(out).open_store() as store:
        [kept] = store.labels()
    assert (kept.query, kept.preference, kept.labeller) == (pair["query"], 0.5, "me")


@pytest.mark.parametrize("who", ["all", "learner", *(pytest.param(who, marks=pytest.mark.slow) for who in SLOWER)])
def test_a_run_with_people_goes_on_after_kill_9(tmp_path, who):
    out, page_of = tmp_path / "run", ["--no-browser", "--port", "0"]
    settings = ["--env", "prefrl/Reacher-v0", "--oracle", "human", "--labels", "400", "-n", "2000000"]
    with begun("train", *settings, "--out", str(out), *page_of) as train:
        page = address(train)
        answered(page, 11)
        if who == "all":
            os.killpg(train.pid, signal.SIGKILL)
        else:
            os.kill(awaited(lambda: live.read(out, who).get("pid")), signal.SIGKILL)
            answered(awaited(lambda: came_back(out, page, who)), 5)
            assert len(rows(out)) == 16
    if who == "all":
        awaited(lambda: not alive(train.pid), 5)
        with begun("resume", str(out), *page_of) as train:
            answered(address(train), 5)
            assert len(rows(out)) == 16
            assert awaited(lambda: live.read(out, "policy").get("version", 0)) > 0


def came_back(out: Path, page: str, who: str) -> str | None:
    """The address of the page, once it answers again."""
    page = live.read(out, "page").get("address", page)
    try:
        call(f"{page}/api/progress?labeller=me")
    except (urllib.error.URLError, ConnectionError):
        return None
    return page


def rows(out: Path) -> list[Any]:
    with RunFolder.open(out).open_store() as store:
        return store.labels()

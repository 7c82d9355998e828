"""A run with pairs to look at, and a browser without a screen."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

import httpx
import numpy as np
from anyio.from_thread import BlockingPortal, start_blocking_portal

from prefrl.runs import RunConfig, RunFolder
from prefrl.store import Store
from prefrl.types import Query, Segment
from prefrl.web.app import create_app

HOST = "http://localhost"


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def new_run(folder: Path, labels: int = 1000) -> Path:
    RunFolder.create(folder, RunConfig(env="prefrl/Dot-v0", labels=labels))
    (folder / "clips").mkdir()
    return folder


def clip(run: Path, content: bytes) -> str:
    name = f"{sha256(content).hexdigest()}.webm"
    (run / "clips" / name).write_bytes(content)
    return name


def ask(store: Store, n: int, media: bool = True, first: int = 0) -> list[Query]:
    """`n` queries, each about two segments of its own."""
    numbers = range(2 * first, 2 * (first + n))
    names = [clip(store.folder, b"clip %d" % i) if media else None for i in numbers]
    new = [Segment(np.full((2, 1), i, "f4"), np.ones((2, 1), "f4"), media=m) for i, m in zip(numbers, names)]
    kept = store.record(new)
    return store.ask([Query(left.id, right.id, why="uniform") for left, right in zip(kept[::2], kept[1::2])])


class Client:
    """Sends requests to an app in another thread, and says what a labeller does."""

    def __init__(self, portal: BlockingPortal, http: httpx.AsyncClient) -> None:
        self.portal, self.http = portal, http

    def request(self, method: str, path: str, **rest: object) -> httpx.Response:
        return self.portal.call(lambda: self.http.request(method, path, **rest))  # type: ignore[arg-type]

    def get(self, path: str, **rest: object) -> httpx.Response:
        return self.request("GET", path, **rest)

    def post(self, path: str, **rest: object) -> httpx.Response:
        return self.request("POST", path, **rest)

    def next(self, labeller: str = "Ann", n: int = 3, **rest: object) -> list[int]:
        """The queries of the pairs that the labeller gets."""
        reply = self.get("/api/next", params={"labeller": labeller, "n": n, **rest})
        assert reply.status_code == 200, reply.text
        return [pair["query"] for pair in reply.json()["pairs"]]

    def answer(self, query: int, preference: float | None = 1, labeller: str = "Ann", **rest: object) -> httpx.Response:
        said = {"id": str(uuid4()), "query": query, "preference": preference, "labeller": labeller, "seconds": 2.0}
        return self.post("/api/answer", json=said | rest)

    def undo(self, labeller: str = "Ann", id: str | None = None) -> httpx.Response:
        return self.post("/api/undo", json={"id": id or str(uuid4()), "labeller": labeller})

    def progress(self, labeller: str = "Ann") -> dict[str, object]:
        found: dict[str, object] = self.get("/api/progress", params={"labeller": labeller}).json()
        return found


@contextmanager
def browsing(run: Path, store: Store, *rest: object, **options: object) -> Iterator[Client]:
    """A client of `create_app(run, store, ...)`, without a network."""
    with start_blocking_portal() as portal:
        app = create_app(run, store, *rest, **options)  # type: ignore[arg-type]
        with portal.wrap_async_context_manager(app.router.lifespan_context(app)):
            http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HOST)
            with portal.wrap_async_context_manager(http):
                yield Client(portal, http)


SERVE = """
import sys
from pathlib import Path
from prefrl.web.options import PageOptions
from prefrl.web.serve import serve
serve(Path(sys.argv[1]), PageOptions(open_browser=False, **eval(sys.argv[2])))
"""


class Process:
    """A server in a process of its own, as people start it."""

    def __init__(self, run: Path, **options: object) -> None:
        command = [sys.executable, "-c", SERVE, str(run), repr(options)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.first = self.process.stdout.readline()
        self.address = self.first.rpartition(": ")[2].strip().rstrip("/")

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def end(self, how: int = signal.SIGTERM) -> tuple[int, str, str]:
        """(exit status, what else it printed, what it complained about)."""
        os.kill(self.process.pid, how)
        out, err = self.process.communicate(timeout=10)
        return self.process.returncode, out, err


@contextmanager
def process(run: Path, **options: object) -> Iterator[Process]:
    started = Process(run, **options)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.process.kill()
        started.process.communicate()


def until(true: object, seconds: float = 10.0) -> None:
    """Waits for what another process does."""
    end = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.005)

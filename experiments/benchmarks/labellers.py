"""A run with pairs to ask about, the server of its page in a process of its own, and a browser to ask it."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from itertools import islice, permutations
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmarks.measure import scratch
from prefrl.runs import RunConfig, RunFolder
from prefrl.store import Store
from prefrl.types import Query, Segment
from tests.postgres import Missing, running

SEGMENTS = 200
CLIP = 40_000
"""Bytes, of a few seconds."""
ENDLESS = 10**9
"""Labels wanted: nobody is ever done."""
Reply = tuple[int, Any]
"""Status, and what the JSON says."""


@contextmanager
def runs(queries: int) -> Iterator[dict[str, Path]]:
    """A run with so many unanswered queries in a file, and one on a PostgreSQL server where there can be one."""
    with scratch() as folder:
        found = {"SQLite": new_run(Path(folder) / "sqlite", queries)}
        try:
            with running() as server:
                found["PostgreSQL"] = new_run(Path(folder) / "postgresql", queries, server.database())
                yield found
        except Missing as reason:
            print(f"without PostgreSQL: {reason}", file=sys.stderr)
            yield found


def new_run(path: Path, queries: int, store: str | None = None) -> Path:
    config = RunConfig("prefrl/HalfCheetah-v0", labels=ENDLESS, oracle="human", store=store)
    folder = RunFolder.create(path, config)
    (path / "clips").mkdir()
    with folder.open_store() as opened:
        ask(opened, queries)
    return path


def ask(store: Store, queries: int) -> None:
    rng = np.random.default_rng(0)
    new = [
        Segment(rng.normal(size=(4, 2)), np.ones((4, 1)), media=_clip(store.folder, rng.bytes(CLIP)))
        for _ in range(SEGMENTS)
    ]
    ids = [segment.id for segment in store.record(new)]
    pairs = islice(permutations(ids, 2), queries)
    store.ask(Query(left, right, why="uniform") for left, right in pairs)


def _clip(run: Path, content: bytes) -> str:
    name = f"{sha256(content).hexdigest()}.webm"
    (run / "clips" / name).write_bytes(content)
    return name


class Page:
    """The server, as `prefrl label` starts it; always at the same address, also after it was killed."""

    def __init__(self, run: Path, flags: Sequence[str] = ()) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        words = ["label", str(run), "--no-browser", "--port", str(self.port), *flags]
        self._command = [sys.executable, "-m", "prefrl.cli", *words]
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)

    def kill(self, how: int = signal.SIGKILL) -> None:
        os.kill(self._process.pid, how)
        self._process.wait()

    async def answers(self) -> None:
        """Returns as soon as it does."""
        browser = Browser(self.port)
        while True:
            with suppress(OSError):
                await browser.get("/api/progress?labeller=nobody")
                return browser.close()
            if self._process.poll() is not None:
                raise SystemExit("the page's server has ended")
            await asyncio.sleep(0.005)


@contextmanager
def page(run: Path, flags: Sequence[str] = ()) -> Iterator[Page]:
    served = Page(run, flags)
    try:
        yield served
    finally:
        served.kill(signal.SIGTERM)


class Browser:
    """One connection, kept open as browsers do; ConnectionError where it is cut."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, path: str) -> Reply:
        return await self._ask(f"GET {path}", b"")

    async def post(self, path: str, said: dict[str, Any]) -> Reply:
        return await self._ask(f"POST {path}", json.dumps(said).encode())

    def close(self) -> None:
        if self._streams:
            self._streams[1].close()
            self._streams = None

    async def _ask(self, line: str, body: bytes) -> Reply:
        about = f"host: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
        if not self._streams:
            self._streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self._streams
        try:
            writer.write(f"{line} HTTP/1.1\r\n{about}\r\n\r\n".encode() + body)
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"\r\ncontent-length: (\d+)", head)
            content = await reader.readexactly(int(length[1]) if length else 0)
        except (OSError, EOFError) as error:
            self.close()
            raise ConnectionError("the server has gone") from error
        said = json.loads(content) if b"\r\ncontent-type: application/json" in head else None
        return int(head.split()[1]), said

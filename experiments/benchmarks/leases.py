"""A hundred thousand leases by sixteen workers: none may be held by two at once.

board  Sixteen threads take queries, give some back, walk away from others, which run out by the clock and are handed
       on, and renew the rest. A query is held twice if a worker gets it while another has it for certain: who had
       it last has not given it back, and asked for it less than a lease ago.
HTTP   As many connections to the page's server. Every query is answered at once, so that whatever two labellers are
       asked is held twice.
"""

import asyncio
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from experiments.benchmarks.labellers import Browser, Page, new_run, page
from experiments.benchmarks.measure import arguments, markdown, publish, scratch
from prefrl.runs import RunFolder
from prefrl.web.board import Board
from prefrl.web.leases import Leases

QUERIES = 1_000
"""Open at once, on the board."""
SHORT = 0.25
"""Seconds after which a lease runs out, on the board: a worker that is not heard for so long is late, not wrong."""
MOST = 5
"""Queries that a worker takes at most."""


@dataclass
class Outcome:
    """What the workers saw."""

    leases: int = 0
    twice: int = 0
    handed_on: int = 0
    """Leases on queries whose last one had run out."""
    seconds: float = 0.0


@dataclass
class Watch:
    """Who has which query, by what the workers know; `until` then he has it for certain."""

    wanted: int
    seen: Outcome = field(default_factory=Outcome)
    _held: dict[int, tuple[str, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def took(self, query: int, who: str, asked: float) -> None:
        """He asked at `asked`, and has got it by now."""
        with self._lock:
            now = time.monotonic()
            holder, until = self._held.get(query, (who, 0.0))
            self.seen.leases += 1
            self.seen.twice += holder != who and now < until
            self.seen.handed_on += holder != who and now >= until
            self._held[query] = who, asked + SHORT

    def renewed(self, query: int, who: str, asked: float) -> None:
        with self._lock:
            if self._held.get(query, ("", 0.0))[0] == who:
                self._held[query] = who, asked + SHORT

    def gives_back(self, query: int, who: str) -> None:
        """To be called before it is free."""
        with self._lock:
            if self._held.get(query, ("", 0.0))[0] == who:
                del self._held[query]

    @property
    def over(self) -> bool:
        return self.seen.leases >= self.wanted


def work(board: Board, watch: Watch, worker: int) -> None:
    rng, lives, held = random.Random(worker), 0, set[int]()
    while not watch.over:
        who, asked = f"{worker}, life {lives}", time.monotonic()
        found = {query.id for query, _ in board.next(who, min(len(held) + 1, MOST))}
        for query in found - held:
            watch.took(query, who, asked)
        for query in found & held:
            watch.renewed(query, who, asked)
        held = found
        if held and rng.random() < 0.5:
            query = held.pop()
            watch.gives_back(query, who)
            board.release(query, who)
        elif rng.random() < 0.02:
            lives, held = lives + 1, set()  # he walks away from what he has


def on_board(run: Path, leases: int, workers: int) -> Outcome:
    with RunFolder.open(run).open_store() as store:
        board, watch = Board(store, Leases(lasts=SHORT)), Watch(leases)
        board.refresh()
        began = time.perf_counter()
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(lambda worker: work(board, watch, worker), range(workers)))
        watch.seen.seconds = time.perf_counter() - began
    return watch.seen


async def ask(served: Page, leases: int, workers: int) -> Outcome:
    seen, asked_of = Outcome(), dict[int, str]()

    async def label(who: str) -> None:
        browser = Browser(served.port)
        while seen.leases < leases:
            status, found = await browser.get(f"/api/next?labeller={who}&n={random.randint(1, MOST)}")
            assert status == 200, found
            fresh = [pair["query"] for pair in found["pairs"] if asked_of.get(pair["query"]) != who]
            seen.leases += len(fresh)
            seen.twice += sum(query in asked_of for query in fresh)
            asked_of.update(dict.fromkeys(fresh, who))
            for pair in found["pairs"]:
                said = {"id": str(uuid4()), "query": pair["query"], "preference": 1, "labeller": who, "seconds": 0.1}
                status, told = await browser.post("/api/answer", said)
                assert status == 200, told
        browser.close()

    await served.answers()
    began = time.perf_counter()
    await asyncio.gather(*(label(f"worker{i}") for i in range(workers)))
    seen.seconds = time.perf_counter() - began
    return seen


def over_http(run: Path, leases: int, workers: int) -> Outcome:
    with page(run) as served:
        return asyncio.run(ask(served, leases, workers))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--leases", type=int, default=100_000)
    parser.add_argument("--http", type=int, default=10_000, help="leases through HTTP, each answered")
    parser.add_argument("--workers", type=int, default=16)
    given = parser.parse_args()
    with scratch() as folder:
        found = {
            "board": on_board(new_run(Path(folder) / "board", QUERIES), given.leases, given.workers),
            "HTTP": over_http(new_run(Path(folder) / "http", given.http + 1_000), given.http, given.workers),
        }
    cells = [
        [name, f"{seen.leases:,}", str(seen.twice), f"{seen.handed_on:,}", f"{seen.leases / seen.seconds:,.0f}"]
        for name, seen in found.items()
    ]
    head = ["", "leases", "held twice (0)", "handed on after they ran out", "leases/s"]
    title = f"# Leases\n\n{given.workers} workers; through HTTP every lease is answered before the next.\n\n"
    publish(given.out, "leases", title + markdown(head, cells), {name: vars(seen) for name, seen in found.items()})


if __name__ == "__main__":
    main()

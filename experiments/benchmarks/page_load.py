"""Fifty people label at once, two pairs a second each: how long the page's server takes to keep an answer.

Each labeller does what the page does: with every answer it asks for the next pairs, and every few seconds how far the
run is; with --clips it downloads the clips too. An answer counts from the moment when it was due to the reply, which
says that it is on the disk. The server is `prefrl label` on loopback, with SQLite and with PostgreSQL.
"""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from experiments.benchmarks.labellers import Browser, Page, Reply, page, runs
from experiments.benchmarks.measure import arguments, markdown, publish
from prefrl.runs import RunFolder

AHEAD = 4
"""Pairs that the page holds."""
POLL = 3.0
"""Seconds between two looks at the progress."""
QUANTILES = np.linspace(0, 1, 201)
"""What is kept of all the seconds."""
FLAGS = ("--overlap", "0.1", "--repeats", "0.05")
TARGETS = {"SQLite": 50, "PostgreSQL": 25}
"""Milliseconds within which 99 % of the answers are kept."""


@dataclass
class Seen:
    """What all labellers saw."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    statuses: Counter[int] = field(default_factory=Counter)

    async def took(self, what: str, began: float, asked: Awaitable[Reply]) -> Any:
        status, said = await asked
        self.seconds[what].append(asyncio.get_running_loop().time() - began)
        self.statuses[status] += 1
        return said


class Labeller:
    """A page in a browser; `rate`: labels per second."""

    def __init__(self, name: str, port: int, seen: Seen, rate: float, clips: bool) -> None:
        self.name, self.seen, self.rate, self.clips = name, seen, rate, clips
        self.answering, self.asking, self.looking, *self.loading = (Browser(port) for _ in range(5))
        self.held: list[dict[str, Any]] = []

    async def arrive(self) -> None:
        """Opens the page."""
        await self.looking.get(f"/api/progress?labeller={self.name}")
        await self.answering.get(f"/api/progress?labeller={self.name}")
        self.held = (await self.asking.get(self._next()))[1]["pairs"]

    async def label(self, until: float) -> None:
        clock = asyncio.get_running_loop().time
        due = clock() + random.uniform(0, 1 / self.rate)
        while due < until:
            await asyncio.sleep(due - clock())
            await self._answer(due)
            due += random.uniform(0.5, 1.5) / self.rate

    async def look(self, until: float) -> None:
        clock = asyncio.get_running_loop().time
        await asyncio.sleep(random.uniform(0, POLL))
        while clock() < until:
            await self.seen.took("progress", clock(), self.looking.get(f"/api/progress?labeller={self.name}"))
            await asyncio.sleep(POLL)

    async def _answer(self, due: float) -> None:
        query = self.held.pop(0)["query"]
        preference = random.choice([0, 0.5, 1, None])
        said = {"id": str(uuid4()), "query": query, "preference": preference, "labeller": self.name, "seconds": 0.5}
        _, found = await asyncio.gather(
            self.seen.took("answer", due, self.answering.post("/api/answer", said)),
            self.seen.took("next", due, self.asking.get(self._next(waiting=1))),
        )
        known = {query, *(pair["query"] for pair in self.held)}
        fresh = [pair for pair in found["pairs"] if pair["query"] not in known]
        self.held += fresh
        if self.clips:
            await asyncio.gather(*(self._load(pair) for pair in fresh))

    async def _load(self, pair: dict[str, Any]) -> None:
        clock = asyncio.get_running_loop().time
        sides = zip(self.loading, (pair["left"]["clip"], pair["right"]["clip"]), strict=True)
        await asyncio.gather(*(self.seen.took("clip", clock(), browser.get(clip)) for browser, clip in sides))

    def _next(self, waiting: int = 0) -> str:
        holding = ",".join(str(pair["query"]) for pair in self.held)
        return f"/api/next?labeller={self.name}&n={AHEAD + waiting}&holding={holding}"


async def load(served: Page, labellers: int, rate: float, seconds: float, clips: bool) -> Seen:
    await served.answers()
    seen = Seen()
    people = [Labeller(f"labeller{i}", served.port, seen, rate, clips) for i in range(labellers)]
    await asyncio.gather(*(person.arrive() for person in people))
    until = asyncio.get_running_loop().time() + seconds
    await asyncio.gather(*(work for person in people for work in (person.label(until), person.look(until))))
    return seen


def measured(run: Path, labellers: int, rate: float, seconds: float, clips: bool) -> Seen:
    with page(run, FLAGS) as served:
        seen = asyncio.run(load(served, labellers, rate, seconds, clips))
    with RunFolder.open(run).open_store() as store:
        assert len(store.labels()) == len(seen.seconds["answer"]), "an answer that was acknowledged is not there"
    return seen


def lines(name: str, seen: Seen, seconds: float) -> list[list[str]]:
    """One per kind of request."""
    found = []
    for what, took in seen.seconds.items():
        figures = [f"{1000 * value:.1f}" for value in (*np.quantile(took, [0.5, 0.95, 0.99]), max(took))]
        target = f"p99 at most {TARGETS[name]} ms" if what == "answer" else ""
        found.append([f"{name}: {what}", f"{len(took) / seconds:.0f}", *figures, target])
    failed = sum(count for status, count in seen.statuses.items() if status != 200)
    return [*found, [f"{name}: 5xx or other refusals", str(failed), "", "", "", "", "0"]]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--labellers", type=int, default=50)
    parser.add_argument("--rate", type=float, default=2.0, help="labels per second of each")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clips", action="store_true", help="download the clips too")
    given = parser.parse_args()
    queries = int(1.2 * given.labellers * (given.rate * given.seconds + AHEAD)) + 500
    table, numbers = [], {}
    with runs(queries) as found:
        for name, run in found.items():
            seen = measured(run, given.labellers, given.rate, given.seconds, given.clips)
            table += lines(name, seen, given.seconds)
            quantiles = {what: np.quantile(took, QUANTILES).round(5).tolist() for what, took in seen.seconds.items()}
            numbers[name] = {"seconds": quantiles, "statuses": seen.statuses}
    head = ["", "per second", "median, ms", "p95", "p99", "longest", "target"]
    title = (
        f"# Many labellers at once\n\n{given.labellers} labellers, each {given.rate:g} labels a second for "
        f"{given.seconds:g} s{', with clips of 40 kB' if given.clips else ''}.\n\n"
    )
    publish(given.out, "page_load", title + markdown(head, table), numbers)


if __name__ == "__main__":
    main()

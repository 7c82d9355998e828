"""`kill -9` of the page's server at random moments, while labellers answer fast, and ask until they are heard.

Every answer has its key before it is sent, and keeps it until it is acknowledged, as in the page's outbox. At the end
the store is asked: a label that was acknowledged and is not there is lost; a labeller's second row about one query, or
one that nobody sent, is doubled. Both must be 0, and the server must answer again within 2 s.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

from experiments.benchmarks.labellers import Browser, Page, page, runs
from experiments.benchmarks.measure import arguments, markdown, publish
from prefrl.runs import RunFolder

LONGEST = 1.0
"""Seconds between the server's first answer and the next kill, at most."""
PAUSE = 0.02
"""Seconds between two answers of a labeller: as many in a minute as people give in an hour."""
AGAIN = 0.01
"""Seconds until a labeller who was not heard tries again."""


@dataclass
class Outcome:
    """What became of the labels."""

    acknowledged: int
    lost: int
    doubled: int
    twice: int
    """Queries that two labellers answered: leases end with the server."""
    away: list[float]
    """Seconds from each kill to the next answer of the server."""


@dataclass
class Labeller:
    """Answers whatever he is asked; `kept`: query and preference of acknowledged answers, by key."""

    name: str
    port: int
    kept: dict[str, tuple[int, float]] = field(default_factory=dict)

    async def work(self, over: asyncio.Event) -> None:
        browser = Browser(self.port)
        while not over.is_set():
            found = await until_heard(partial(browser.get, f"/api/next?labeller={self.name}&n=3"))
            for pair in found["pairs"]:
                key, preference = str(uuid4()), random.choice([0, 0.5, 1])
                said = {"id": key, "query": pair["query"], "preference": preference}
                said |= {"labeller": self.name, "seconds": 0.1}
                await until_heard(partial(browser.post, "/api/answer", said))
                self.kept[key] = pair["query"], preference
                await asyncio.sleep(PAUSE)
        browser.close()


async def until_heard(ask: Any) -> Any:
    """What the server says, however often it must be asked the same."""
    while True:
        try:
            status, said = await ask()
        except OSError:
            status = 503
        if status == 200:
            return said
        assert status == 503, f"{status}: {said}"
        await asyncio.sleep(AGAIN)


async def spree(served: Page, kills: int, people: Sequence[Labeller], longest: float) -> list[float]:
    """Kills the server so many times; the seconds that it was away each time."""
    over, away = asyncio.Event(), []
    await served.answers()
    work = asyncio.gather(*(person.work(over) for person in people))
    for _ in range(kills):
        await asyncio.sleep(random.uniform(0, longest))
        began = time.perf_counter()
        served.kill()
        served.start()
        await served.answers()
        away.append(time.perf_counter() - began)
    over.set()
    await work
    return away


def killed(run: Path, kills: int, labellers: int, longest: float = LONGEST) -> Outcome:
    with page(run) as served:
        people = [Labeller(f"labeller{i}", served.port) for i in range(labellers)]
        away = asyncio.run(spree(served, kills, people, longest))
    kept = {(key, person.name, *said) for person in people for key, said in person.kept.items()}
    with RunFolder.open(run).open_store() as store:
        labels = store.labels()
    found = [(label.key, label.labeller, label.query, label.preference) for label in labels]
    answered = {(label.query, label.labeller) for label in labels}
    return Outcome(
        acknowledged=len(kept),
        lost=len(kept - set(found)),
        doubled=len(found) - len(answered) + len(set(found) - kept),
        twice=len(answered) - len({query for query, _ in answered}),
        away=away,
    )


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--labellers", type=int, default=8)
    given = parser.parse_args()
    with runs(queries=min(39_000, 1_000 + 200 * given.kills)) as found:
        outcomes = {name: killed(run, given.kills, given.labellers) for name, run in found.items()}
    figures = {
        "labels acknowledged": ([f"{outcome.acknowledged:,}" for outcome in outcomes.values()], ""),
        "lost": ([str(outcome.lost) for outcome in outcomes.values()], "0"),
        "doubled": ([str(outcome.doubled) for outcome in outcomes.values()], "0"),
        "queries of two labellers": ([str(outcome.twice) for outcome in outcomes.values()], ""),
        "seconds away, median": ([f"{median(outcome.away):.2f}" for outcome in outcomes.values()], ""),
        "seconds away, longest": ([f"{max(outcome.away):.2f}" for outcome in outcomes.values()], "at most 2"),
    }
    cells = [[name, *values, target] for name, (values, target) in figures.items()]
    title = f"# Kills of the page's server\n\n{given.kills} kills, {given.labellers} labellers.\n\n"
    told = "\n\nLeases end with the server: after a kill, some queries are asked of a second labeller."
    text = title + markdown(["", *outcomes, "target"], cells) + told
    publish(given.out, "page_kills", text, {name: vars(outcome) for name, outcome in outcomes.items()})


if __name__ == "__main__":
    main()

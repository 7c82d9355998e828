"""Summaries of papers from an oracle's preferences, and what reward models learn of people's: the report of both.

    python -m experiments.summaries --data FOLDER_OF_SCITLDR [--human sorted_scores.json] [--judged oai1b_judged.csv]
        [--seeds 3] [--curves 3] [--jobs 2] [--edition cpu] [--out runs/summaries]

A model of about a million parameters learns from scratch to sum up an abstract in a sentence. Its reward comes from
comparisons that an oracle answers: ROUGE to what people wrote, which it does not see, wrong once in four. Each result
is a line of OUT/results.jsonl as soon as it is there; the same command goes on where it was cut off. The page and its
figures go to experiments/results/summaries.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import as_completed
from functools import partial
from pathlib import Path
from typing import Any

from experiments import summaries_people as people
from experiments.benchmarks.measure import command, workers
from experiments.summaries_page import write
from experiments.summaries_runs import EDITIONS, Edition, Task, made, tasks
from prefrl.files import whole
from prefrl.runs import system

RESULTS = Path("experiments/results/summaries")
Work = Callable[[], dict[str, Any]]
Record = dict[str, Any]


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--data", type=Path, required=True, help="folder of SciTLDR's JSONL files")
    asked.add_argument("--human", type=Path, help="people's scores of summaries of news")
    asked.add_argument("--judged", type=Path, help="CSV of judged posts")
    asked.add_argument("--seeds", type=int, default=3)
    asked.add_argument("--curves", type=int, default=3, help="seeds of which more than the headline's run is made")
    asked.add_argument("--jobs", type=int, default=2, help="runs at a time, one torch thread each")
    asked.add_argument("--edition", choices=EDITIONS, default="cpu", help="how large all is")
    asked.add_argument("--out", type=Path, default=Path("runs/summaries"))
    asked.add_argument("--results", type=Path, default=RESULTS)
    given = asked.parse_args()
    report(given, EDITIONS[given.edition])


def report(given: argparse.Namespace, edition: Edition) -> None:
    """Makes what is missing, and the page."""
    given.out.mkdir(parents=True, exist_ok=True)
    data = f"scitldr:{given.data}"
    planned = tasks(edition, given.seeds, given.curves)
    runs = {(task.seed, task.name): partial(made, task, edition, data, given.out) for task in planned}
    published: dict[tuple[int, str], Work] = {
        (0, name): partial(people.told, name, edition, given.out, given.human, given.judged)
        for name, file in ((people.PEOPLE, given.human), (people.JUDGED, given.judged))
        if file
    }
    first = {key: work for key, work in runs.items() if key[1] == "base"}
    if published:
        first[0, people.READER] = partial(people.read, edition, data, given.out, given.human, given.judged)
    make(given.out, first, given.jobs)
    make(given.out, runs | published, given.jobs)
    write(given.results, given.out, read(given.out), Task(0, "ppo", *edition.headline).name)


def make(out: Path, works: Mapping[tuple[int, str], Work], jobs: int) -> None:
    """Those that have no line of results yet; each writes its line as soon as it is done."""
    known = {key(record) for record in read(out)}
    waiting = {name: work for name, work in works.items() if name not in known}
    for record in _all(waiting, jobs):
        line = record | {"command": command(), "system": system()}
        with (out / "results.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(f"seed {record['seed']}, {record['name']}: {record['seconds'] / 60:.1f} minutes", file=sys.stderr)


def _all(works: Mapping[tuple[int, str], Work], jobs: int) -> Iterator[Record]:
    """Records as they are made; of those that are made side by side, an error is raised when all others are there."""
    if jobs == 1:
        yield from (work() for work in works.values())
        return
    errors: list[BaseException] = []
    with workers(jobs) as pool:
        for future in as_completed([pool.submit(work) for work in works.values()]):
            if error := future.exception():
                errors.append(error)
            else:
                yield future.result()
    if errors:
        raise errors[0]


def read(out: Path) -> list[Record]:
    """Lines of results, in the order in which they came; one that a kill cut off is left out, and made again."""
    file = out / "results.jsonl"
    lines = file.read_text().split("\n") if file.is_file() else [""]
    if lines[-1]:
        with whole(file) as mended:
            mended.write("".join(f"{line}\n" for line in lines[:-1]).encode())
    return [json.loads(line) for line in lines[:-1]]


def key(record: Record) -> tuple[int, str]:
    return record["seed"], record["name"]


if __name__ == "__main__":
    main()

"""What the benchmarks share: a process for every run, medians of interleaved repeats, and where results are kept."""

import argparse
import json
import multiprocessing
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import torch

from prefrl.runs import system

T = TypeVar("T")

RESULTS = Path("experiments/results/benchmarks")


@dataclass(frozen=True)
class Row:
    """A quantity, measured once per repeat."""

    name: str
    values: Sequence[float]
    target: str = ""
    format: str = ".2f"


def arguments(about: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    return parser


def workers(jobs: int) -> ProcessPoolExecutor:
    """Processes that do one task each, with one torch thread."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(jobs, context, torch.set_num_threads, (1,), max_tasks_per_child=1)


def interleaved(runs: Mapping[str, Callable[[], T]], repeats: int) -> dict[str, list[T]]:
    """What the runs returned, `repeats` times in turn, each in a process of its own: a slow minute hits all of them."""
    found: dict[str, list[T]] = {name: [] for name in runs}
    with workers(1) as pool:
        for repeat in range(repeats):
            for name, run in runs.items():
                found[name].append(pool.submit(run).result())
                print(f"{name} ({repeat + 1} of {repeats}): {found[name][-1]}", file=sys.stderr)
    return found


def installed(venv: Path, packages: Sequence[str]) -> Path:
    """The Python of a virtual environment that has `packages`; made if missing, CalledProcessError if it cannot be."""
    python = venv.resolve() / "bin" / "python"
    if not (venv / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        (venv / ".gitignore").write_text("*\n")
        (venv / "complete").touch()
    return python


def scratch() -> TemporaryDirectory[str]:
    """A folder that goes away, on the disk where runs are kept: writing there costs what it costs a run."""
    Path("runs").mkdir(exist_ok=True)
    return TemporaryDirectory(prefix="benchmark-", dir="runs")


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(above, below, strict=True)]


def table(rows: Sequence[Row]) -> str:
    """Markdown: every repeat and the median."""
    lines = [
        [row.name, *(f"{value:{row.format}}" for value in (median(row.values), *row.values)), row.target]
        for row in rows
    ]
    repeats = [f"repeat {i + 1}" for i in range(len(rows[0].values))]
    return markdown(["", "median", *repeats, "target"], lines)


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *lines])


def publish(out: Path, name: str, text: str, numbers: Mapping[str, Any]) -> None:
    """Prints `text`, and keeps it as `name`.md and the raw `numbers` as `name`.json."""
    machine = system()
    versions = ", ".join(f"{package} {version}" for package, version in machine["packages"].items() if version)
    made = f"{machine['cores']} cores, one torch thread; Python {machine['python']}, {versions}"
    page = f"{text}\n\nMade by `{command()}` on {made}.\n"
    print(page)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.md").write_text(page)
    keep(out, name, numbers)


def keep(out: Path, name: str, numbers: Mapping[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    facts = {"command": command(), "system": system()}
    (out / f"{name}.json").write_text(json.dumps(facts | dict(numbers), separators=(",", ":")) + "\n")


def command() -> str:
    module = sys.modules["__main__"].__spec__
    return shlex.join(["python", "-m", module.name if module else sys.argv[0], *sys.argv[1:]])

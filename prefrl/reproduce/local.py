"""Runs side by side on this machine."""

import threading
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from prefrl.processes import SPAWN, end_with_parent, without_ctrl_c
from prefrl.reproduce.claim import Run
from prefrl.reproduce.engine import Outcome, attempt, errors_of
from prefrl.runs import RunConfig


@dataclass(frozen=True)
class Local:
    """An engine: `jobs` runs at a time, a process each, which end with this one and can then be resumed."""

    jobs: int = 2
    """As many as there are cores: each run keeps one busy."""

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise ValueError(f"jobs must be at least 1, got {self.jobs}")

    def __call__(self, runs: Sequence[Run], folder: Path) -> Generator[Outcome]:
        folder.mkdir(parents=True, exist_ok=True)
        waiting, going = deque(runs), dict[int, tuple[Run, BaseProcess]]()
        try:
            while waiting or going:
                while waiting and len(going) < self.jobs:
                    run = waiting.popleft()
                    process = _begin(run, folder)
                    going[process.sentinel] = run, process
                for sentinel in wait(list(going)):
                    assert isinstance(sentinel, int)
                    run, process = going.pop(sentinel)
                    yield Outcome(run, _trouble(folder / run.name, process))
        finally:
            for _, process in going.values():
                process.terminate()
            for _, process in going.values():
                process.join()


def _begin(run: Run, folder: Path) -> BaseProcess:
    process = SPAWN.Process(target=_main, args=(run.config, folder / run.name), name=run.name)
    with without_ctrl_c():
        process.start()
    return process


def _main(config: RunConfig, out: Path) -> None:
    threading.Thread(target=end_with_parent, daemon=True).start()
    if attempt(config, out):
        raise SystemExit(1)


def _trouble(out: Path, process: BaseProcess) -> str:
    process.join()
    if process.exitcode == 0:
        return ""
    errors = errors_of(out)
    return errors.read_text().splitlines()[0] if errors.is_file() else f"its process ended with {process.exitcode}"

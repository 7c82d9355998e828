"""Runs side by side on this machine."""

import os
import threading
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from prefrl.processes import SPAWN, end_with_parent, signal_name, without_ctrl_c
from prefrl.reproduce.claim import Run
from prefrl.reproduce.engine import Outcome, attempt, errors_of
from prefrl.runs import RunConfig


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Local:
    """An engine: `jobs` runs at a time, a process each, which end with this one and can then be resumed."""

    jobs: int = field(default_factory=cores)
    """As many as there are cores, if not given: each run keeps one busy."""

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise ValueError(f"jobs must be at least 1, got {self.jobs}")

    def __call__(self, runs: Sequence[Run], folder: Path) -> Generator[Outcome]:
        folder.mkdir(parents=True, exist_ok=True)
        waiting, going = deque(runs), dict[int, tuple[Run, BaseProcess]]()

        def fill() -> None:
            while waiting and len(going) < self.jobs:
                run = waiting.popleft()
                process = _begin(run, folder)
                going[process.sentinel] = run, process

        try:
            fill()
            while going:
                ended = [going.pop(sentinel) for sentinel in wait(list(going)) if isinstance(sentinel, int)]
                fill()  # before who asked looks at what ended
                for run, process in ended:
                    yield Outcome(run, _trouble(folder / run.name, process))
        finally:
            for _, process in going.values():
                process.terminate()
            for _, process in going.values():
                process.join()


def _begin(run: Run, folder: Path) -> BaseProcess:
    errors_of(folder / run.name).unlink(missing_ok=True)
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
    code = process.exitcode
    if not code:
        return ""
    if code < 0:
        return f"its process was killed by {signal_name(-code)}"
    with suppress(OSError, IndexError):  # on a full disk it could not say why
        return errors_of(out).read_text().splitlines()[0]
    return f"its process ended with exit status {code}"

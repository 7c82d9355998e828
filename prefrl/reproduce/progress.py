"""How far the runs of a claim are, while they are made."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from prefrl.reproduce.claim import Run
from prefrl.reproduce.engine import Outcome
from prefrl.runs import RunFolder

LOOK = 1.0
"""Seconds between looks at the runs' folders."""
SHOWN = 12
"""Runs that have ended and are still shown."""


@contextmanager
def shown(runs: Sequence[Run], folder: Path, console: Console | None = None) -> Iterator[Callable[[Outcome], object]]:
    """A table of runs that is kept up to date; told of every outcome. Where nobody watches, a line for each."""
    console = console or Console()
    board = Board(runs, folder)
    if not console.is_terminal:
        yield lambda outcome: console.print(board.ended(outcome), soft_wrap=True, highlight=False, markup=False)
        return
    over = threading.Event()
    with Live(board.table(), console=console, auto_refresh=False) as live:

        def watch() -> None:
            while not over.wait(LOOK):
                live.update(board.table(), refresh=True)

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield board.ended
        finally:
            over.set()
            thread.join()
            live.update(board.table(), refresh=True)


@dataclass
class Board:
    """What is known of runs that are being made in `folder`."""

    runs: Sequence[Run]
    folder: Path
    clock: Callable[[], float] = time.monotonic
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._began, self._since = self.clock(), time.time()
        self._first: dict[str, tuple[float, int]] = {}  # when a run was first seen going, and its step then
        self._before = sum(step for step, _ in map(self._state, self.runs))

    def ended(self, outcome: Outcome) -> str:
        """Notes an outcome; what there is to say of it."""
        self.outcomes[outcome.run.name] = outcome
        step, result = self._state(outcome.run)
        said = f"failed: {outcome.trouble}" if outcome.trouble else f"{_number(result)} after {step:,} steps"
        return f"{len(self.outcomes)} of {len(self.runs)}  {outcome.run.name}: {said}{self._left('; ')}"

    def _left(self, mark: str) -> str:
        """Until all runs are made, at the speed so far; empty while there is none."""
        states = {run.name: self._state(run)[0] for run in self.runs}
        total = sum(run.config.total_timesteps for run in self.runs if run.name not in self.outcomes)
        done = sum(min(states[r.name], r.config.total_timesteps) for r in self.runs if r.name not in self.outcomes)
        time_left = _duration(total - done, sum(states.values()) - self._before, self.clock() - self._began)
        return f"{mark}{time_left} left" if time_left != "?" else ""

    def table(self) -> Table:
        """Runs that are going, that failed, and that ended last."""
        ended = len(self.outcomes)
        table = Table(title=f"{ended} of {len(self.runs)} runs made{self._left(', ')}", title_justify="left")
        table.add_column("run", no_wrap=True)
        for name in ("step", "return", "ETA"):
            table.add_column(name, justify="right")
        for run in self.runs:
            if run.name not in self.outcomes and self._begun(run):
                table.add_row(run.name, *self._going(run))
        over = list(self.outcomes.values())  # as it is now: another thread adds to them
        for outcome in [outcome for outcome in over if outcome.trouble]:
            table.add_row(outcome.run.name, "failed", "", "", style="red")
        for outcome in [outcome for outcome in over if not outcome.trouble][-SHOWN:]:
            step, result = self._state(outcome.run)
            table.add_row(outcome.run.name, f"{step:,}", _number(result), "done", style="dim")
        return table

    def _begun(self, run: Run) -> bool:
        """Since the board is there; a run that was cut off before waits like others."""
        folder = self.folder / run.name
        files = [file for file in (folder / "config.yaml", folder / "metrics.jsonl") if file.is_file()]
        return any(file.stat().st_mtime >= self._since for file in files)

    def _going(self, run: Run) -> tuple[str, str, str]:
        step, result = self._state(run)
        now = self.clock()
        began, first = self._first.setdefault(run.name, (now, step))
        total = run.config.total_timesteps
        return f"{step:,} of {total:,}", _number(result), _duration(total - step, step - first, now - began)

    def _state(self, run: Run) -> tuple[int, float | None]:
        """Step, and the true return of the last 100 episodes."""
        line = _last_line(RunFolder(self.folder / run.name).metrics)
        return int(line.get("time/total_timesteps", 0)), line.get("rollout/ep_rew_mean")


TAIL = 8_192
"""Bytes at the end of a run's metrics that hold its last line."""


def _last_line(file: Path) -> dict[str, Any]:
    """The last whole line of a run's metrics; empty if there is none."""
    try:
        with file.open("rb") as metrics:
            metrics.seek(max(metrics.seek(0, 2) - TAIL, 0))
            whole = metrics.read().split(b"\n")[:-1]
        found: dict[str, Any] = json.loads(whole[-1]) if whole else {}
    except (OSError, ValueError):  # not there yet
        return {}
    return found


def _duration(steps: int, done: int, seconds: float) -> str:
    """The time that `steps` take if `done` took `seconds`."""
    if done <= 0:
        return "?"
    minutes, rest = divmod(round(max(steps, 0) * seconds / done), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}"

"""Processes beside the one that trains: begun, begun again when they die, and ended with it."""

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from multiprocessing.resource_tracker import ensure_running
from pathlib import Path
from typing import Any, Self

from prefrl import live
from prefrl.room import LOOK as BREATH
from prefrl.room import is_full, wait_for_room
from prefrl.tables import Unreachable

SPAWN = multiprocessing.get_context("spawn")  # a database connection must not cross a fork, nor may threads
LOOK = 0.2
"""Seconds between looks at who still lives."""
DEATHS, WITHIN = 3, 60.0
"""A process that dies so often within so many seconds is given up."""
GRACE = 5.0
"""Seconds that a process gets to end by itself."""
UNGUARDED = 'put the call under `if __name__ == "__main__":`: the other processes of the run import this script'


@dataclass
class _Process:
    name: str
    main: Callable[..., None]
    args: tuple[Any, ...]
    running: BaseProcess | None = None
    deaths: list[float] = field(default_factory=list)


class Beside:
    """Runs functions `main(*args)` that never return in processes of their own, on one run's folder, until `stop`.

    Who ends, however that is, is reported with the cause and begun again; who does so too often is given up, and
    `check` then raises RuntimeError with the last cause. All of them end when this process does, however it ends. What
    is passed must be picklable.
    """

    def __init__(self, run: Path, report: Callable[[str], None] | None = None) -> None:
        self._run, self._report = run, report or to_stderr
        self._processes: list[_Process] = []
        self._failure: str | None = None
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, name: str, main: Callable[..., None], *args: Any) -> None:
        process = _Process(name, main, args)
        with self._lock:
            self._processes.append(process)  # before it lives: whoever is interrupted meanwhile can end it
        self._begin(process)

    def check(self) -> None:
        """Raises RuntimeError if a process was given up."""
        if self._failure:
            raise RuntimeError(self._failure)

    def alive(self) -> dict[str, int]:
        """Process numbers by name."""
        with self._lock:
            return {p.name: p.running.pid or 0 for p in self._processes if p.running and p.running.is_alive()}

    def stop(self) -> None:
        """Ends all of them, by force those that do not end by themselves."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        begun = [process.running for process in self._processes if process.running and process.running.pid]
        for running in begun:
            running.terminate()
        for running in begun:
            running.join(GRACE)
            if running.is_alive():
                running.kill()
                running.join()

    def _begin(self, process: _Process) -> None:
        _errors(self._run, process.name).unlink(missing_ok=True)
        args = process.name, self._run, process.main, process.args
        process.running = SPAWN.Process(target=_main, args=args, name=process.name, daemon=True)
        with without_ctrl_c():
            process.running.start()

    def _watch(self) -> None:
        try:
            while not self._stopping.wait(LOOK):
                with self._lock:
                    for process in self._processes:
                        if process.running and process.running.exitcode is not None and not self._failure:
                            self._begin_again(process, process.running.exitcode)
        except Exception:
            self._failure = f"nobody watches the processes any more: {traceback.format_exc()}"

    def _begin_again(self, process: _Process, code: int) -> None:
        now = time.monotonic()
        process.deaths = [at for at in process.deaths if now - at < WITHIN] + [now]
        words = f"the {process.name} process died: {self._cause(process.name, code)}"
        if len(process.deaths) >= DEATHS:
            self._failure = f"{words} ({DEATHS} times within {WITHIN:g} s)"
            return
        self._report(f"{words}\nit is begun again")
        self._begin(process)

    def _cause(self, name: str, code: int) -> str:
        if code < 0:
            return f"killed by {signal_name(-code)}"
        if code == 0:
            return "it ended by itself"
        with suppress(OSError):
            return _errors(self._run, name).read_text().rstrip()
        return f"exit status {code}" + (f"; if the lines above speak of __main__, {UNGUARDED}" if code == 1 else "")


def to_stderr(words: str) -> None:
    print(f"prefrl: {words}", file=sys.stderr, flush=True)


def check_imported() -> None:
    """Raises RuntimeError in a process that imports its parent's script: what the script calls, it would call again."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # as multiprocessing itself finds out
        raise RuntimeError(UNGUARDED)


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most real-time signals have no name
        return f"signal {number}"


@contextmanager
def without_ctrl_c() -> Iterator[None]:
    """Ctrl-C reaches a whole group of processes: those begun here never see it, the one that begins them ends them."""
    ensure_running()  # where it is not, `start` begins it, and that would let SIGINT through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _errors(run: Path, name: str) -> Path:
    return run / live.FOLDER / f"{name}.error"


def _main(name: str, run: Path, main: Callable[..., None], args: tuple[Any, ...]) -> None:
    threading.Thread(target=end_with_parent, daemon=True).start()
    while True:
        try:
            main(*args)
            return
        except Exception as error:
            if not (is_full(error) or isinstance(error, Unreachable)):
                _errors(run, name).parent.mkdir(exist_ok=True)
                _errors(run, name).write_text(traceback.format_exc())
                raise SystemExit(1) from None
            time.sleep(BREATH)
            wait_for_room(run)


def end_with_parent() -> None:
    """Waits, in a thread of a process, until the one that began it has ended, and ends this one."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(1)

"""Room on the disk: a run that has none pauses, and goes on when there is some."""

import errno
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

RESERVE = 64 * 2**20
"""Bytes that are left free: what runs already can still be written."""
LOOK = 1.0
"""Seconds between looks."""
WORDS = ("disk is full", "No space left on device")
"""How SQLite says it, and a PostgreSQL server of its own disk."""


def shortage(run: Path) -> str | None:
    """What to tell people if the disk is almost full; None if it is not."""
    free = shutil.disk_usage(run).free
    if free >= RESERVE:
        return None
    return f"the disk is almost full ({free >> 20} MiB left): make room, and the run goes on by itself"


def wait_for_room(run: Path, tell: Callable[[str | None], None] = lambda words: None) -> float:
    """Returns when there is room, with the seconds that it took; `tell` is told of a shortage, then None at its end."""
    began = time.perf_counter()
    if words := shortage(run):
        tell(words)
        while shortage(run):
            time.sleep(LOOK)
        tell(None)
    return time.perf_counter() - began


def is_full(error: BaseException) -> bool:
    """Whether an error, or what caused it, says that a disk or a database is full."""
    return any(_says_full(cause) for cause in _causes(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _says_full(error: BaseException) -> bool:
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or any(w in str(error) for w in WORDS)

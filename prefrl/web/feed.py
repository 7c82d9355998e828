"""Keeps the board up to date, without two reads at once."""

import asyncio
import time
from asyncio import Task
from collections.abc import Callable


class Feed:
    """Reads in a thread; who needs newer rows than a running read finds waits for the next one."""

    def __init__(self, refresh: Callable[[], None]) -> None:
        self.refresh = refresh
        self._began = -float("inf")
        self._task: Task[None] | None = None

    async def within(self, age: float) -> None:
        """Returns when the board knows all that the store had `age` seconds ago; raises what reading raised."""
        wished = time.monotonic() - age
        if self._task and self._began < wished:
            await asyncio.wait([self._task])
        if self._began < wished:
            self._start()
        assert self._task is not None
        await asyncio.shield(self._task)

    def hint(self, age: float) -> None:
        """The same, without waiting: for later."""
        if time.monotonic() - self._began > age:
            self._start()

    def _start(self) -> "Task[None]":
        if self._task is None or self._task.done():
            self._began = time.monotonic()
            self._task = asyncio.create_task(asyncio.to_thread(self.refresh))
            self._task.add_done_callback(_seen)
        return self._task


def _seen(task: "Task[None]") -> None:
    """What nobody waited for is no error: who asks next reads again."""
    if not task.cancelled():
        task.exception()

"""Labels of many people, committed together."""

import asyncio
import logging
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread

from prefrl.types import Label

AT_ONCE = 1000
"""Labels in one transaction at most."""
Waiting = tuple[Label, AbstractEventLoop, "Future[None]"]


class Writer:
    """One thread that keeps all labels that wait, in one transaction; `kept` is told which were kept.

    A label that is refused (ValueError) spoils no other; whatever else goes wrong is told to everybody who waited.
    """

    def __init__(self, keep: Callable[[list[Label]], list[Label]], kept: Callable[[list[Label]], None]) -> None:
        self.keep, self.kept = keep, kept
        self._queue: SimpleQueue[Waiting | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name="writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """After everything that waits was kept."""
        self._queue.put(None)
        self._thread.join()

    async def __call__(self, label: Label) -> None:
        """Returns when the label is on the disk."""
        loop = asyncio.get_running_loop()
        done: Future[None] = loop.create_future()
        self._queue.put((label, loop, done))
        await done

    def _work(self) -> None:
        going = True
        while going:
            batch = [self._queue.get()]
            while len(batch) < AT_ONCE:
                try:
                    batch.append(self._queue.get_nowait())
                except Empty:
                    break
            going = None not in batch
            self._commit([waiting for waiting in batch if waiting])

    def _commit(self, batch: list[Waiting]) -> None:
        found = self._try([label for label, _, _ in batch])
        try:
            self.kept([label for label in found if isinstance(label, Label)])
        except Exception:  # the labels are on the disk, and the thread must live: who reads next finds the trouble
            logging.getLogger(__name__).warning("labels were kept, but then", exc_info=True)
        for (_, loop, done), label in zip(batch, found, strict=True):
            loop.call_soon_threadsafe(_tell, done, label if isinstance(label, Exception) else None)

    def _try(self, labels: list[Label]) -> list[Label | Exception]:
        """The labels as they are kept, or what went wrong, halving the batch until those that are refused are alone."""
        if not labels:
            return []
        try:
            return [*self.keep(labels)]
        except ValueError as error:
            if len(labels) == 1:
                return [error]
            half = len(labels) // 2
            return self._try(labels[:half]) + self._try(labels[half:])
        except Exception as error:  # a full disk, a lost database: for those who wait to hear, not for this thread
            return [error] * len(labels)


def _tell(done: "Future[None]", trouble: Exception | None) -> None:
    if done.done():
        return  # who asked has gone
    if trouble is None:
        done.set_result(None)
    else:
        done.set_exception(trouble)

"""Environments that may crash or hang while the others go on."""

import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import gymnasium as gym

from prefrl.control.environments import Env

PATIENCE = 30.0
"""Seconds that a step or a reset may take."""
CUTS = 10
"""Failures of one environment since its last whole episode after which it is hopeless."""
CUT_OFF = "cut_off"
"""Key in `info` of a step that did not happen."""


class Hung(BaseException):
    """An environment did not come back; no `except Exception` of its own may keep it from being interrupted."""


class Watch:
    """Interrupts a call that lasts longer than `patience` seconds, at the latest after twice as many.

    A timer looks now and then whether the same call still runs, so that watching costs a step nothing. Code that never
    comes back to Python cannot be interrupted.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self.patience = patience
        self.inside = False
        self._calls = self._seen = 0

    @contextmanager
    def on(self) -> Iterator[None]:
        """Watches as long as it is entered; only in a program's main thread, where signals arrive."""
        before = signal.signal(signal.SIGALRM, self._look)
        signal.setitimer(signal.ITIMER_REAL, self.patience, self.patience)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def enter(self) -> None:
        self._calls += 1
        self.inside = True

    def _look(self, signum: int, frame: FrameType | None) -> None:
        if self.inside and self._calls == self._seen:
            raise Hung(f"did not come back for {self.patience:g} s")
        self._seen = self._calls


class Guarded(gym.Wrapper[Any, Any, Any, Any]):
    """Ends the episode of an environment that raises or hangs, and makes another in its place.

    `report` is told what happened, with index and traceback. The step that did not happen repeats the last observation
    and pays 0; `info[CUT_OFF]` marks it. One that fails `CUTS` times without a whole episode in between, or that cannot
    be made anew, raises RuntimeError with the cause.
    """

    def __init__(self, make: Callable[[], Env], index: int, watch: Watch, report: Callable[[str], None]) -> None:
        super().__init__(make())
        self._make, self._index, self._watch, self._report = make, index, watch, report
        self._failures = 0
        self._last: Any = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        while True:
            try:
                with self._watched():
                    self._last, info = self.env.reset(seed=seed, options=options)
                return self._last, info
            except (Exception, Hung) as error:
                self._replace(error)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        try:
            with self._watched():
                self._last, reward, terminated, truncated, info = self.env.step(action)
            if terminated or truncated or info.get("over"):
                self._failures = 0
            return self._last, float(reward), terminated, truncated, info
        except (Exception, Hung) as error:
            self._replace(error)
            return self._last, 0.0, False, True, {CUT_OFF: True}

    def _watched(self) -> "_Inside":
        return _Inside(self._watch)

    def _replace(self, error: BaseException) -> None:
        self._failures += 1
        if self._failures >= CUTS:
            raise RuntimeError(f"environment {self._index} failed {CUTS} times on end: {error}") from error
        with suppress(Exception, Hung), self._watched():
            self.env.close()
        try:
            self.env = self._make()
        except Exception as again:
            words = f"environment {self._index} failed ({error}) and could not be made anew: {again}"
            raise RuntimeError(words) from again
        words = "".join(traceback.format_exception(error)).rstrip()
        self._report(f"environment {self._index} was cut off and made anew, {self._failures} times of {CUTS}:\n{words}")


class _Inside:
    """A context manager that costs less than a generator."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def __enter__(self) -> None:
        self.watch.enter()

    def __exit__(self, *_: object) -> None:
        self.watch.inside = False

"""Where time goes: the clocks of named phases, and a count of steps, by wrapping the methods that do the work.

Imports nothing but Python, so that it also runs where another library is measured.
"""

import time
from collections import Counter, defaultdict
from functools import wraps
from typing import Any


class Phases:
    """Seconds of every phase; one that begins within another stops the other's clock until it ends."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.steps: Counter[str] = Counter()
        """Steps of environments in every phase."""
        self._open = ["rest"]
        self._since = time.perf_counter()

    def watch(self, phase: str, owner: Any, *methods: str) -> None:
        """Counts the time in these methods (of a class, or functions of a module) as `phase`."""
        for method in methods:
            setattr(owner, method, self._timed(phase, getattr(owner, method)))

    def count(self, vec_env: Any) -> None:
        """Counts the steps that vector environments of this class take."""
        step = vec_env.step_wait

        @wraps(step)
        def counted(venv: Any) -> Any:
            self.steps[self._open[-1]] += venv.num_envs
            return step(venv)

        vec_env.step_wait = counted

    def finish(self) -> dict[str, float]:
        """The seconds of every phase until now; what was in none is `rest`."""
        self._credit()
        return dict(self.seconds)

    def _timed(self, phase: str, function: Any) -> Any:
        @wraps(function)
        def timed(*args: Any, **options: Any) -> Any:
            self._credit()
            self._open.append(phase)
            try:
                return function(*args, **options)
            finally:
                self._credit()
                self._open.pop()

        return timed

    def _credit(self) -> None:
        now = time.perf_counter()
        self.seconds[self._open[-1]] += now - self._since
        self._since = now

"""Waiting for what other threads and processes do."""

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def soon(happens: Callable[[], Found], within: float = 30.0) -> Found:
    """What `happens` gives as soon as that is something; AssertionError if it takes too long."""
    deadline = time.monotonic() + within
    while not (found := happens()):
        assert time.monotonic() < deadline, f"{happens} did not come true within {within} s"
        time.sleep(0.01)
    return found

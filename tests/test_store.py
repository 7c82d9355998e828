"""The four verbs of the store, what they leave behind, and what they refuse."""

import io
import math
import os
import pickle
import sqlite3
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule
from sqlalchemy import Engine, event

from prefrl import store as module
from prefrl.store import Counts, Store, Version, whole
from prefrl.types import Label, Query, Segment


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path) as store:
        yield store


def segment(fill: float = 0.0, step: int = 0, truth: bool = True) -> Segment:
    """Three steps in an environment of two observations and one action."""
    obs = np.arange(6, dtype=np.float32).reshape(3, 2) + np.float32(fill)
    return Segment(obs, np.ones((3, 1), np.float32), np.full(3, fill) if truth else None, step=step)


def query(store: Store, step: int = 0) -> Query:
    left, right = store.record([segment(1), segment(2)])
    return store.ask([Query(left.id, right.id, step=step)])[0]


def same(one: Segment, other: Segment) -> bool:
    arrays = [(one.obs, other.obs), (one.acts, other.acts), (one.truth, other.truth)]
    plain = (one.media, one.id, one.step) == (other.media, other.id, other.step)
    return plain and all(a is b or (np.array_equal(a, b, equal_nan=True) and a.dtype == b.dtype) for a, b in arrays)


def rows(folder: Path) -> dict[str, int]:
    with sqlite3.connect(folder / "store.db") as connection:
        names = ("segments", "queries", "labels", "rewards")
        found = {name: connection.execute(f"select count(*) from {name}").fetchone()[0] for name in names}
    connection.close()
    return found

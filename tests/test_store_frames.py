"""The store keeps frames once, compressed, and gives back what was recorded."""

import tempfile
from itertools import pairwise
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from prefrl.files import unpack
from prefrl.frames import stacks
from prefrl.store import Store
from prefrl.types import Label, Query, Segment
from tests.tiny_pixels import memory

STEPS = 25


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path) as store:
        yield store


def segment(seed=0, side=20, n=4):
    """Of noise, which cannot be compressed."""
    frames = np.random.default_rng(seed).integers(256, size=(STEPS + n - 1, side, side), dtype=np.uint8)
    return Segment(stacks(frames, n), np.zeros(STEPS, int), np.zeros(STEPS), step=seed)


def file_of(store):
    (file,) = (path for path in store.folder.rglob("*.npz"))
    return file


@settings(max_examples=20)
@given(hnp.arrays(np.uint8, st.tuples(st.integers(2, 9), st.integers(1, 3), st.integers(1, 3))), st.integers(2, 4))
def test_stacks_come_back_bit_by_bit(frames, n):
    if len(frames) < n:
        n = len(frames)
    obs = stacks(frames, n)
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder)) as store:
        [kept] = store.record([Segment(obs, np.zeros(len(obs)))])
        found = store.segment(kept.id).obs
    assert (found.dtype, found.shape, found.tobytes()) == (obs.dtype, obs.shape, obs.tobytes())


def test_a_segment_takes_the_room_of_its_frames(store):
    store.record([segment()])
    assert set(unpack(file_of(store))) == {"frames", "stack", "acts", "truth"}
    assert file_of(store).stat().st_size < 28 * 20 * 20 + 2_000


def test_frames_are_compressed(store):
    plain = np.zeros((28, 84, 84), np.uint8)
    plain[:, 40, 40] = np.arange(28)
    store.record([Segment(stacks(plain, 4), np.zeros(STEPS, int), np.zeros(STEPS))])
    assert file_of(store).stat().st_size < 28 * 84 * 84 / 50


def test_what_is_read_takes_the_memory_of_its_frames(store):
    [kept] = store.record([segment()])
    assert memory(store.segment(kept.id).obs) == 28 * 20 * 20


def test_stacks_written_out_are_the_same_segment(store):
    one = segment()
    other = Segment(one.obs.copy(), one.acts, one.truth, step=one.step)
    assert [kept.id for kept in store.record([one, other])] == [1, 1]


def test_pixels_that_are_no_stacks_come_back(store):
    pixels = np.random.default_rng(0).integers(256, size=(STEPS, 20, 20, 3), dtype=np.uint8)
    [kept] = store.record([Segment(pixels, np.zeros(STEPS, int))])
    assert np.array_equal(store.segment(kept.id).obs, pixels)


def test_a_damaged_file_of_frames_is_found_out(store):
    [kept] = store.record([segment()])
    arrays = unpack(file_of(store))
    arrays["frames"] = arrays["frames"] + 1
    np.savez(file_of(store), **arrays)
    with Store(store.folder) as again, pytest.raises(ValueError):
        again.segment(kept.id)


def compared(store, preferences):
    """A label to each of as many queries."""
    recorded = store.record([segment(seed, side=4) for seed in range(len(preferences) + 1)])
    pairs = pairwise(recorded)
    queries = store.ask([Query(left.id, right.id) for left, right in pairs])
    store.answer([Label(q.id, mu, "me") for q, mu in zip(queries, preferences, strict=True)])


def told(store, **more):
    fresh, seen = store.comparisons(**more)
    return [each.query for each in fresh], seen


def test_of_many_comparisons_the_last_are_read(store):
    compared(store, [1.0] * 6)
    assert told(store, last=2) == ([5, 6], 6)
    assert told(store, last=9) == told(store) == ([1, 2, 3, 4, 5, 6], 6)
    assert told(store, last=2, after=5) == ([6], 6)


def test_the_last_comparisons_are_those_with_a_preference(store):
    """What nobody could tell takes no other's place, and is told with them: it may withdraw one."""
    compared(store, [1.0, 1.0, None, 0.0, None])
    assert told(store, last=2) == ([2, 3, 4, 5], 5)
    assert told(store, last=3) == ([1, 2, 3, 4, 5], 5)


def test_comparisons_that_are_not_told_are_not_loaded(store):
    compared(store, [1.0] * 6)
    with Store(store.folder) as fresh, mock.patch("prefrl.store.unpack", wraps=unpack) as read:
        fresh.comparisons(last=2)
    assert read.call_count == 3


def test_many_comparisons_of_frames_take_the_memory_of_their_frames(store):
    """3,000 of 25 steps of four 84x84 frames would take 4.2 GB as stacks, and take 1.2."""
    compared(store, [1.0] * 6)
    with Store(store.folder) as fresh:
        found, _ = fresh.comparisons()
    sides = {id(side.obs): memory(side.obs) for each in found for side in (each.left, each.right)}
    assert sum(sides.values()) == 7 * 28 * 4 * 4

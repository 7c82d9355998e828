"""Stacks of frames are kept once, and come back as they were."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from prefrl.frames import MOST, compact, shared, stacks
from tests.tiny_pixels import memory

sizes = st.tuples(st.integers(1, 8), st.integers(2, MOST))


@st.composite
def histories(draw):
    """Frames (T + n - 1, H, W), and n."""
    steps, n = draw(sizes)
    sides = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    return draw(hnp.arrays(np.uint8, (steps + n - 1, *sides))), n


def written_out(frames, n):
    """Every step's stack in memory of its own, by a loop."""
    return np.array([[frames[t + i] for i in range(n)] for t in range(len(frames) - n + 1)])


def noise(*shape):
    return np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)


@given(histories())
def test_a_stack_holds_the_frames_up_to_its_step_oldest_first(case):
    assert np.array_equal(stacks(*case), written_out(*case))


@given(histories())
def test_stacks_share_the_frames_that_they_were_made_of(case):
    frames, n = case
    assert np.array_equal(shared(written_out(frames, n)), frames)


@given(histories())
def test_compacting_changes_nothing_that_is_seen(case):
    obs = written_out(*case)
    kept = compact(obs)
    assert (kept.dtype, kept.shape, kept.tobytes()) == (obs.dtype, obs.shape, obs.tobytes())


def test_a_compact_segment_takes_the_memory_of_its_frames():
    kept = compact(written_out(noise(28, 84, 84), 4))
    assert kept.shape == (25, 4, 84, 84)
    assert memory(kept) == 28 * 84 * 84  # a quarter of 25 * 4


def test_a_compact_segment_does_not_hold_on_to_what_it_was_cut_from():
    rollout = written_out(noise(1_003, 8, 8), 4)
    assert memory(compact(rollout[10:35])) == 28 * 8 * 8


def test_a_view_cannot_be_written_to():
    with pytest.raises(ValueError, match="read-only"):
        stacks(noise(5, 2, 2), 2)[0] = 0


@pytest.mark.parametrize(
    "obs",
    [
        noise(5, 4, 6, 6),
        noise(5, 1, 6, 6),
        np.zeros((5, MOST + 1, 6, 6), np.uint8),
        np.zeros((0, 4, 6, 6), np.uint8),
        np.zeros((5, 6, 6), np.uint8),
        np.zeros((5, 4, 6, 6), np.float32),
        written_out(noise(8, 6, 6), 4)[[0, 1, 3, 4]],
    ],
    ids=["noise", "one frame", "many channels", "nothing", "no stack", "numbers", "a step is missing"],
)
def test_what_is_no_stack_stays_as_it_is(obs):
    assert shared(obs) is None
    assert compact(obs) is obs

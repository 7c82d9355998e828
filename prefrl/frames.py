"""Stacks of frames, kept as the frames that they share.

An agent on pixels observes the last few frames (n, H, W) at every step (Christiano et al. 2017, A.2): written out, a
segment of T steps would hold each frame n times.
"""

import numpy as np

from prefrl.types import Array

MOST = 16
"""Frames of a stack: what has more channels than this is no stack."""


def stacks(frames: Array, n: int) -> Array:
    """Frames (T + n - 1, H, W) -> what is observed at every step, (T, n, H, W): a view, the oldest frame first."""
    view: Array = np.moveaxis(np.lib.stride_tricks.sliding_window_view(frames, n, axis=0), -1, 1)
    return view


def shared(obs: Array) -> Array | None:
    """Observations (T, n, H, W) -> their frames (T + n - 1, H, W), or None where they are no stacks of frames.

    They are if every step's stack is that of the step before, without its oldest frame and with one more.
    """
    if obs.dtype != np.uint8 or obs.ndim != 4 or not 2 <= obs.shape[1] <= MOST or not len(obs):
        return None
    if not np.array_equal(obs[1:, :-1], obs[:-1, 1:]):
        return None
    return np.concatenate([obs[0], obs[1:, -1]])


def compact(obs: Array) -> Array:
    """Stacks (T, n, H, W) in the memory of their frames; other observations as they are."""
    frames = shared(obs)
    return obs if frames is None else stacks(frames, obs.shape[1])

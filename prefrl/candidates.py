"""Segments in one file: a run's newest, out of which pairs are chosen."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prefrl.files import reading, unpack
from prefrl.frames import shared, stacks
from prefrl.live import FOLDER
from prefrl.types import Array, Segment

FILE = "candidates.npz"


@dataclass(frozen=True, eq=False)
class Candidates:
    """What the policy did last, until it had taken `step` environment steps."""

    segments: list[Segment]
    step: int


def offer(run: Path, segments: Sequence[Segment], step: int) -> None:
    """Puts `segments`, of one length and with their truth, where `Offers` finds them, in place of the last ones."""
    folder = run / FOLDER
    folder.mkdir(exist_ok=True)
    half = folder / f".{FILE}.half.npz"
    np.savez(half, now=np.array(step), **packed(segments))
    half.replace(folder / FILE)


class Offers:
    """Reads what is offered, anew only when it has changed."""

    def __init__(self, run: Path) -> None:
        self._file = run / FOLDER / FILE
        self._version: tuple[int, int] | None = None
        self._last: Candidates | None = None

    def newest(self) -> Candidates | None:
        """None before the first offer."""
        try:
            found = self._file.stat()
        except FileNotFoundError:
            return None
        if (version := (found.st_ino, found.st_mtime_ns)) != self._version:
            with reading(self._file):
                arrays = unpack(self._file)
                self._last = Candidates(unpacked(arrays), int(arrays["now"]))
            self._version = version
        return self._last


def packed(segments: Sequence[Segment]) -> dict[str, Any]:
    """The arrays of segments, all of one length, stacked: obs (segments, T, *obs) and so on.

    In place of stacks of frames stand their frames (segments, T + n - 1, H, W), with n as `stack`.
    """
    columns = {name: [getattr(segment, name) for segment in segments] for name in ("obs", "acts", "truth", "state")}
    whole = {name: column for name, column in columns.items() if not any(part is None for part in column)}
    media = {} if not any(segment.media for segment in segments) else {"media": [s.media or "" for s in segments]}
    packed = {**whole, **media, "step": [segment.step for segment in segments]}
    frames = [shared(segment.obs) for segment in segments]
    if frames and not any(each is None for each in frames):
        packed = {**packed, "frames": frames, "stack": segments[0].obs.shape[1]}
        del packed["obs"]
    return packed


def unpacked(arrays: dict[str, Array]) -> list[Segment]:
    """What `packed` gave, back."""
    obs = [stacks(frames, int(arrays["stack"])) for frames in arrays["frames"]] if "frames" in arrays else arrays["obs"]
    acts = arrays["acts"]
    truth, state, media = (arrays.get(name, [None] * len(obs)) for name in ("truth", "state", "media"))
    rows = zip(obs, acts, truth, state, media, arrays["step"], strict=True)
    return [
        Segment(obs, acts, truth, str(media) if media else None, step=int(step), state=state)
        for obs, acts, truth, state, media, step in rows
    ]

"""What the policy did last."""

from collections import deque
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from prefrl.candidates import packed, unpacked
from prefrl.files import reading, unpack
from prefrl.types import Segment


class Recent:
    """The newest `size` segments of the policy, with their truth: what is asked about and normalised on."""

    def __init__(self, size: int) -> None:
        self.segments: deque[Segment] = deque(maxlen=size)

    def add(self, segments: Iterable[Segment]) -> None:
        self.segments.extend(segments)

    def blind(self) -> list[Segment]:
        return [segment.blind() for segment in self.segments]

    def save(self, file: Path) -> None:
        np.savez(file, **packed(self.segments))

    def load(self, file: Path) -> None:
        with reading(file):
            self.segments.clear()
            self.add(unpacked(unpack(file)))

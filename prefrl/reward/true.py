"""The environment's own reward, normalised as the learned one is: the baseline."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prefrl.reward.ensemble import STD
from prefrl.types import Array, Segment


@dataclass
class TrueReward:
    """(truth - mean) / deviation, times `std`; the moments are those of the current policy's segments."""

    std: float = STD
    mean: float = 0.0
    deviation: float = 1.0
    version: int = 0

    def normalise(self, segments: Sequence[Segment]) -> None:
        truth = np.concatenate([segment.truth for segment in segments if segment.truth is not None])
        if truth.std() > 0:  # where nothing was paid yet, the first reward would be taken for a giant
            self.mean, self.deviation = float(truth.mean()), float(truth.std())
        self.version += 1

    def pay(self, truth: Array) -> Array:
        paid: Array = (self.std * (truth - self.mean) / self.deviation).astype(np.float32)
        return paid

"""The environment's own reward, normalised as the learned one is: the baseline."""

from collections.abc import Sequence

import numpy as np

from prefrl.reward.ensemble import STD
from prefrl.types import Array, Segment


class TrueReward:
    """(truth - mean) / deviation, times `std`; the moments are those of the current policy's segments."""

    def __init__(self, std: float = STD) -> None:
        self.std = std
        self.mean, self.deviation = 0.0, 1.0
        self.version = 0

    def normalise(self, segments: Sequence[Segment]) -> None:
        truth = np.concatenate([segment.truth for segment in segments if segment.truth is not None])
        self.mean, self.deviation = float(truth.mean()), max(float(truth.std()), 1e-6)
        self.version += 1

    def pay(self, truth: Array) -> Array:
        paid: Array = (self.std * (truth - self.mean) / self.deviation).astype(np.float32)
        return paid

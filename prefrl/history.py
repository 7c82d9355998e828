"""What a run has to tell of its past, over however many sessions."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from prefrl.files import read_json, reading, unpack


@dataclass
class History:
    """Episodes, the best checkpoint, and the time that passed."""

    untrained_return: float = 0.0
    """Of an episode: estimated from the untrained policy's mean reward, or of whole games."""
    best_step: int = 0
    best_return: float = -np.inf
    """Mean true return of the episodes before the checkpoint of `best_step`."""
    episodes: list[tuple[int, float]] = field(default_factory=list)
    """(step, true return) at the end of every whole one."""
    earlier_seconds: float = 0.0
    """Wall time of earlier sessions."""

    def __post_init__(self) -> None:
        self._began = time.perf_counter()

    def wall_seconds(self) -> float:
        return self.earlier_seconds + time.perf_counter() - self._began

    def add(self, episodes: Sequence[tuple[int, float]], step: int) -> None:
        """Takes in the episodes since the last checkpoint; the one at `step` is the best if their mean is."""
        self.episodes += episodes
        if episodes and (mean := float(np.mean([total for _, total in episodes]))) > self.best_return:
            self.best_step, self.best_return = step, mean

    def mean_since(self, step: float) -> float | None:
        """Mean return of the episodes that ended after `step`; None if there are none."""
        returns = [total for at, total in self.episodes if at > step]
        return float(np.mean(returns)) if returns else None

    def save(self, folder: Path) -> None:
        numbers = {name: getattr(self, name) for name in _NUMBERS} | {"earlier_seconds": self.wall_seconds()}
        (folder / "history.json").write_text(json.dumps(numbers))
        np.savez(folder / "episodes.npz", episodes=np.array(self.episodes).reshape(-1, 2))

    def load(self, folder: Path) -> None:
        with reading(file := folder / "history.json"):
            saved = read_json(file)
            for name, kind in _NUMBERS.items():
                setattr(self, name, kind(saved[name]))
        with reading(file := folder / "episodes.npz"):
            self.episodes = [(int(at), float(total)) for at, total in unpack(file)["episodes"]]


_NUMBERS = {"untrained_return": float, "best_step": int, "best_return": float, "earlier_seconds": float}

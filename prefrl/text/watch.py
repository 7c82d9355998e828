"""What is written down while a language model trains: metrics of every rollout, and where to go on from."""

import json
from pathlib import Path
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback
from tqdm import tqdm

from prefrl.files import reading, whole
from prefrl.text.rollouts import SequenceRollouts

ROLLOUT, TRAIN = "rollout/", "train/"


class Watch(BaseCallback):
    """Appends a JSON line of metrics for every rollout and the update from it, and saves the algorithm now and then.

    `save_every`: rollouts between two saved states. Lines of rollouts after those that the algorithm has learned from
    are dropped when training begins: they are made again. `progress`: shows a bar, on a terminal.
    """

    def __init__(self, metrics: Path, saved: Path, episodes: int, save_every: int = 10, progress: bool = False) -> None:
        super().__init__()
        self._metrics, self._saved, self._episodes, self._save_every = metrics, saved, episodes, save_every
        self._rollouts, self._line = 0, dict[str, float]()
        self._bar: tqdm[Any] = tqdm(total=episodes, desc="ppo", unit="summary", disable=None if progress else True)

    @property
    def algorithm(self) -> SequenceRollouts:
        assert isinstance(self.model, SequenceRollouts)
        return self.model

    def _on_training_start(self) -> None:
        kept = [line for line in read(self._metrics) if line["episodes"] <= self.algorithm.episodes]
        with whole(self._metrics) as file:
            file.write("".join(json.dumps(line) + "\n" for line in kept).encode())
        self._bar.update(self.algorithm.episodes - self._bar.n)

    def _on_rollout_start(self) -> None:
        self._write()

    def _on_step(self) -> bool:
        """After the rollout's KL was checked: what is gone on from has not gone astray."""
        if self._rollouts and self._rollouts % self._save_every == 0:
            self.algorithm.save(self._saved)
        return True

    def _on_rollout_end(self) -> None:
        assert self.model.env is not None
        self._rollouts += 1
        self._line = {"episodes": self.algorithm.episodes + self.model.env.num_envs, **self._told(ROLLOUT)}
        self._bar.update(self.model.env.num_envs)

    def _on_training_end(self) -> None:
        self._write()
        self._bar.close()

    def _write(self) -> None:
        """The line of the rollout that was learned from by now."""
        if self._line:
            with self._metrics.open("a") as file:
                file.write(json.dumps(self._line | self._told(TRAIN)) + "\n")
        self._line = {}

    def _told(self, about: str) -> dict[str, float]:
        return {k: float(v) for k, v in self.logger.name_to_value.items() if k.startswith(about)}


def read(metrics: Path) -> list[dict[str, float]]:
    """Lines that `Watch` wrote, oldest first; one that a kill cut off is left out."""
    if not metrics.is_file():
        return []
    with reading(metrics):
        return [json.loads(line) for line in metrics.read_text().split("\n")[:-1]]

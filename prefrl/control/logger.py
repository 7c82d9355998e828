"""SB3's logger, writing where a run keeps its metrics."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.logger import KVWriter, Logger, TensorBoardOutputFormat


class JsonLines(KVWriter):
    """One JSON object per dump, appended, so that a run goes on in the same file."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a")

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        numbers = {k: float(v) for k, v in key_values.items() if isinstance(v, (int, float, np.number))}
        self._file.write(json.dumps(numbers) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def run_logger(metrics: Path, tensorboard: Path) -> Logger:
    """Logs to `metrics` (JSON lines) and to a folder for TensorBoard."""
    return Logger(str(tensorboard), [JsonLines(metrics), TensorBoardOutputFormat(str(tensorboard))])

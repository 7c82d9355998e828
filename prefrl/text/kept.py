"""A training on the disk, from which it goes on exactly where it was stopped."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from prefrl.files import reading, whole

STATE = "training.safetensors"
"""What is kept in a training's folder: weights, moments, and what it came to so far."""


@dataclass(frozen=True)
class Kept:
    """Weights and moments of a training in a folder; without a folder, nothing is kept."""

    folder: Path | None
    promised: Mapping[str, Any]
    """By which another training is told, as JSON has it."""
    model: nn.Module
    optimizer: torch.optim.Optimizer

    def save(self, **beside: Tensor) -> None:
        if self.folder is None:
            return
        moments = {
            f"optimizer.{i}.{name}": value
            for i, entry in self.optimizer.state_dict()["state"].items()
            for name, value in entry.items()
        }
        tensors = self._weights() | moments | beside
        self.folder.mkdir(parents=True, exist_ok=True)
        with whole(self.folder / STATE) as file:
            file.write(
                save({n: t.detach().contiguous() for n, t in tensors.items()}, {"is": json.dumps(self.promised)})
            )

    def load(self, name: str) -> Tensor | None:
        """What was saved by this name beside model and optimizer, which are set to theirs; None if there is nothing.

        Raises ValueError, and changes nothing, where it is of another training.
        """
        if self.folder is None or not (self.folder / STATE).exists():
            return None
        with reading(self.folder / STATE), safe_open(self.folder / STATE, "pt") as file:
            promised = json.loads(file.metadata()["is"])
            names = file.keys()
            tensors: dict[str, Tensor] = {key: file.get_tensor(key) for key in names}
        self._check(promised, tensors)
        entries: dict[int, dict[str, Tensor]] = {}
        for key in [key for key in tensors if key.startswith("optimizer.")]:
            _, i, moment = key.split(".")
            entries.setdefault(int(i), {})[moment] = tensors[key]
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": entries})
        with torch.no_grad():
            for key, parameter in self._weights().items():
                parameter.copy_(tensors[key])
        return tensors[name]

    def _check(self, promised: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        path = f"{self.folder}/{STATE}"
        for name, parameter in self._weights().items():
            if name not in tensors or tensors[name].shape != parameter.shape:
                raise ValueError(f"{path} is of another model: give another folder")
        other = sorted(name for name in self.promised if promised.get(name) != self.promised[name])
        if other:
            raise ValueError(f"{path} is of a training with other {', '.join(other)}: give another folder")

    def _weights(self) -> dict[str, Tensor]:
        return {f"model.{name}": p for name, p in self.model.named_parameters() if p.requires_grad}


def digest(*tensors: Tensor) -> str:
    """Name of what tensors hold."""
    held = sha256()
    for tensor in tensors:
        held.update(repr((tuple(tensor.shape), tensor.dtype)).encode())
        held.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())  # no bfloat16 there
    return held.hexdigest()

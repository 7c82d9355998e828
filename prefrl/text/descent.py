"""Gradient descent on a model's loss, batch by batch, which goes on exactly where it was stopped."""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from prefrl.text.kept import Kept, digest
from prefrl.types import Array

UNPROMISED = ("chunks", "save_every")
"""What may differ when a training goes on: it changes nothing but the speed."""

Parts = Callable[[Array], Iterator[Tensor]]
"""Rows of the data that are one batch -> parts of the batch's loss, one after the other, whose sum it is."""


@dataclass(frozen=True)
class Work:
    """What a model learns from."""

    name: str
    rows: int
    parts: Parts
    data: str
    """Digest of the data, by which another training's state is told."""


@dataclass(frozen=True)
class Descent:
    """AdamW with a warm-up, on shuffled batches."""

    epochs: float = field(default=1.0, kw_only=True)
    """Passes over the data; a part of one is fine."""
    batch: int = field(default=32, kw_only=True)
    """Rows per update."""
    chunks: int = field(default=1, kw_only=True)
    """Parts in which a batch goes through the model: as many times less memory, the same gradient."""
    lr: float = field(default=1e-3, kw_only=True)
    """The highest rate; models of a few million parameters from scratch take 1e-3, of 100 million 1e-4 or less."""
    warmup: float = field(default=0.05, kw_only=True)
    """Share of the updates in which the rate rises from 0."""
    decay: Literal["cosine", "linear", "constant"] = field(default="cosine", kw_only=True)
    """How it falls to 0 in the others, or that it does not."""
    weight_decay: float = field(default=0.01, kw_only=True)
    """Of matrices alone: shrinking biases and norms helps nothing."""
    max_grad_norm: float = field(default=1.0, kw_only=True)
    save_every: int = field(default=100, kw_only=True)
    """Updates between two saved states, where there is a folder for them."""

    def __post_init__(self) -> None:
        names = ("epochs", "batch", "chunks", "lr", "max_grad_norm", "save_every")
        check_positive(**{name: getattr(self, name) for name in names})
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup is a share of the updates, from 0 to below 1, got {self.warmup}")
        if self.decay not in ("cosine", "linear", "constant"):
            raise ValueError(f"decay must be 'cosine', 'linear' or 'constant', got {self.decay!r}")

    def rate(self, update: int, total: int) -> float:
        """The learning rate of an update, the first being 0."""
        rising = self.warmup * total
        if update < rising:
            return self.lr * (update + 1) / (math.floor(rising) + 1)
        done = (update - rising) / max(total - rising, 1)
        left = {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}
        return self.lr * left[self.decay]

    def descend(self, model: nn.Module, work: Work, seed: int, folder: Path | None, progress: bool) -> Array:
        """The loss of every update, (updates,); the model is changed in place.

        With a folder, goes on from the state that is there, to the same end as if it had never stopped. Raises
        ValueError if that is of another training, RuntimeError when the loss is no number any more.
        """
        if not work.rows:
            raise ValueError(f"{work.name} has nothing to learn from")
        total = max(round(self.epochs * -(-work.rows // self.batch)), 1)
        model.eval()  # dropout stays off (detail 8)
        optimizer = self._optimizer(model)
        state = Kept(folder, self._promised(work, seed, model), model, optimizer)
        made = state.load("losses")
        losses: list[float] = [] if made is None else made.tolist()
        batches = islice(_batches(work.rows, self.batch, seed), len(losses), total)
        bar = tqdm(batches, work.name, total, initial=len(losses), disable=None if progress else True)
        for rows in bar:
            losses.append(self._update(optimizer, work.parts(rows), self.rate(len(losses), total)))
            bar.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
            if len(losses) % self.save_every == 0 or len(losses) == total:
                state.save(losses=torch.tensor(losses, dtype=torch.float64))
        return np.array(losses)

    def _optimizer(self, model: nn.Module) -> torch.optim.AdamW:
        learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
        groups = [
            {"params": [p for p in learning if p.ndim >= 2], "weight_decay": self.weight_decay},
            {"params": [p for p in learning if p.ndim < 2], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW([group for group in groups if group["params"]], lr=self.lr, fused=True)

    def _update(self, optimizer: torch.optim.AdamW, parts: Iterator[Tensor], rate: float) -> float:
        optimizer.zero_grad()
        loss = 0.0
        for part in parts:
            part.backward()
            loss += part.item()
        for group in optimizer.param_groups:
            group["lr"] = rate
        learning = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        norm = float(torch.nn.utils.clip_grad_norm_(learning, self.max_grad_norm))
        if not math.isfinite(loss + norm):
            raise RuntimeError(
                f"the loss is {loss}, its gradient's norm {norm}: lower lr; the model is that of the update before"
            )
        optimizer.step()
        return loss

    def _promised(self, work: Work, seed: int, model: nn.Module) -> dict[str, Any]:
        start = digest(*model.parameters())
        given = asdict(self) | {"name": work.name, "seed": seed, "data": work.data, "start": start}
        return {name: value for name, value in given.items() if name not in UNPROMISED}


def _batches(rows: int, batch: int, seed: int) -> Iterator[Array]:
    """Shuffled anew in every pass; any pass's order is known without those before."""
    for epoch in count():
        order = np.random.default_rng([seed, epoch]).permutation(rows)
        yield from (order[start : start + batch] for start in range(0, rows, batch))


def check_positive(**settings: float) -> None:
    for name, value in settings.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")


def split(rows: Array, chunks: int) -> list[Array]:
    """At most `chunks` parts of a batch, none empty."""
    return [part for part in np.array_split(rows, chunks) if len(part)]


def settled(losses: Array) -> float:
    """Mean loss of the last tenth of the updates: what a training came to."""
    return float(losses[-max(len(losses) // 10, 1) :].mean())

"""The loss of a comparison: cross-entropy of a Bradley-Terry model whose labeller sometimes answers at random."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

LAPSE = 0.1
"""Share of answers given at random (Christiano et al. 2017, section 2.2.3); bounds a comparison's loss by 2.996."""


def preference(left: Tensor, right: Tensor, lapse: float = LAPSE) -> Tensor:
    """Chance that left is preferred, given both segments' predicted returns (equation 1, with lapses)."""
    return (1 - lapse) * torch.sigmoid(left - right) + lapse / 2


def bradley_terry(left: Tensor, right: Tensor, mu: Tensor, lapse: float = LAPSE) -> Tensor:
    """Cross-entropy of each comparison, in nats; `mu` is the chance that left is better; shapes broadcast."""
    p = preference(left, right, lapse)
    return -(mu * torch.log(p) + (1 - mu) * torch.log(1 - p))


def logistic(left: Tensor, right: Tensor, mu: Tensor) -> Tensor:
    """As `bradley_terry` of a labeller that never answers at random: -log sigmoid(better - worse) for a sure answer.

    It stays exact, and its gradient alive, however far apart the two are.
    """
    odds, mu = torch.broadcast_tensors(left - right, mu)
    return functional.binary_cross_entropy_with_logits(odds, mu, reduction="none")


@dataclass(frozen=True)
class Margin:
    """`logistic` of a reward that must tell a sure answer's better side apart by `size` more (Touvron et al. 2023).

    A tie wants no margin, half an answer half of it.
    """

    size: float = 1.0
    """In log-odds."""

    def __call__(self, left: Tensor, right: Tensor, mu: Tensor) -> Tensor:
        return logistic(left - self.size * (2 * mu - 1), right, mu)


Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(predicted returns of left, of right, mu) -> the loss of each comparison; shapes broadcast."""

"""The loss of a comparison: cross-entropy of a Bradley-Terry model whose labeller sometimes answers at random."""

from collections.abc import Callable

import torch
from torch import Tensor

LAPSE = 0.1
"""Share of answers given at random (Christiano et al. 2017, section 2.2.3); bounds a comparison's loss by 2.996."""


def preference(left: Tensor, right: Tensor, lapse: float = LAPSE) -> Tensor:
    """Chance that left is preferred, given both segments' predicted returns (equation 1, with lapses)."""
    return (1 - lapse) * torch.sigmoid(left - right) + lapse / 2


def bradley_terry(left: Tensor, right: Tensor, mu: Tensor, lapse: float = LAPSE) -> Tensor:
    """Cross-entropy of each comparison, in nats; `mu` is the chance that left is better; shapes broadcast."""
    p = preference(left, right, lapse)
    return -(mu * torch.log(p) + (1 - mu) * torch.log(1 - p))


Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(predicted returns of left, of right, mu) -> the loss of each comparison; shapes broadcast."""

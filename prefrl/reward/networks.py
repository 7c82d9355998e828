"""Nets that give every step of a segment a reward."""

from collections.abc import Callable, Sequence
from math import prod

import torch
from torch import nn

RewardNet = nn.Module
"""forward(obs (batch, T, *obs), acts (batch, T, *act)) -> rewards (batch, T); inputs are float32, scaled."""

MakeNet = Callable[[Sequence[int], Sequence[int]], RewardNet]
"""(shape of an observation, shape of an action) -> a net; a discrete action has the shape (choices,), one-hot."""


class MLP(nn.Module):
    """Two layers of 64 leaky ReLUs on observation and action (Christiano et al. 2017, appendix A.1)."""

    def __init__(
        self, obs_shape: Sequence[int], act_shape: Sequence[int], width: int = 64, slope: float = 0.01
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(prod(obs_shape) + prod(act_shape), width),
            nn.LeakyReLU(slope),
            nn.Linear(width, width),
            nn.LeakyReLU(slope),
            nn.Linear(width, 1),
        )

    def forward(self, obs: torch.Tensor, acts: torch.Tensor) -> torch.Tensor:
        steps = torch.cat([obs.flatten(2), acts.flatten(2)], dim=2)
        rewards: torch.Tensor = self.layers(steps)
        return rewards.squeeze(2)

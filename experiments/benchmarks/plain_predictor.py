"""The reward of frames as it is usually written: float32, one network after the other, PyTorch's own layers.

The networks are those of Christiano et al. 2017, appendix A.2, without dropout; of prefrl only the loss and the
bootstrap are used, so that both learn the same.
"""

import numpy as np
import torch
from torch import Tensor, nn

from prefrl.reward.loss import bradley_terry
from prefrl.types import Array

BATCH = 16
"""The paper's."""


def net(channels: int = 4) -> nn.Sequential:
    """Of frames 84x84, scaled to [0, 1]: (batch, 4, 84, 84) -> (batch, 1)."""
    layers: list[nn.Module] = []
    for kernel, stride in ((7, 3), (5, 2), (3, 1), (3, 1)):
        layers += [nn.Conv2d(channels, 16, kernel, stride), nn.BatchNorm2d(16), nn.LeakyReLU(0.01)]
        channels = 16
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * 7 * 7, 64), nn.LeakyReLU(0.01), nn.Linear(64, 1))


class Plain:
    """`members` networks and an Adam for each; frames are bytes (comparisons, 2, T, 4, 84, 84)."""

    def __init__(self, members: int, lr: float, l2: float) -> None:
        self.nets = [net() for _ in range(members)]
        self.optimizers = [torch.optim.Adam(each.parameters(), lr=lr, weight_decay=l2) for each in self.nets]

    def fit(self, frames: Array, mu: Array, draws: Array, passes: int, batch: int = BATCH) -> None:
        """`passes` over comparisons; mu (comparisons,), `draws` (members, comparisons): how often each is drawn."""
        targets, weights = torch.as_tensor(mu, dtype=torch.float32), torch.as_tensor(draws)
        for each, optimizer, weight in zip(self.nets, self.optimizers, weights, strict=True):
            each.train()
            drawn = weight.nonzero().squeeze(1)
            for _ in range(passes):
                for rows in drawn[torch.randperm(len(drawn))].split(batch):
                    left, right = _returns(each, frames[rows.numpy()]).unbind(1)
                    optimizer.zero_grad()
                    (weight[rows] * bradley_terry(left, right, targets[rows])).mean().backward()
                    optimizer.step()

    @torch.no_grad()
    def returns(self, frames: Array) -> Array:
        """Predicted returns of both sides: (members, comparisons, 2)."""
        for each in self.nets:
            each.eval()
        pairs = np.split(frames, len(frames))
        return np.stack([torch.cat([_returns(each, pair) for pair in pairs]).numpy() for each in self.nets])

    @torch.no_grad()
    def pay(self, obs: Array) -> Array:
        """The mean reward of each step, (envs, T), for observations (envs, T, 4, 84, 84)."""
        for each in self.nets:
            each.eval()
        x = _scaled(obs).flatten(0, 1)
        mean: Array = torch.stack([each(x) for each in self.nets]).mean(0).reshape(obs.shape[:2]).numpy()
        return mean


def _returns(each: nn.Module, frames: Array) -> Tensor:
    """(n, 2, T, 4, 84, 84) -> (n, 2)."""
    rewards: Tensor = each(_scaled(frames).flatten(0, 2))
    return rewards.view(frames.shape[:3]).sum(2)


def _scaled(frames: Array) -> Tensor:
    return torch.from_numpy(frames).float() / 255

"""Nets that give every step of a segment a reward."""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

RewardNet = nn.Module
"""forward(obs (batch, T, *obs), acts (batch, T, *act)) -> rewards (batch, T); inputs are float32, scaled.

A net may have a method `prepare(obs)`, which is given whole numbers (pixels, tokens) as the environment gives them, and
gives what `forward` wants in their place; and a method `paid(obs, acts)`, which says which steps it gives a reward,
(batch, T) bool: the others are paid nothing, and do not count where rewards are normalised.
"""

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


class CNN(nn.Module):
    """Four convolutions and a layer of 64 leaky ReLUs on the observation alone (appendix A.2).

    Frames (n, H, W), or (H, W, n) where n is the smallest. Batch norm follows every convolution, and where `dropout` is
    wanted the paper's of 1/2: nets need many more passes with it, which the paper has time for. On processors and cards
    that multiply bfloat16 at twice the rate of float32 it does so. Raises ValueError for frames that the convolutions
    leave nothing of.
    """

    KERNELS = (7, 5, 3, 3)
    STRIDES = (3, 2, 1, 1)

    def __init__(
        self,
        obs_shape: Sequence[int],
        act_shape: Sequence[int],
        filters: int = 16,
        width: int = 64,
        slope: float = 0.01,
        dropout: bool = False,
    ) -> None:
        super().__init__()
        if len(obs_shape) != 3:
            raise ValueError(f"cnn looks at frames (n, H, W), not at observations of shape {tuple(obs_shape)}")
        self.last = obs_shape[2] < obs_shape[0]
        n, *sides = (obs_shape[2], *obs_shape[:2]) if self.last else obs_shape
        channels = [n, *[filters] * len(self.KERNELS)]
        shapes = zip(pairwise(channels), self.KERNELS, self.STRIDES, strict=True)
        self.convolutions = nn.ModuleList([nn.Conv2d(*ends, kernel, stride) for ends, kernel, stride in shapes])
        self.after = nn.ModuleList(
            [
                nn.Sequential(nn.BatchNorm2d(filters), nn.LeakyReLU(slope), *([Half()] if dropout else []))
                for _ in self.convolutions
            ]
        )
        left = prod(_side(side, self.KERNELS, self.STRIDES) for side in sides)
        if not left:
            raise ValueError(f"frames of {sides[0]}x{sides[1]} are too small for cnn: give 43x43 or more")
        self.head = nn.Sequential(nn.Linear(filters * left, width), nn.LeakyReLU(slope), nn.Linear(width, 1))

    def prepare(self, obs: Tensor) -> Tensor:
        """Bytes (batch, T, *obs) -> (batch, T, n, H, W), still from 0 to 255: `forward` scales them."""
        frames = obs.movedim(4, 2) if self.last else obs
        return frames.to(torch.bfloat16 if multiplies_bfloat16(obs.device.type) else torch.float32)

    def forward(self, obs: Tensor, acts: Tensor) -> Tensor:
        x = obs.flatten(0, 1)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=x.dtype == torch.bfloat16):
            first, *others = self.convolutions
            assert isinstance(first, nn.Conv2d)
            # one division of the weights in place of one for each pixel
            x = self.after[0](nn.functional.conv2d(x, first.weight / 255, first.bias, first.stride))
            for convolution, after in zip(others, list(self.after)[1:], strict=True):
                x = after(convolution(x))
        rewards: Tensor = self.head(x.float().flatten(1))
        return rewards.view(obs.shape[:2])


class Half(nn.Module):
    """Dropout of 1/2 that draws 64 decisions at once: PyTorch's own draws them one by one."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        words = torch.empty(-(-x.numel() // 64), dtype=torch.int64, device=x.device).random_(-(2**63), None)
        factors = _factors(x.dtype, x.device).index_select(0, words.view(torch.uint8).int())
        return x * factors.flatten()[: x.numel()].as_strided(x.shape, x.stride())  # they lie in memory as x does


@cache
def _factors(number: torch.dtype, device: torch.device) -> Tensor:
    """For each byte, a 2 for every bit that is set, and a 0 for every other: (256, 8)."""
    bits = torch.arange(256).unsqueeze(1) >> torch.arange(8) & 1
    return (2 * bits).to(device, number)


@cache
def multiplies_bfloat16(device: str) -> bool:
    """The hardware has instructions for it; elsewhere bfloat16 is slower than float32."""
    if device == "cpu":
        can: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # PyTorch cannot say before 2.11
        return bool(can.get("avx512_bf16") or can.get("amx_bf16"))
    return device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def _side(pixels: int, kernels: Sequence[int], strides: Sequence[int]) -> int:
    """What convolutions leave of a side; 0 for nothing."""
    for kernel, stride in zip(kernels, strides, strict=True):
        pixels = max((pixels - kernel) // stride + 1, 0)
    return pixels

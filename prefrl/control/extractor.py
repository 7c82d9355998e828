"""The policy's network for frames."""

import torch
from gymnasium.spaces import Box
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, NatureCNN
from torch import Tensor, nn

from prefrl.reward.networks import multiplies_bfloat16


class FramesExtractor(BaseFeaturesExtractor):
    """SB3's NatureCNN on bytes, channels last in memory, in bfloat16 where the hardware multiplies it.

    For policies with `normalize_images=False`: one division of the first weights takes the place of one for each pixel.
    """

    def __init__(self, observation_space: Box, features_dim: int = 512) -> None:
        super().__init__(observation_space, features_dim)
        self.nature = NatureCNN(observation_space, features_dim)

    def forward(self, obs: Tensor) -> Tensor:
        half = multiplies_bfloat16(obs.device.type)
        x = obs.to(torch.bfloat16 if half else torch.float32, memory_format=torch.channels_last)
        first, *others = self.nature.cnn
        assert isinstance(first, nn.Conv2d)
        with torch.autocast(obs.device.type, torch.bfloat16, enabled=half):
            x = nn.functional.conv2d(x, first.weight / 255, first.bias, first.stride)
            for layer in (*others, self.nature.linear):
                x = layer(x)
        return x.float()

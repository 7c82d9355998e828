"""A language model that scores a prompt with its continuation: the reward net of text."""

from collections.abc import Sequence
from copy import deepcopy

import torch
from peft import PeftModel
from torch import Tensor, nn

from prefrl.reward.networks import MakeNet
from prefrl.text import models
from prefrl.text.models import LanguageModel, hidden_states, without_dropout


class Score(nn.Module):
    """Hidden states of a `backbone`, and a linear head that is read at the last real token (details 4 and 5).

    The head begins as N(0, 1 / (width + 1)), without bias (Stiennon et al. 2020, published code), and is
    in float32 even where the model is not. There is no dropout.
    """

    def __init__(self, backbone: nn.Module, pad: int) -> None:
        super().__init__()
        self.backbone, self.pad = without_dropout(backbone), pad
        width = models.width_of(backbone)
        self.head = nn.Linear(width, 1)
        nn.init.normal_(self.head.weight, std=(width + 1) ** -0.5)
        nn.init.zeros_(self.head.bias)

    def prepare(self, obs: Tensor) -> Tensor:
        """Token ids as they are."""
        return obs.int()

    def paid(self, obs: Tensor, acts: Tensor) -> Tensor:
        """The last real token of each row, (batch, T) bool; rows without any have none."""
        real = obs != self.pad
        return real & (real.int().flip(1).cumsum(1).flip(1) == 1)

    def forward(self, obs: Tensor, acts: Tensor) -> Tensor:
        """Token ids (batch, T), padded on any side -> rewards (batch, T), 0 at all but the last real token.

        `acts`, which tokens are the continuation's, changes nothing.
        """
        scores = self.scores(obs)
        return torch.where(self.paid(obs, acts), scores.unsqueeze(1), torch.zeros_like(scores).unsqueeze(1))

    def scores(self, ids: Tensor) -> Tensor:
        """Token ids (batch, T), padded on any side -> (batch,)."""
        real = ids != self.pad
        lengths = real.sum(1)
        front = (~real).int().argsort(dim=1, stable=True)[:, : int(lengths.max())]  # what the model sees has no gaps
        ids, real = ids.gather(1, front), real.gather(1, front)
        positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        with models.autocast(self.backbone):
            states = hidden_states(self.backbone, ids, real, positions)
        last = states[torch.arange(len(ids), device=ids.device), (lengths - 1).clamp(min=0)]
        scores: Tensor = self.head(last.float()).squeeze(1)
        return scores


def score_net(model: LanguageModel, pad: int) -> MakeNet:
    """Makes members of an ensemble: each a copy of the model, which stays as it is, with a head of its own.

    Low-rank adapters are merged into the copy, all of which is trained.
    """

    def make(obs_shape: Sequence[int], act_shape: Sequence[int]) -> Score:
        copy: LanguageModel = deepcopy(model)
        if isinstance(copy, PeftModel):
            copy = copy.merge_and_unload()
        return Score(models.backbone(copy).requires_grad_(True), pad)

    return make

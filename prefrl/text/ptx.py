"""PPO-ptx: what the policy learned before, mixed into its updates (Ouyang et al. 2022, section 3.5, equation 2)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from prefrl.text.models import LanguageModel, autocast, call
from prefrl.text.samples import positions


@dataclass(frozen=True, eq=False)
class Ptx:
    """Adds `coefficient` times the loss of language modelling to the loss of every update."""

    blocks: Tensor
    """Token ids of pre-training text, (N, T) int64; padding, where there is any, is not learned."""
    coefficient: float
    """The paper's is 27.8; it weighs a mean over tokens, as the policy's loss is one."""
    batch: int = 8
    """Blocks of each update."""

    def __post_init__(self) -> None:
        if self.blocks.ndim != 2 or not len(self.blocks) or self.blocks.shape[1] < 2:
            raise ValueError(f"blocks must be (N, T) token ids with T of 2 or more, not {tuple(self.blocks.shape)}")
        for name in ("coefficient", "batch"):
            if getattr(self, name) <= 0:
                raise ValueError(f"ptx's {name} must be positive, got {getattr(self, name)}")

    def backward(self, model: LanguageModel, pad: int) -> None:
        """Adds the gradient of a batch of blocks, drawn by torch's generator, to the model's."""
        rows = torch.randint(len(self.blocks), (self.batch,))
        ids = self.blocks[rows].to(next(model.parameters()).device)
        (self.coefficient * language_loss(model, ids, pad)).backward()


def language_loss(model: LanguageModel, ids: Tensor, pad: int) -> Tensor:
    """Mean negative log-likelihood in nats of each token of ids, (B, T), after the ones before it; padding left out."""
    attention = ids != pad
    with autocast(model):
        logits = call(model, ids, attention, positions(attention), use_cache=False).logits
    targets = ids[:, 1:].masked_fill(~attention[:, 1:] | ~attention[:, :-1], -100)
    return torch.nn.functional.cross_entropy(logits[:, :-1].float().flatten(0, 1), targets.flatten())


class Mixing(torch.optim.Optimizer):
    """An optimizer for which `zero_grad` leaves the gradient of another loss, to which the next backward adds its own.

    Both are then clipped and applied together, whoever calls `backward`.
    """

    mix: Callable[[], None]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets all gradients, and computes those of the loss that is mixed in."""
        super().zero_grad(set_to_none)
        self.mix()


def mixing(kind: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """Optimizers of this kind that mix another loss in: set their `mix`."""
    return type(f"Mixing{kind.__name__}", (Mixing, kind), {})

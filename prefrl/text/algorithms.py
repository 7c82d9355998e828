"""PPO, A2C and TRPO on language models: Stable-Baselines3's own, fed with sequences."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from sb3_contrib import TRPO
from stable_baselines3 import A2C, PPO
from torch import Tensor, nn

from prefrl.text.policy import SequencePolicy
from prefrl.text.rollouts import SequenceRollouts

GAE = {"gamma": 1.0, "gae_lambda": 0.95}
"""A score at the end is worth as much to the first token as to the last (Stiennon et al. 2020, appendix B.1)."""


class LMPPO(SequenceRollouts, PPO):
    """PPO whose minibatches, of `batch_size` sequences, are as SB3's own `train` wants them."""

    usual: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {
            **GAE,
            "learning_rate": 1e-5,
            "batch_size": 64,
            "n_epochs": 4,  # as published
            "vf_coef": 0.05,  # others' 0.1, who halve the squared error
            "max_grad_norm": 1.0,
        }
    )


class LMA2C(SequenceRollouts, A2C):
    """A2C: one update of each rollout."""

    usual: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {**GAE, "learning_rate": 1e-5, "vf_coef": 0.05, "max_grad_norm": 1.0, "normalize_advantage": True}
    )


class LMTRPO(SequenceRollouts, TRPO):
    """TRPO: the largest step that its `target_kl`, a mean over tokens, allows."""

    usual: ClassVar[Mapping[str, Any]] = MappingProxyType({**GAE, "learning_rate": 1e-4, "batch_size": 64})

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        for name, usual in (("ptx", None), ("chunks", 1), ("sub_sampling_factor", 1)):
            if kwargs.get(name, usual) != usual:
                raise ValueError(f"LMTRPO cannot use {name}: leave it out, or train with LMPPO")
        # fused attention has no second derivative, which the Fisher matrix needs
        eager = {"attention": "eager", **(kwargs.pop("policy_kwargs", None) or {})}
        super().__init__(*args, policy_kwargs=eager, **kwargs)

    def _compute_actor_grad(
        self, kl_div: Tensor, policy_objective: Tensor
    ) -> tuple[list[nn.Parameter], Tensor, Tensor, list[tuple[int, ...]]]:
        """Both gradients by one backward each, where SB3 makes two of every parameter; the value net has no part."""
        assert isinstance(self.policy, SequencePolicy)
        actor = [parameter for parameter in self.policy.model.parameters() if parameter.requires_grad]
        of_kl = torch.autograd.grad(kl_div, actor, create_graph=True)
        of_objective = torch.autograd.grad(policy_objective, actor, retain_graph=True)
        flat = (torch.cat([each.reshape(-1) for each in gradients]) for gradients in (of_objective, of_kl))
        objective_gradient, kl_gradient = flat
        return actor, objective_gradient, kl_gradient, [tuple(each.shape) for each in actor]

"""A language model as an actor-critic policy of Stable-Baselines3: whole sequences in, numbers of their tokens out."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from gymnasium import spaces
from peft import PeftModel
from stable_baselines3.common.distributions import CategoricalDistribution, Distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from prefrl.text.generate import chosen, continued, entropy_of, token_logits
from prefrl.text.models import (
    LanguageModel,
    attend,
    autocast,
    backbone,
    check_vocabulary,
    hidden_states,
    rounds,
    width_of,
)
from prefrl.text.ptx import Mixing, Ptx, mixing
from prefrl.text.samples import Samples

Evaluated = tuple[Tensor, Tensor, Tensor | None]
"""Values, log-probabilities and, where it is asked for, entropy of real tokens, (tokens,) each."""


class ValueNet(nn.Module):
    """What is still to be earned before each token of a continuation: a net of its own, beside the policy's."""

    def __init__(self, start: nn.Module) -> None:
        """Copies `start`: a language model, whose head is left out, or a net with `backbone` and linear `head`.

        All of it learns, but for a model with adapters: there these do, and the new head.
        """
        super().__init__()
        parts = dict(start.named_children())
        base = backbone(start) if isinstance(start, PreTrainedModel | PeftModel) else parts.get("backbone", start)
        self.backbone, head = deepcopy(base), parts.get("head")
        if not isinstance(start, PeftModel):
            self.backbone.requires_grad_(True)  # a reward model's may be frozen
        if isinstance(head, nn.Linear) and head.out_features == 1:
            self.head = deepcopy(head).requires_grad_(True)
        else:
            self.head = nn.Linear(width_of(self.backbone), 1)
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)

    def forward(self, samples: Samples) -> Tensor:
        """Values in units of the score, one sequence after the other, (tokens,)."""
        with autocast(self.backbone):
            hidden = hidden_states(self.backbone, samples.ids, samples.attention, samples.positions)
        before = hidden[:, samples.prompts.shape[1] - 1 : -1][samples.mask]
        values: Tensor = self.head(before.float()).squeeze(-1)
        return values


class SequencePolicy(ActorCriticPolicy):
    """Trains a copy of `model`, with a value net that starts from `value_from`, or else from the same model.

    Observations are prompt and continuation in one row, (sequences, P + R) int64; actions the continuations' real
    tokens, one sequence after the other, (tokens,), like all that is said of them. Dropout stays off (detail 8).
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Callable[[float], float],
        use_sde: bool = False,
        *,
        model: LanguageModel,
        tokenizer: PreTrainedTokenizerBase,
        value_from: nn.Module | None = None,
        temperature: float = 1.0,
        chunks: int = 1,
        with_entropy: bool = False,
        attention: str | None = None,
        ptx: Ptx | None = None,
        optimizer_class: type[torch.optim.Optimizer] = torch.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
    ) -> None:
        """`chunks`: parts of a minibatch that are forwarded one after the other, for less memory and more time.

        `attention`: transformers' implementation of it, the model's own if not given.
        """
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            use_sde=use_sde,
            normalize_images=False,
            optimizer_class=mixing(optimizer_class) if ptx else optimizer_class,
            optimizer_kwargs={"eps": 1e-5} if optimizer_kwargs is None else optimizer_kwargs,  # as SB3
        )
        self.pad, self.eos = tokenizer.pad_token_id, tokenizer.eos_token_id
        self.temperature, self.chunks, self.with_entropy = temperature, chunks, with_entropy
        assert observation_space.shape is not None
        self.prompt_length = observation_space.shape[0]
        """Columns of an observation that are the prompt's: as many as the longest of the rollout has."""
        self.model = deepcopy(model)
        self.value_model = ValueNet(model if value_from is None else value_from)
        for net in (self.model, self.value_model.backbone):
            check_vocabulary(net, tokenizer)
        if attention is not None:
            attend(self.model, attention)
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        make: Callable[..., torch.optim.Optimizer] = self.optimizer_class
        self.optimizer = make(trained, lr=lr_schedule(1), **self.optimizer_kwargs)
        if ptx and isinstance(self.optimizer, Mixing):
            self.optimizer.mix = lambda: ptx.backward(self.model, self.pad)
        self.set_training_mode(False)

    def _build(self, lr_schedule: Callable[[float], float]) -> None:
        """Builds nothing: the networks were given."""

    def set_training_mode(self, mode: bool) -> None:
        """Dropout stays off in training, too, or the first ratio of PPO would not be 1."""
        self.train(False)

    def samples(self, obs: PyTorchObs) -> Samples:
        """Observations as prompts and continuations."""
        assert isinstance(obs, Tensor)
        samples = Samples(obs[:, : self.prompt_length], obs[:, self.prompt_length :], self.pad, self.eos)
        # in bfloat16, batches of other widths round otherwise, and the first ratio would not be 1 (detail 13)
        return samples.trimmed() if obs.device.type == "cpu" and not rounds(self.model) else samples

    def evaluate_actions(self, obs: PyTorchObs, actions: Tensor) -> Evaluated:
        """Values, log-probabilities and entropy (None where it costs nothing) of real tokens, (tokens,) each.

        One forward of each sequence, in `chunks`, whose activations are computed again for the gradient.
        """
        samples = self.samples(obs)
        if self.chunks == 1:
            return self.evaluate(samples)
        parts: list[Evaluated] = [
            checkpoint(self.evaluate, samples[rows], use_reentrant=False, preserve_rng_state=False)
            for rows in torch.arange(len(samples), device=samples.prompts.device).chunk(self.chunks)
        ]
        values, log_probs, entropies = zip(*parts, strict=True)
        return torch.cat(values), torch.cat(log_probs), torch.cat(entropies) if self.with_entropy else None

    def evaluate(self, samples: Samples) -> Evaluated:
        """As `evaluate_actions`, of samples, all at once."""
        logits = token_logits(self.model, samples, self.temperature)
        log_probs = chosen(logits, samples.responses[samples.mask])
        return self.value_model(samples), log_probs, entropy_of(logits) if self.with_entropy else None

    def predict_values(self, obs: PyTorchObs) -> Tensor:
        """Values of real tokens, (tokens,)."""
        values: Tensor = self.value_model(self.samples(obs))
        return values

    def get_distribution(self, obs: PyTorchObs) -> Distribution:
        """Of each real token: over the vocabulary."""
        logits = token_logits(self.model, self.samples(obs), self.temperature)
        return CategoricalDistribution(logits.shape[1]).proba_distribution(action_logits=logits)

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> Tensor:
        """Continuations of prompts, (sequences, R); the likeliest if deterministic."""
        longest = self.action_space.shape
        assert isinstance(observation, Tensor) and longest is not None
        temperature = 0.0 if deterministic else self.temperature
        return continued(self.model, observation.long(), longest[0], self.pad, self.eos, temperature).responses

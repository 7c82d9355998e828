"""How far a policy is from where it began, and what that costs it."""

import math
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class KL:
    """The penalty of a sequence: `beta` times log(policy / reference), token by token (Stiennon et al. 2020)."""

    beta: float = 0.05
    """In units of the score per nat; where it begins, if it adapts."""
    target: float | None = None
    """Nats per sequence that `beta` adapts to hold (Ziegler et al. 2019, section 2.2, hold 6); fixed if not given."""
    horizon: int = 10_000
    """Sequences after which a constant error has changed `beta` e-fold; the published one."""
    stop_at: float = 200.0
    """Nats per sequence from which training stops: over-optimisation sets in at a tenth of it."""

    def __post_init__(self) -> None:
        for name in ("target", "horizon", "stop_at"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"kl's {name} must be positive, got {value}")
        if self.beta < 0:
            raise ValueError(f"kl's beta must not be negative, got {self.beta}: it would pay for going astray")

    def adapted(self, beta: float, kl: float, sequences: int) -> float:
        """The next `beta`, after so many sequences whose KL was `kl` nats on average."""
        if self.target is None:
            return beta
        error = min(max(kl / self.target - 1, -0.2), 0.2)
        return beta * (1 + error * sequences / self.horizon)

    def check(self, kl: float, beta: float) -> None:
        """Raises Astray, a RuntimeError, which says what to change, where the policy has gone too far."""
        if math.isfinite(kl) and kl <= self.stop_at:
            return
        raise Astray(
            f"the policy is {kl:.3g} nats per sequence from its reference, more than {self.stop_at:g}: training stops, "
            f"and the model of the last good update is kept. Lower learning_rate or n_epochs, set target_kl, or raise "
            f"kl's beta, which is {beta:.3g}"
        )


class Astray(RuntimeError):
    """A policy has gone too far from where it began."""


def per_sequence(log_probs: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """log(policy / reference) summed over the real tokens of each sequence, (B,); its mean is the KL (detail 14)."""
    return ((log_probs - reference) * mask).sum(1)


def token_rewards(scores: Tensor, log_probs: Tensor, reference: Tensor, mask: Tensor, beta: float) -> Tensor:
    """What each token earns, (B, R): the penalty of its own KL, and at the last real one the score, (B,)."""
    rewards = -beta * (log_probs - reference) * mask
    last = mask.sum(1) - 1
    rewards.scatter_add_(1, last[:, None], scores[:, None].to(rewards.dtype))
    return rewards


def without_end(scores: Tensor, ended: Tensor, penalty: float | None) -> Tensor:
    """Scores, (B,), but at most `penalty` for what did not come to an end (detail 11).

    A fixed score would reward those that were worse than it for not ending.
    """
    return scores if penalty is None else scores.where(ended, scores.clamp(max=penalty))

"""Policies straight from comparisons, without a reward model: DPO, IPO and KTO.

The model as it is given is the reference: its log-probabilities are computed once, before the first update, so that no
second model is kept, with or without adapters. Labels may be anything in [0, 1]: a tie pulls both ways alike.
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from prefrl.text.descent import Descent, Work, check_positive, settled, split
from prefrl.text.generate import log_probs
from prefrl.text.kept import digest
from prefrl.text.models import LanguageModel
from prefrl.text.samples import Samples, cat
from prefrl.types import Array, Comparison, Segment


@dataclass(frozen=True, eq=False)
class Pairs:
    """Two continuations of each prompt, and the chance that left is better."""

    left: Samples
    right: Samples
    preference: Tensor
    """In [0, 1], (B,) float32."""

    def __len__(self) -> int:
        return len(self.preference)


@dataclass(frozen=True, eq=False)
class Thumbs:
    """Continuations, each judged on its own."""

    samples: Samples
    good: Tensor
    """(B,) bool."""

    def __len__(self) -> int:
        return len(self.good)


@dataclass(frozen=True)
class _Pairwise(Descent):
    """Descent on a loss of both sides' change in log-probability since the reference."""

    beta: float = field(default=0.1, kw_only=True)
    """How dear it is to leave the reference: the larger, the closer the policy stays."""
    mean: ClassVar[bool]
    """Whether log-probabilities are means over a continuation's tokens, not sums."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(beta=self.beta)

    @abstractmethod
    def loss(self, left: Tensor, right: Tensor, mu: Tensor) -> Tensor:
        """(change of left, of right, chance that left is better) -> loss of each comparison."""

    def __call__(
        self,
        model: LanguageModel,
        pairs: Pairs,
        validation: Pairs | None = None,
        *,
        seed: int = 0,
        folder: Path | None = None,
        progress: bool = False,
    ) -> dict[str, float]:
        """Changes the model, the reference as it is given, in place. `folder`: where to save, and to go on from.

        Gives losses, and the share of the validation pairs, ties aside, that the policy's change puts in order.
        """
        name = type(self).__name__.lower()
        reference = self._references(model, pairs)
        judged = None if validation is None else self._references(model, validation)

        def parts(rows: Array) -> Iterator[Tensor]:
            for some in split(rows, self.chunks):
                yield self._losses(model, pairs, some, reference).sum() / len(rows)

        data = digest(pairs.left.ids, pairs.right.ids, pairs.preference)
        losses = self.descend(model, Work(name, len(pairs), parts, data), seed, folder, progress)
        found = {f"{name}/updates": float(len(losses)), f"{name}/loss": settled(losses)}
        if validation is None or judged is None:
            return found
        return found | {f"{name}/validation_{key}": v for key, v in self._judged(model, validation, judged).items()}

    def _losses(self, model: LanguageModel, pairs: Pairs, rows: Array, reference: Tensor) -> Tensor:
        left, right = self._sides(model, pairs, rows) - reference[:, rows]
        return self.loss(left, right, pairs.preference[rows].to(left.device))

    def _sides(self, model: LanguageModel, pairs: Pairs, rows: Array) -> Tensor:
        """Log-probabilities of both sides, (2, rows), in one forward."""
        return log_probability(model, cat([pairs.left[rows], pairs.right[rows]]), self.mean).view(2, len(rows))

    @torch.no_grad()
    def _references(self, model: LanguageModel, pairs: Pairs) -> Tensor:
        model.eval()
        return torch.cat([self._sides(model, pairs, rows) for rows in _in_order(len(pairs), self.batch)], 1)

    @torch.no_grad()
    def _judged(self, model: LanguageModel, pairs: Pairs, reference: Tensor) -> dict[str, float]:
        rows = _in_order(len(pairs), self.batch)
        left, right = torch.cat([self._sides(model, pairs, some) for some in rows], 1) - reference
        mu = pairs.preference.to(left.device)
        decided = mu != 0.5
        right_way = torch.sign(left - right)[decided] * torch.sign(mu - 0.5)[decided]
        return {"loss": float(self.loss(left, right, mu).mean()), "accuracy": float((right_way + 1).mean() / 2)}


@dataclass(frozen=True)
class DPO(_Pairwise):
    """Direct preference optimisation (Rafailov et al. 2023)."""

    mean: ClassVar[bool] = False

    def loss(self, left: Tensor, right: Tensor, mu: Tensor) -> Tensor:
        """Equation 7: the Bradley-Terry loss of implicit rewards, beta times the change of log-probability."""
        return binary_cross_entropy_with_logits(self.beta * (left - right), mu, reduction="none")


@dataclass(frozen=True)
class IPO(_Pairwise):
    """Identity preference optimisation (Azar et al. 2023), on mean log-probabilities: sums would let lengths decide."""

    mean: ClassVar[bool] = True

    def loss(self, left: Tensor, right: Tensor, mu: Tensor) -> Tensor:
        """Squared distance of the sides' difference to 1 / (2 beta) in favour of the better, where it stops."""
        margin = 1 / (2 * self.beta)
        return mu * (left - right - margin) ** 2 + (1 - mu) * (left - right + margin) ** 2


@dataclass(frozen=True)
class KTO(Descent):
    """Kahneman-Tversky optimisation (Ethayarajh et al. 2024): continuations are good or not, nothing is compared."""

    beta: float = field(default=0.1, kw_only=True)
    """As in DPO."""
    desirable: float = field(default=1.0, kw_only=True)
    """Weight of good continuations; theirs and the others' should sum to about the same."""
    undesirable: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(beta=self.beta, desirable=self.desirable, undesirable=self.undesirable)

    def loss(self, change: Tensor, good: Tensor, kl: Tensor) -> Tensor:
        """Of continuations, (B,), by the change of their log-probability; `kl`: of policy and reference, one number."""
        away = self.beta * (change - kl)
        return torch.where(good, self.desirable * torch.sigmoid(-away), self.undesirable * torch.sigmoid(away))

    def __call__(
        self,
        model: LanguageModel,
        judged: Thumbs | Pairs,
        *,
        seed: int = 0,
        folder: Path | None = None,
        progress: bool = False,
    ) -> dict[str, float]:
        """Changes the model, the reference as it is given, in place. `folder`: where to save, and to go on from."""
        given = thumbs(judged) if isinstance(judged, Pairs) else judged
        others = mismatched(given.samples, seed)
        reference, other_reference = (_log_probabilities(model, which, self.batch) for which in (given.samples, others))

        def parts(rows: Array) -> Iterator[Tensor]:
            with torch.no_grad():
                pieces = [log_probability(model, others[some]) for some in split(rows, self.chunks)]
                kl = (torch.cat(pieces) - other_reference[rows]).mean().clamp(min=0)
            for some in split(rows, self.chunks):
                change = log_probability(model, given.samples[some]) - reference[some]
                yield self.loss(change, given.good[some].to(change.device), kl).sum() / len(rows)

        work = Work("kto", len(given), parts, digest(given.samples.ids, given.good))
        losses = self.descend(model, work, seed, folder, progress)
        return {"kto/updates": float(len(losses)), "kto/loss": settled(losses)}


def thumbs(pairs: Pairs) -> Thumbs:
    """Up for the better side of each comparison, down for the other; ties are left out."""
    mu = pairs.preference
    decided = (mu != 0.5).nonzero().squeeze(1)
    if not len(decided):
        raise ValueError(f"of {len(pairs)} comparisons all are ties: nothing is good or bad by them")
    return Thumbs(cat([pairs.left[decided], pairs.right[decided]]), torch.cat([mu[decided] > 0.5, mu[decided] < 0.5]))


def pairs_of(comparisons: Iterable[Comparison], pad: int, eos: int) -> Pairs:
    """Comparisons of text segments, as a store gives them: each labeller's last word; skipped ones are left out."""
    latest = {(c.query, c.labeller, 0 if c.query else i): c for i, c in enumerate(comparisons)}
    told = [c for c in latest.values() if c.preference is not None]
    if not told:
        raise ValueError("there are no comparisons with a preference to learn from: answer some first")
    sides = samples_of([side for c in told for side in (c.left, c.right)], pad, eos)
    preferences = torch.tensor([c.preference for c in told], dtype=torch.float32)
    return Pairs(sides[slice(0, None, 2)], sides[slice(1, None, 2)], preferences)


def samples_of(segments: Sequence[Segment], pad: int, eos: int) -> Samples:
    """The samples that made these segments of text."""
    ids = torch.from_numpy(np.stack([segment.obs for segment in segments]).astype(np.int64))
    begins = {int(segment.acts.argmax()) for segment in segments if segment.acts.any()}
    if len(begins) != 1:
        raise ValueError(
            f"prompts end at tokens {sorted(begins)}: record segments whose prompts are padded to one length"
        )
    width = begins.pop()
    return Samples(ids[:, :width], ids[:, width:], pad, eos)


def log_probability(model: LanguageModel, samples: Samples, mean: bool = False) -> Tensor:
    """Of each continuation, (B,): summed over its tokens, or their mean."""
    samples = samples.to(model.device)
    total = log_probs(model, samples).sum(1)
    return total / samples.lengths if mean else total


@torch.no_grad()
def _log_probabilities(model: LanguageModel, samples: Samples, batch: int) -> Tensor:
    model.eval()
    return torch.cat([log_probability(model, samples[rows]) for rows in _in_order(len(samples), batch)])


def mismatched(samples: Samples, seed: int) -> Samples:
    """Every prompt with another's continuation: what both models say of these tells how far apart they are."""
    order = np.random.default_rng(seed).permutation(len(samples))
    partner = np.empty_like(order)
    partner[order] = np.roll(order, 1)  # one cycle: nobody is its own
    return Samples(samples.prompts, samples[partner].responses, samples.pad, samples.eos)


def _in_order(rows: int, batch: int) -> list[Array]:
    return [np.arange(start, min(start + batch, rows)) for start in range(0, rows, batch)]

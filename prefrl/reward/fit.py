"""Fitting the ensemble to comparisons."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from prefrl.reward import diagnostics
from prefrl.reward.ensemble import Ensemble, stack
from prefrl.reward.loss import Loss, bradley_terry, preference
from prefrl.types import Array, Comparison


@dataclass(frozen=True)
class Fit:
    """Adam on a loss of comparisons, each net on its own bootstrap of them (section 2.2.3)."""

    first_passes: int = 20
    """Passes over the labels of the untrained policy, before training begins."""
    passes: int = 2
    """Passes over all comparisons at every later refit; the nets go on from where they were."""
    batch: int = 64
    """Comparisons per update of a member."""
    lr: float = 1e-3
    l2: float = 1e-2
    """Where the coefficient of L2 regularisation begins; from 1e-4 it comes too late for the first labels."""
    l2_step: float = 0.01
    """Its relative change per update, towards a validation loss of 1.1 to 1.5 times the training loss."""
    l2_bounds: tuple[float, float] = (1e-6, 1e-1)
    seed: int = 0
    """Decides which comparisons a member draws, once and for all."""
    loss: Loss = bradley_terry
    rate: float | None = None
    """Comparisons per environment step of the policy that are trained on, new labels or not, in place of `passes`."""
    keep: int | None = None
    """Only so many of the newest comparisons are learned from; all of them, if not given."""
    judged: int | None = None
    """So many comparisons, drawn anew, tell the losses after a refit of less than a pass; else all of them."""

    def __post_init__(self) -> None:
        for name in ("first_passes", "passes", "batch", "lr", "rate", "keep", "judged"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"fit's {name} must be positive, got {value}")

    def optimizer(self, ensemble: Ensemble) -> torch.optim.Adam:
        """One group of parameters per member, whose `weight_decay` is the member's L2 coefficient."""
        groups = [{"params": list(member.parameters())} for member in ensemble.members]
        return torch.optim.Adam(groups, lr=self.lr, weight_decay=self.l2, fused=True)

    def __call__(
        self,
        ensemble: Ensemble,
        optimizer: torch.optim.Adam,
        comparisons: Sequence[Comparison],
        passes: float,
        rng: np.random.Generator,
    ) -> dict[str, float]:
        """`passes` over `comparisons`, all with a preference and of one length; gives metrics, losses in nats.

        Of a pass that is not whole, at least one update is made.
        """
        data = self.data(ensemble, comparisons)
        names, element = self.elements(comparisons)
        draws = bootstrap(names, len(ensemble), self.seed)
        ensemble.train()
        most = max(len(np.unique(element[drawn > 0])) for drawn in draws)
        updates = max(round(passes * -(-most // self.batch)), 1)
        share = (1 / np.bincount(element)[element]).astype(np.float32)
        drawn = islice(_batches(draws, element, self.batch, rng), updates)
        for batches in self.watched(drawn, updates, ensemble, optimizer, comparisons):
            optimizer.zero_grad()
            _backward(ensemble, data, draws * share, share, batches, self.loss)
            optimizer.step()
        some = np.arange(len(comparisons))
        if self.judged is not None and self.judged < len(some) and passes < 1:
            some = rng.choice(some, self.judged, replace=False)
        left, right = data.predicted(ensemble, some, self.batch)
        draws, mu = draws[:, some], data.mu[some]
        metrics, ratios = _losses(self.loss(left, right, mu).cpu().numpy(), draws)
        metrics |= _held_out(preference(left, right).cpu().numpy(), mu.cpu().numpy(), draws)
        self._adapt_l2(optimizer, ratios, updates)
        return metrics | {"reward/l2": float(np.mean([group["weight_decay"] for group in optimizer.param_groups]))}

    def data(self, ensemble: Ensemble, comparisons: Sequence[Comparison]) -> "Data":
        """What the nets are shown of the comparisons."""
        return Data(ensemble, comparisons)

    def watched(
        self,
        batches: Iterator[list[Array]],
        updates: int,
        ensemble: Ensemble,
        optimizer: torch.optim.Adam,
        comparisons: Sequence[Comparison],
    ) -> Iterator[list[Array]]:
        """The batches of all updates, one by one: a long fit shows here how far it is, and keeps that."""
        return batches

    def elements(self, comparisons: Sequence[Comparison]) -> tuple[list[int], Array]:
        """By which number each comparison is drawn, and which element of batches it belongs to, from 0 on.

        Here, a query is drawn, and each of its comparisons is an element. The loss of an element is the mean over its
        comparisons, that of a batch the mean over its elements.
        """
        return [c.query for c in comparisons], np.arange(len(comparisons))

    def _adapt_l2(self, optimizer: torch.optim.Adam, ratios: Sequence[float], updates: int) -> None:
        factor = (1 + self.l2_step) ** updates
        low, high = self.l2_bounds
        for group, ratio in zip(optimizer.param_groups, ratios, strict=True):
            change = factor if ratio > 1.5 else 1 / factor if ratio < 1.1 else 1.0
            group["weight_decay"] = min(max(group["weight_decay"] * change, low), high)


@dataclass(frozen=True)
class Frames(Fit):
    """How nets that look at frames are fitted, all the time, to the newest comparisons (appendix A.2)."""

    first_passes: int = 10
    """The paper's are 200, which one core takes twenty times as long for."""
    batch: int = 8
    """Activations of larger ones leave the cache."""
    lr: float = 3e-4
    l2: float = 1e-4
    rate: float | None = 0.1
    keep: int | None = 3_000
    judged: int | None = 50


class Data:
    """Comparisons as tensors: obs and acts (comparisons, 2, T, *), mu (comparisons,).

    Frames are made tensors when they are needed: as bytes they take a quarter of the memory, and shared by the stacks
    of their segment a sixteenth.
    """

    def __init__(self, ensemble: Ensemble, comparisons: Sequence[Comparison]) -> None:
        self._ensemble, self._comparisons = ensemble, comparisons
        self._frames = comparisons[0].left.obs.dtype == np.uint8
        if not self._frames:
            obs, acts = _sides(comparisons)
            ensemble.adapt(obs)
            self._obs, self._acts = ensemble.encode(obs, acts)
        self.mu = torch.tensor(
            [c.preference for c in comparisons], dtype=torch.float32, device=ensemble.obs_mean.device
        )

    def returns(self, member: torch.nn.Module, rows: Array) -> tuple[Tensor, Tensor]:
        """A member's predicted returns of both sides of some comparisons: (rows,), (rows,)."""
        left, right = member(*self._inputs(rows)).sum(1).unflatten(0, (-1, 2)).unbind(1)
        return left, right

    def _inputs(self, rows: Array) -> tuple[Tensor, Tensor]:
        """Both sides of some comparisons: (2 rows, T, *)."""
        if self._frames:
            return self._ensemble.encode(*_sides([self._comparisons[row] for row in rows]))
        which = torch.from_numpy(rows)
        obs, acts = self._obs.unflatten(0, (-1, 2)), self._acts.unflatten(0, (-1, 2))
        return obs[which].flatten(0, 1), acts[which].flatten(0, 1)

    @torch.no_grad()
    def predicted(self, ensemble: Ensemble, some: Array, batch: int) -> tuple[Tensor, Tensor]:
        """Every member's predicted returns of both sides of `some`: (members, some), (members, some)."""
        ensemble.eval()
        batches = [some[start : start + batch] for start in range(0, len(some), batch)]
        sides = [[self.returns(member, rows) for rows in batches] for member in ensemble.members]
        left, right = ([torch.cat([pair[side] for pair in pairs]) for pairs in sides] for side in (0, 1))
        return torch.stack(left), torch.stack(right)


def _sides(comparisons: Sequence[Comparison]) -> tuple[Array, Array]:
    return stack([segment for c in comparisons for segment in (c.left, c.right)])


@cache
def _drawn(seed: int, query: int, members: int) -> tuple[int, ...]:
    return tuple(np.random.default_rng([seed, query]).poisson(1.0, members).tolist())


def bootstrap(queries: Sequence[int], members: int, seed: int) -> Array:
    """How often each member draws each comparison, (members, comparisons); out of bag where 0.

    Poisson(1) draws are a bootstrap whose assignment depends on nothing but the query, so that it persists over
    refits and new comparisons: 1/e of them are held out per member (section 2.2.3).
    """
    return np.array([_drawn(seed, query, members) for query in queries], dtype=np.float32).T


def _batches(draws: Array, element: Array, batch: int, rng: np.random.Generator) -> Iterator[list[Array]]:
    """Minibatches of `batch` elements, one pass after the other: for every update, the rows of each member.

    Members differ in how many they have.
    """
    ends = np.cumsum(np.bincount(element))
    rows = np.split(np.argsort(element, kind="stable"), ends[:-1])
    alone = len(rows) == len(element)
    while True:
        chosen = [rng.permutation(np.unique(element[drawn > 0])) for drawn in draws]
        for start in range(0, max(map(len, chosen)), batch):
            now = [elements[start : start + batch] for elements in chosen]
            yield now if alone else [np.concatenate([rows[i] for i in some] or [some]) for some in now]


def _backward(
    ensemble: Ensemble, data: Data, weights: Array, share: Array, batches: Sequence[Array], loss: Loss
) -> None:
    """Gradients of the losses' sum over the members, so that no member's step depends on how many there are.

    One member after the other: its activations are still in cache when they are needed again. `share`: of each
    comparison in its element; `weights`: how often it was drawn, times that.
    """
    for member, weight, rows in zip(ensemble.members, weights, batches, strict=True):
        if len(rows):
            each = loss(*data.returns(member, rows), data.mu[rows])
            whole = weight[rows] * (len(rows) / share[rows].sum())
            (torch.from_numpy(whole).to(each.device) * each).mean().backward()


def _losses(loss: Array, draws: Array) -> tuple[dict[str, float], list[float]]:
    """Training and validation loss after a fit, and each member's ratio of the two (1.3 where it has no data).

    `loss`: of every member on every comparison, (members, comparisons).
    """
    train = (loss * draws).sum(1) / draws.sum(1).clip(min=1)
    held_out = draws == 0
    validation = (loss * held_out).sum(1) / held_out.sum(1).clip(min=1)
    usable = held_out.any(1) & (draws > 0).any(1)
    ratios = np.where(usable, validation / train.clip(min=1e-9), 1.3).tolist()
    metrics = {
        "reward/train_loss": float(train.mean()),
        "reward/validation_loss": float(validation[usable].mean() if usable.any() else np.nan),
        "reward/loss_ratio": float(np.mean(ratios)),
    }
    return metrics, ratios


def _held_out(p: Array, mu: Array, draws: Array) -> dict[str, float]:
    """How sure, and how right, members are of comparisons that they have not seen; `p` (members, comparisons)."""
    held_out = draws == 0
    judges = held_out.sum(0)
    judged = judges > 0
    return diagnostics.calibration((p * held_out).sum(0)[judged] / judges[judged], mu[judged])

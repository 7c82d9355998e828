"""Fitting: pairs per second of `Fit`, over a plain loop of matrix multiplications, member by member.

Both see the same comparisons as often, in batches of the same size, weighted by the same bootstrap, and step Adam as
often. The plain loop's data is prepared beforehand; `Fit` prepares its own, and tells how well it did.
"""

import time

import numpy as np
import torch
from torch import nn

from experiments.benchmarks.measure import Row, arguments, publish, ratios, table, workers
from prefrl.reward.ensemble import Ensemble
from prefrl.reward.fit import Fit, bootstrap
from prefrl.reward.loss import bradley_terry
from prefrl.types import Array, Comparison, Segment

OBS, ACTS = 17, 6
"""HalfCheetah's."""
MEMBERS = 3


def comparisons(n: int, length: int) -> list[Comparison]:
    rng = np.random.default_rng(0)

    def segment() -> Segment:
        return Segment(rng.normal(size=(length, OBS)), rng.uniform(-1, 1, (length, ACTS)).astype(np.float32))

    return [Comparison(segment(), segment(), float(rng.integers(2)), query) for query in range(1, n + 1)]


def ours(data: list[Comparison], fit: Fit, passes: int) -> float:
    """Seconds."""
    ensemble = Ensemble((OBS,), (ACTS,), members=MEMBERS)
    optimizer = fit.optimizer(ensemble)
    began = time.perf_counter()
    fit(ensemble, optimizer, data, passes, np.random.default_rng(0))
    return time.perf_counter() - began


def plain(data: list[Comparison], fit: Fit, passes: int) -> float:
    """Seconds."""
    sides = [(c.left, c.right) for c in data]
    steps = np.array([[np.concatenate([side.obs, side.acts], axis=1) for side in pair] for pair in sides])
    x = torch.as_tensor(steps, dtype=torch.float32)  # (comparisons, 2, T, features)
    mu = torch.tensor([c.preference for c in data])
    weights = torch.from_numpy(draws(data, fit))
    nets = [_net() for _ in range(MEMBERS)]
    optimizers = [torch.optim.Adam(net.parameters(), lr=fit.lr, weight_decay=fit.l2, fused=True) for net in nets]
    began = time.perf_counter()
    for _ in range(passes):
        for net, optimizer, weight in zip(nets, optimizers, weights, strict=True):
            drawn = weight.nonzero().squeeze(1)
            for rows in drawn[torch.randperm(len(drawn))].split(fit.batch):
                left, right = net(x[rows]).sum((2, 3)).unbind(1)
                optimizer.zero_grad()
                (weight[rows] * bradley_terry(left, right, mu[rows])).mean().backward()
                optimizer.step()
    return time.perf_counter() - began


def _net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(OBS + ACTS, 64), nn.LeakyReLU(), nn.Linear(64, 64), nn.LeakyReLU(), nn.Linear(64, 1))


def draws(data: list[Comparison], fit: Fit) -> Array:
    return bootstrap([c.query for c in data], MEMBERS, fit.seed)


def speeds(n: int, length: int, passes: int, repeats: int) -> tuple[list[float], list[float]]:
    """Pairs per second, each for all members, of `Fit` and of the plain loop, in turn."""
    data, fit = comparisons(n, length), Fit()
    pairs = passes * int((draws(data, fit) > 0).sum()) / MEMBERS
    ours(data, fit, 1), plain(data, fit, 1)  # the first calls load what later ones find loaded
    seconds = [(ours(data, fit, passes), plain(data, fit, passes)) for _ in range(repeats)]
    return [pairs / s for s, _ in seconds], [pairs / s for _, s in seconds]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--comparisons", type=int, default=700)
    parser.add_argument("--passes", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=7)
    given = parser.parse_args()
    rows, numbers = [], {}
    for length in (30, 50):
        with workers(1) as pool:
            measured = pool.submit(speeds, given.comparisons, length, given.passes, given.repeats)
            fitted, looped = measured.result()
        numbers[f"{length} steps"] = {"fit": fitted, "plain": looped}
        rows += [
            Row(f"Fit, {length}-step segments, pairs/s", fitted, format=",.0f"),
            Row(f"plain loop, {length}-step segments, pairs/s", looped, format=",.0f"),
            Row(f"Fit / plain loop, {length}-step segments", ratios(fitted, looped), "at least 0.9"),
        ]
    title = (
        f"# Speed of fitting\n\n{given.comparisons} comparisons, {MEMBERS} members, {given.passes} passes; a pair "
        "counts when all members have seen one.\n\n"
    )
    publish(given.out, "fitting", title + table(rows), numbers)


if __name__ == "__main__":
    main()

"""The reward of frames: how fast it is fitted and asked over a plain PyTorch loop, and how well it learns.

Segments of Pong under random play, compared by the score that they show nobody: about half of the pairs are ties. All
fit the same networks, drawn by the same bootstrap, on one torch thread; a pair counts when all members have seen one.
`Fit` makes its tensors from frames kept once, and tells its losses afterwards, as in a run; the plain loop's stacks are
written out beforehand. Learning is compared at one batch size, one rate and one, fixed, L2 coefficient, with the
paper's dropout too.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from statistics import mean
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from experiments.benchmarks.measure import Row, arguments, markdown, publish, ratios, table, workers
from experiments.benchmarks.plain_predictor import BATCH, Plain
from prefrl.control import policy
from prefrl.control.rollout import Cutter
from prefrl.oracles import Synthetic
from prefrl.reward import networks
from prefrl.reward.ensemble import Ensemble
from prefrl.reward.fit import Fit, Frames, bootstrap
from prefrl.reward.loss import bradley_terry
from prefrl.types import Array, Comparison, Segment

ENV, ACTIONS, LENGTH, N_ENVS = "prefrl/Pong-v0", 6, 25, 16
FRAMES = (4, 84, 84)
MEMBERS = 3
ROLLOUT = (N_ENVS, 5)
"""Environments and steps that A2C asks the rewards of at once."""
POOL = 160
"""Segments to choose pairs from, at least: the first ones of a game score nothing, and are all alike."""
PRECISIONS = {"bfloat16": True, "float32": False}
DROPOUT = "bfloat16 with dropout"
Speeds = dict[str, list[float]]


def segments(n: int, seed: int) -> list[Segment]:
    """Of random play, with what the score paid as their truth."""
    recorder = policy.recorded(ENV, N_ENVS, continuing=True)
    recorder.seed(seed)
    recorder.reset()
    cutter, rng = Cutter(LENGTH, horizon=800, seed=seed), np.random.default_rng(seed)
    found: list[Segment] = []
    while len(found) < n:
        for _ in range(LENGTH):
            recorder.step(rng.integers(ACTIONS, size=N_ENVS))
        found += cutter(recorder.take(), recorder.steps)
    recorder.close()
    return [found[i] for i in rng.permutation(len(found))[:n]]


def comparisons(n: int, seed: int, ties: bool = True) -> list[Comparison]:
    """Of random pairs, with the ties among them or without."""
    pool, rng, judge = segments(max(n, POOL), seed), np.random.default_rng(seed), Synthetic()
    found: list[Comparison] = []
    while len(found) < n:
        left, right = (pool[i] for i in rng.choice(len(pool), 2, replace=False))
        if (mu := judge(left, right)) != 0.5 or ties:
            found.append(Comparison(left.blind(), right.blind(), mu, query=len(found) + 1))
    return found


def stacks(data: Sequence[Comparison]) -> Array:
    """Bytes (comparisons, 2, T, 4, 84, 84)."""
    return np.stack([[c.left.obs, c.right.obs] for c in data])


def ensemble(dropout: bool = False) -> Ensemble:
    return Ensemble(FRAMES, (), partial(networks.CNN, dropout=dropout), MEMBERS, choices=ACTIONS)


def draws(data: Sequence[Comparison], seed: int) -> Array:
    return bootstrap([c.query for c in data], MEMBERS, seed)


def fitted(data: Sequence[Comparison], fit: Fit, passes: int, dropout: bool = False) -> Ensemble:
    nets = ensemble(dropout)
    fit(nets, fit.optimizer(nets), data, passes, np.random.default_rng(fit.seed))
    return nets


def clock(act: Callable[[], object]) -> float:
    """Seconds."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def multiplying(bfloat16: bool) -> Any:
    """The networks' arithmetic, whatever the hardware does best."""
    return patch.object(networks, "multiplies_bfloat16", lambda device: bfloat16)


def speeds(n: int, repeats: int, asked: int) -> dict[str, Speeds]:
    """Pairs fitted per second, and microseconds of a step that is paid, in turn."""
    data, fit = comparisons(n, seed=0), Frames()
    frames, mu, drawn = stacks(data), np.array([c.preference for c in data]), draws(data, fit.seed)
    pairs = int((drawn > 0).sum()) / MEMBERS
    ours, plain = ensemble(), Plain(MEMBERS, fit.lr, fit.l2)
    ours.version = 1
    obs = np.stack([c.left.obs for c in data])[np.arange(N_ENVS) % n, : ROLLOUT[1]]
    acts = np.zeros(ROLLOUT, dtype=np.int64)
    fitting, paying = dict[str, list[float]](), dict[str, list[float]]()
    for repeat in range(repeats + 1):
        found, paid = {}, {}
        for name, bfloat16 in PRECISIONS.items():
            with multiplying(bfloat16):
                found[name] = pairs / clock(lambda: fitted(data, fit, 1))
                paid[name] = clock(lambda: [ours.pay(obs, acts) for _ in range(asked)])
        found["plain"] = pairs / clock(lambda: plain.fit(frames, mu, drawn, 1))
        paid["plain"] = clock(lambda: [plain.pay(obs) for _ in range(asked)])
        for name in found if repeat else ():  # the first calls load what later ones find loaded
            fitting.setdefault(name, []).append(found[name])
            paying.setdefault(name, []).append(1e6 * paid[name] / (asked * acts.size))
    return {"fitting": fitting, "paying": paying}


def learned(n: int, passes: int, unseen: int, seed: int) -> dict[str, list[float]]:
    """Mean loss of a member on `unseen` comparisons, no ties, in nats, and how often all together are right."""
    data, test = comparisons(n, 2 * seed + 1), comparisons(unseen, 2 * seed + 2, ties=False)
    fit = replace(Frames(), l2_step=0.0, seed=seed)
    found = {}
    for name, bfloat16 in {**PRECISIONS, DROPOUT: True}.items():
        torch.manual_seed(seed)
        with multiplying(bfloat16):
            nets = fitted(data, fit, passes, name == DROPOUT)
            sides = [nets.returns([getattr(c, side) for c in test]) for side in ("left", "right")]
        found[name] = _quality(np.stack(sides, axis=2), test)
    torch.manual_seed(seed)
    plain = Plain(MEMBERS, fit.lr, fit.l2)
    mu = np.array([c.preference for c in data])
    plain.fit(stacks(data), mu, draws(data, fit.seed), passes, fit.batch)
    return found | {"plain": _quality(plain.returns(stacks(test)), test)}


def _quality(returns: Array, test: Sequence[Comparison]) -> list[float]:
    """`returns` (members, comparisons, 2)."""
    left, right = torch.as_tensor(returns).unbind(2)
    mu = torch.tensor([c.preference for c in test])
    said = (left - right).mean(0) > 0
    return [float(bradley_terry(left, right, mu).mean()), float((said == (mu > 0.5)).float().mean())]


def speed_rows(found: dict[str, Speeds]) -> list[Row]:
    fitting, paying = found["fitting"], found["paying"]
    rows = [Row(f"fitting, {_label(name)}, pairs/s", values, format=".1f") for name, values in fitting.items()]
    rows += [Row(f"fitting, {name} / plain loop", ratios(fitting[name], fitting["plain"])) for name in PRECISIONS]
    rows += [Row(f"paying, {_label(name)}, µs a step", values, format=".0f") for name, values in paying.items()]
    rows += [Row(f"paying, plain loop / {name}", ratios(paying["plain"], paying[name])) for name in PRECISIONS]
    return rows


def _label(name: str) -> str:
    return "plain loop" if name == "plain" else f"ours in {name}"


def losses(found: Sequence[dict[str, list[float]]]) -> str:
    seeds = range(len(found))
    head = ["", "held-out loss, mean", *(f"seed {i}" for i in seeds), "right, mean", *(f"seed {i}" for i in seeds)]
    lines = []
    for name in found[0]:
        loss, right = ([each[name][i] for each in found] for i in (0, 1))
        cells = [f"{value:.4f}" for value in (mean(loss), *loss)] + [f"{value:.1%}" for value in (mean(right), *right)]
        lines.append([_label(name), *cells])
    return markdown(head, lines)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--comparisons", type=int, default=300, help="as many as a run fits to between two looks")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--asked", type=int, default=20, help="rollouts that are paid in a repeat")
    parser.add_argument("--seeds", type=int, default=3, help="of what is learned")
    parser.add_argument("--passes", type=int, default=10, help="over the comparisons, in what is learned")
    parser.add_argument("--unseen", type=int, default=300, help="comparisons that tell what was learned")
    given = parser.parse_args()
    with workers(1) as pool:
        speed = pool.submit(speeds, given.comparisons, given.repeats, given.asked).result()
    with workers(1) as pool:
        runs = [
            pool.submit(learned, given.comparisons, given.passes, given.unseen, seed) for seed in range(given.seeds)
        ]
        quality = [run.result() for run in runs]
    usual = networks.multiplies_bfloat16("cpu")
    text = (
        f"# Speed of the reward of frames\n\n{ENV}, {given.comparisons} comparisons of {LENGTH}-step segments, "
        f"{MEMBERS} members; batches of {Frames().batch} in ours, of {BATCH} in the plain loop. This processor "
        f"{'multiplies' if usual else 'does not multiply'} bfloat16, so a run takes "
        f"{'bfloat16' if usual else 'float32'}. Paid at once: {ROLLOUT[0]} environments, {ROLLOUT[1]} steps of each."
        f"\n\n{table(speed_rows(speed))}\n\nLearned after {given.passes} passes in batches of {Frames().batch}; "
        f"{given.unseen} other comparisons without ties tell:\n\n{losses(quality)}"
    )
    publish(given.out, "predictor", text, {"speeds": speed, "learned": quality})


if __name__ == "__main__":
    main()

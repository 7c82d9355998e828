"""Figures of what runs logged: learning curves, and the health of what was learned as reward."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, product
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FixedLocator, NullLocator, StrMethodFormatter

from prefrl.reward.loss import LAPSE
from prefrl.runs import RunConfig
from prefrl.types import Array

WINDOW = 100
"""Answers over which accuracy is averaged: a share of .8 is then known to .04, where a turn has only a few."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Told apart by the colour-blind: Okabe and Ito's, without the yellow that is lost on white."""
BLUE, ORANGE = COLOURS[:2]
GREY = "#777777"
DASHES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class Run:
    """A run, finished or not, with at least one line of metrics."""

    path: Path
    config: RunConfig
    summary: dict[str, Any] | None
    metrics: list[dict[str, Any]]

    def series(self, *metrics: str) -> Array:
        """Steps, then the values of each metric, where all were logged: (1 + metrics, lines)."""
        columns = ("time/total_timesteps", *metrics)
        rows = [[line[name] for name in columns] for line in self.metrics if line.keys() >= {*columns}]
        return np.array(rows, dtype=float).reshape(-1, len(columns)).T

    def last(self, metric: str) -> float | None:
        return next((line[metric] for line in reversed(self.metrics) if metric in line), None)


Groups = dict[str, list[Run]]


def curves(groups: Groups) -> Figure:
    """The true return over steps: a line per run, a colour per group."""
    figure, axes = _figure(6, 3.6 + 0.18 * len(groups))
    for (dashes, colour), (name, runs) in zip(cycle(product(DASHES, COLOURS)), groups.items()):
        label = name.replace("$", r"\$")  # Matplotlib would read it as a formula
        _lines(axes, runs, "rollout/ep_rew_mean", label, colour, dashes)
    every = [run for runs in groups.values() for run in runs]
    if all(run.last("rollout/ep_rew_mean") is None for run in every):
        axes.text(0.5, 0.5, "no episode has ended yet", transform=axes.transAxes, ha="center", color=GREY)
    axes.set_ylabel("true return of episodes")
    _over_steps(axes, every)
    _legend(figure, axes, columns=1)
    return figure


@dataclass(frozen=True)
class Panel:
    """A figure of one group of runs."""

    title: str
    metric: str
    """Without it there is nothing to draw."""
    fill: Callable[[Axes, Sequence[Run]], None]
    about: str
    """What is drawn, and what a healthy one looks like."""

    def draw(self, runs: Sequence[Run]) -> Figure:
        figure, axes = _figure(4, 2.9)
        self.fill(axes, runs)
        if not axes.get_xlabel():
            _over_steps(axes, runs)
        _legend(figure, axes, columns=2)
        return figure


def _accuracy(axes: Axes, runs: Sequence[Run]) -> None:
    _fresh(axes, runs, "reward/prequential_accuracy")
    _reference(axes, 0.5, "guessing")
    axes.set_ylim(-0.03, 1.03)
    axes.set_ylabel("share right")


def _ties(axes: Axes, runs: Sequence[Run]) -> None:
    _fresh(axes, runs, "reward/prequential_tie_distance")
    axes.set_ylim(-0.01, 0.51)
    axes.set_ylabel("distance from ½")


def _losses(axes: Axes, runs: Sequence[Run]) -> None:
    _lines(axes, runs, "reward/train_loss", "training")
    _lines(axes, runs, "reward/validation_loss", "validation", ORANGE)
    _reference(axes, math.log(2), "a guess: ln 2")
    floor = -math.log(1 - LAPSE / 2)
    _reference(axes, floor, f"the floor: {floor:.4f}", ":")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("loss")


def _ratio(axes: Axes, runs: Sequence[Run]) -> None:
    axes.axhspan(1.1, 1.5, color=GREY, alpha=0.3, linewidth=0, label="1.1 to 1.5")
    _lines(axes, runs, "reward/loss_ratio")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(FixedLocator([0.5, 1, 1.5, 2, 3, 5, 10, 20, 50]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, 0.95), max(high, 2))
    axes.set_ylabel("validation / training")


def _l2(axes: Axes, runs: Sequence[Run]) -> None:
    _lines(axes, runs, "reward/l2")
    axes.set_yscale("log")
    low, high = np.log10(axes.get_ylim())
    axes.set_ylim(10 ** math.floor(low), 10 ** math.ceil(high))  # whole decades, or ticks crowd
    axes.set_ylabel("coefficient")


def _spread(axes: Axes, runs: Sequence[Run]) -> None:
    _lines(axes, runs, "reward/spread")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("std over the nets")


def _distribution(axes: Axes, runs: Sequence[Run]) -> None:
    for run in runs:
        steps, low, high = run.series("reward/q05", "reward/q95")
        axes.fill_between(steps, low, high, color=BLUE, alpha=0.25 / len(runs), linewidth=0, label="5 to 95 %")
    _lines(axes, runs, "reward/q50", "median")
    _lines(axes, runs, "reward/std", "std", ORANGE)
    axes.set_ylabel("r̂ per step")


def _calibration(axes: Axes, runs: Sequence[Run]) -> None:
    most = 1 - LAPSE / 2
    axes.plot([0.5, 1], [0.5, 1], color=GREY, linewidth=1, linestyle="--", label="as sure as right")
    fits = [next(line for line in reversed(run.metrics) if "reward/calibration_error" in line) for run in runs]
    error = np.mean([fit["reward/calibration_error"] for fit in fits])
    for fit in fits:
        bins = {name: share for name, share in fit.items() if name.startswith("reward/right_at_")}
        low, high = np.array([re.findall(r"\d\.\d", name) for name in bins], dtype=float).T
        label = f"held-out answers (error {error:.3f})"
        axes.hlines([*bins.values()], low, high.clip(max=most), color=BLUE, linewidth=3, alpha=0.9, label=label)
    axes.set_xlim(0.5, 1)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel("confidence")
    axes.set_ylabel("share right")


def _pearson(axes: Axes, runs: Sequence[Run]) -> None:
    _lines(axes, runs, "reward/pearson")
    low, _ = axes.get_ylim()
    axes.set_ylim(min(low, 0), 1)
    axes.set_ylabel("correlation")


def _labels(axes: Axes, runs: Sequence[Run]) -> None:
    for run in runs:
        steps, learned, skipped = run.series("labels/learned", "labels/skipped")
        asked = learned + np.cumsum(skipped)
        axes.plot(steps, asked, color=ORANGE, linewidth=3, alpha=0.6, label="asked")
        _line(axes, steps, learned, "learned from")
    _reference(axes, runs[0].config.labels, "budget")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("questions")


PANELS = (
    Panel(
        "Accuracy on new answers",
        "reward/prequential_accuracy",
        _accuracy,
        "Share of answers that the reward got right before it learned from them; equal pairs apart. Healthy: well "
        "above one half, and not falling. A strategy that asks what the nets disagree on keeps it below what random "
        "pairs would give.",
    ),
    Panel(
        "Equal pairs",
        "reward/prequential_tie_distance",
        _ties,
        "How far from ½ the reward's chance was for pairs then answered as equal. Healthy: small, and falling.",
    ),
    Panel(
        "Loss",
        "reward/train_loss",
        _losses,
        "Of each net on the answers it learns from, and on those held out from it. Healthy: validation below a guess "
        "and falling, training above the floor.",
    ),
    Panel(
        "Ratio of the losses",
        "reward/loss_ratio",
        _ratio,
        "Healthy: in the band, or on its way there. Far above it, the nets learn answers by heart: fewer passes or "
        "more labels help; below it, they learn too little.",
    ),
    Panel(
        "L2 coefficient",
        "reward/l2",
        _l2,
        "Raised while the ratio is above its band, lowered while it is below. Healthy: settles; flat at its upper "
        "bound, it is not enough to bring the ratio down.",
    ),
    Panel(
        "Spread of the ensemble",
        "reward/spread",
        _spread,
        "How much the nets differ on a step. Healthy: falls as answers come in, and rises for a while where the policy "
        "finds something new; near zero from the start, disagreement says nothing.",
    ),
    Panel(
        "Distribution of r̂",
        "reward/q50",
        _distribution,
        "What the policy's recent steps are paid. Healthy: band and std keep their width; where they shrink, the nets "
        "contradict each other or the policy's steps look all the same.",
    ),
    Panel(
        "Calibration of the last fit",
        "reward/calibration_error",
        _calibration,
        "Of answers held out, the share told right against how sure the reward was. Healthy: bars on the diagonal, "
        "expected calibration error below 0.1; bars below the diagonal mean too sure. Bins of few answers jump.",
    ),
    Panel(
        "Pearson: for experiments only",
        "reward/pearson",
        _pearson,
        "Of learned with true reward, over the policy's recent steps; nothing learns from it. Healthy: above .5, and "
        "not falling as the policy moves to new behaviour.",
    ),
    Panel(
        "Answers",
        "labels/learned",
        _labels,
        "Healthy: what was learned from keeps up with what was asked, and reaches the budget by the end; the gap is "
        "what could not be told.",
    ),
)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure((width, height), dpi=160, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=GREY, alpha=0.2, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9)
    return figure, axes


def _lines(
    axes: Axes, runs: Sequence[Run], metric: str, label: str = "", colour: str = BLUE, dashes: str = "-"
) -> None:
    for run in runs:
        steps, values = run.series(metric)
        _line(axes, steps, values, label, colour, dashes)


def _line(axes: Axes, steps: Array, values: Array, label: str, colour: str = BLUE, dashes: str = "-") -> None:
    marker = "." if len(values) == 1 else ""  # the first turn of a run is no line yet
    axes.plot(steps, values, marker=marker, linewidth=1.2, alpha=0.9, label=label, color=colour, linestyle=dashes)


def _reference(axes: Axes, value: float, label: str, dashes: str = "--") -> None:
    axes.axhline(value, color=GREY, linewidth=1, linestyle=dashes, label=label)


def _fresh(axes: Axes, runs: Sequence[Run], metric: str) -> None:
    """A dot per turn, and the mean over the last answers, since a turn has only a few."""
    for run in runs:
        steps, values, _ = run.series(metric, "labels/learned")
        mean = running_mean(values, _answers(run, steps), WINDOW)
        axes.plot(steps, values, ".", color=BLUE, markersize=7, markeredgewidth=0, alpha=0.35)
        _line(axes, steps, mean, f"last {WINDOW} answers")


def _answers(run: Run, steps: Array) -> Array:
    """How many new answers the turns at `steps` had; at least 1, as a corrected answer adds none."""
    at, learned = run.series("labels/learned")
    new: Array = np.diff(learned, prepend=0).clip(min=1)
    return new[np.searchsorted(at, steps)]


def running_mean(values: Array, weights: Array, window: float) -> Array:
    """Of each value with those before it, back to a weight of `window` or, if there is less, to the first."""
    weight, total = np.cumsum(weights), np.cumsum(values * weights)
    first = np.searchsorted(weight, weight - window, side="right")
    before = [np.concatenate([[0.0], sums])[first] for sums in (total, weight)]
    mean: Array = (total - before[0]) / (weight - before[1])
    return mean


def _over_steps(axes: Axes, runs: Sequence[Run]) -> None:
    last = max(run.metrics[-1]["time/total_timesteps"] for run in runs)
    axes.set_xlim(0, 1.02 * max(last, 1))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("steps")


def _legend(figure: Figure, axes: Axes, columns: int) -> None:
    """Above the axes, where it hides nothing; lines of one label are one entry."""
    handles, labels = axes.get_legend_handles_labels()
    entries = dict(zip(labels, handles, strict=True))
    if entries:
        figure.legend(
            entries.values(), entries.keys(), loc="outside upper left", ncols=columns, frameon=False, fontsize=9
        )

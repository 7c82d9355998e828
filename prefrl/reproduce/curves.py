"""Figures of a claim: learning curves, and how far each seed came; a panel a task, a colour a condition."""

import math
from collections.abc import Sequence
from itertools import cycle, product
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter

from prefrl.figures import COLOURS, DASHES, GREY
from prefrl.files import whole
from prefrl.reproduce.records import Record
from prefrl.reproduce.statistics import BASELINE, shares
from prefrl.reproduce.tables import conditions, groups
from prefrl.types import Array

DPI = 120
ACROSS = 4
"""Panels side by side, at most."""
*OTHERS, BLACK = COLOURS

Style = tuple[str, str]
"""Colour and dashes."""


def draw(records: Sequence[Record], file: Path, baseline: str | None = BASELINE) -> None:
    """`learning_curves` as a PNG."""
    _save(learning_curves(records, baseline), file)


def bars(records: Sequence[Record], file: Path, baseline: str = BASELINE) -> None:
    """`shares_reached` as a PNG."""
    _save(shares_reached(records, baseline), file)


def learning_curves(records: Sequence[Record], baseline: str | None = BASELINE) -> Figure:
    """The true return over steps: every seed a thin line, their mean a thick one; the baseline black."""
    looks = styles(records, baseline)
    tasks = [*dict.fromkeys(record.task for record in records)]
    figure, panels = _grid(tasks, height=2.6 if len(tasks) > 2 else 3.4)
    for task, axes in panels.items():
        for (_, condition), group in groups([record for record in records if record.task == task]).items():
            _seeds(axes, group, _plain(condition), looks[condition])
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_xlim(left=0)
    _words(figure, "steps", "true return")
    _legend(figure, [_plain(condition) for condition in looks])
    return figure


def _seeds(axes: Axes, group: Sequence[Record], label: str, look: Style) -> None:
    colour, dashes = look
    for record in group:
        axes.plot(*record.curve, color=colour, linestyle=dashes, linewidth=0.7, alpha=0.45)
    axes.plot(*mean_curve(group), color=colour, linestyle=dashes, linewidth=2, label=label, zorder=3)


def mean_curve(group: Sequence[Record]) -> tuple[Array, Array]:
    """Steps, and the mean over seeds at each; only where all seeds have a curve, which may be nowhere."""
    curves = [record.curve for record in group if record.curve[0]]
    if not curves:
        return np.array([]), np.array([])
    first, last = max(steps[0] for steps, _ in curves), min(steps[-1] for steps, _ in curves)
    every = np.unique(np.concatenate([steps for steps, _ in curves]))
    shared = every[(first <= every) & (every <= last)]
    return shared, np.mean([np.interp(shared, steps, returns) for steps, returns in curves], axis=0)


def shares_reached(records: Sequence[Record], baseline: str = BASELINE) -> Figure:
    """How far of the way from untrained to the baseline: a dot a seed, a bar to their mean; tasks with a baseline."""
    looks = styles(records, baseline)
    reached = {condition: shares(records, condition, baseline) for condition in looks}
    tasks = [
        task for task in dict.fromkeys(r.task for r in records) if any(task in found for found in reached.values())
    ]
    figure, panels = _grid(tasks, height=0.9 + 0.3 * len(looks), sharey=True)
    for task, axes in panels.items():
        for place, (condition, look) in enumerate(looks.items()):
            _dots(axes, place, reached[condition].get(task, []), look)
        axes.axvline(1, color=GREY, linewidth=1, linestyle="--")
        axes.axvline(0, color=GREY, linewidth=1)
        axes.set_yticks(range(len(looks)), [_plain(condition) for condition in looks])
        axes.set_ylim(len(looks) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    _words(figure, f"share of the way from untrained to {_plain(baseline)}")
    return figure


def _dots(axes: Axes, place: float, parts: Sequence[float], look: Style) -> None:
    """Seeds beside each other, or equal ones would be one dot."""
    if parts:
        beside = np.linspace(-0.2, 0.2, len(parts) + 2)[1:-1]
        axes.barh(place, np.mean(parts), height=0.7, color=look[0], alpha=0.35)
        axes.plot(parts, place + beside, "o", color=look[0], markersize=4, markeredgewidth=0)


def styles(records: Sequence[Record], baseline: str | None = BASELINE) -> dict[str, Style]:
    """Of every condition, the baseline first."""
    others = [condition for condition in conditions(records) if condition != baseline]
    looks = ((colour, dashes) for dashes, colour in cycle(product(DASHES, OTHERS)))
    first = {name: (BLACK, "-") for name in conditions(records) if name == baseline}
    return first | dict(zip(others, looks, strict=False))


def _grid(tasks: Sequence[str], height: float, sharey: bool = False) -> tuple[Figure, dict[str, Axes]]:
    """A panel of `height` inches for each task; with few of them they are wide."""
    rows = max(1, math.ceil(len(tasks) / ACROSS))
    columns = max(1, math.ceil(len(tasks) / rows))
    width = {1: 6.5, 2: 4.8}.get(columns, 3.4)
    figure = Figure((width * columns, height * rows + 0.6), dpi=DPI, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharey=sharey).ravel()
    for axes, task in zip(panels, tasks, strict=False):
        axes.set_title(_plain(task), fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color=GREY, alpha=0.2, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=8)
    for axes in panels[len(tasks) :]:
        axes.set_visible(False)
    if not tasks:
        figure.text(0.5, 0.5, "nothing to draw yet", ha="center", color=GREY)
    return figure, dict(zip(tasks, panels, strict=False))


def _words(figure: Figure, x: str, y: str = "") -> None:
    """Once for all panels."""
    if any(axes.get_visible() for axes in figure.axes):
        figure.supxlabel(x, fontsize=9)
        figure.supylabel(y, fontsize=9)


def _legend(figure: Figure, labels: Sequence[str]) -> None:
    """Once for all panels, above them, in as many columns as fit."""
    found = [axes.get_legend_handles_labels() for axes in figure.axes]
    lines = {label: line for handles, names in found for line, label in zip(handles, names, strict=True)}
    if lines:
        columns = max(1, int(figure.get_figwidth() / (0.6 + 0.08 * max(map(len, labels)))))
        shown = [lines[label] for label in labels]
        figure.legend(shown, labels, loc="outside upper center", ncols=columns, frameon=False, fontsize=9)


def _plain(words: str) -> str:
    return words.replace("$", r"\$")  # Matplotlib would read it as a formula


def _save(figure: Figure, file: Path) -> None:
    with whole(file) as out:
        figure.savefig(out, format="png", dpi=DPI)

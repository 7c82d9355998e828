"""The curves of over-optimisation: reward and oracle over the distance from SFT."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.summaries_judged import averaged
from prefrl.figures import COLOURS, GREY
from prefrl.files import whole

Record = dict[str, Any]
Points = Sequence[Mapping[str, float]]
PANELS = {"proxy": "learned reward", "oracle": "oracle's quality"}
SCORES = {"mean": "paid the ensemble's mean", "min": "paid its least member"}


def draw(records: Sequence[Record], file: Path) -> None:
    """A row of panels for each score that is paid, a colour for each beta; dashes are best-of-n."""
    figure = Figure((9, 7), dpi=120, layout="constrained")
    panels = figure.subplots(len(SCORES), len(PANELS), sharex=True, sharey="col")
    start = {record["seed"]: record["points"] for record in records if record["method"] == "base"}
    for row, score in zip(panels, SCORES, strict=True):
        for axes, what in zip(row, PANELS, strict=True):
            _curves(axes, records, start, score, what)
            axes.set_title(f"{PANELS[what]}, {SCORES[score]}", fontsize=10)
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(color=GREY, alpha=0.2, linewidth=0.6)
            axes.tick_params(labelsize=8)
    panels[0, 0].legend(frameon=False, fontsize=8)
    figure.supxlabel("sqrt(KL from SFT), KL in nats per summary", fontsize=9)
    with whole(file) as out:
        figure.savefig(out, format="png")


def _curves(axes: Axes, records: Sequence[Record], start: Mapping[int, Points], score: str, what: str) -> None:
    betas = sorted({record["beta"] for record in records if record["method"] == "ppo"})
    for beta, colour in zip(betas, COLOURS):
        runs = [
            [*start[record["seed"]], *record["points"]]
            for record in records
            if record["method"] == "ppo" and (record["beta"], record["score"]) == (beta, score)
        ]
        _lines(axes, runs, what, "episodes", f"beta {beta:g}", colour, "-")
    best = [record["curves"][score] for record in records if record["method"] == "best-of-n"]
    _lines(axes, best, what, "n", "best of n", COLOURS[-1], "--")


def _lines(axes: Axes, runs: Sequence[Points], what: str, unit: str, label: str, colour: str, dashes: str) -> None:
    """Every seed thin, and the mean of points of the same training thick."""
    if not runs:
        return
    for points in runs:
        axes.plot(*_line(points, what), dashes, color=colour, linewidth=0.7, alpha=0.5)
    mean = _line(averaged(runs, unit), what)
    axes.plot(*mean, dashes, color=colour, linewidth=1.8, marker="o", markersize=3, label=label)


def _line(points: Points, what: str) -> tuple[list[float], list[float]]:
    return [max(point["kl"], 0) ** 0.5 for point in points], [point[what] for point in points]

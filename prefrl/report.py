"""What runs came to: learning curves, and the health of what was learned as reward, in one HTML file."""

import base64
import html
import io
import math
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FixedLocator, NullLocator, StrMethodFormatter

from prefrl.reward.loss import LAPSE
from prefrl.runs import RunConfig, RunFolder
from prefrl.types import Array

WINDOW = 100
"""Answers over which accuracy is averaged: a share of .8 is then known to .04, where a turn has only a few."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Told apart by the colour-blind: Okabe and Ito's, without the yellow that is lost on white."""
BLUE, ORANGE = COLOURS[:2]
GREY = "#777777"
DASHES = ("-", "--", ":", "-.")

ALIKE = {"seed", "checkpoint_every", "eval_episodes", "device"}
"""Settings in which runs of one group may differ."""
ASKING = {"labels", "oracle", "select", "schedule", "net", "fit", "members"}
"""Settings that do nothing where the true reward is paid."""


def report(paths: Sequence[Path], out: Path | None = None) -> Path:
    """Writes one self-contained page on runs, finished or not: `report.html` of the first, if not told where."""
    runs = _read(paths)
    out = Path(out) if out else runs[0].path / "report.html"
    if out.exists() and not (out.is_file() and _MARK.encode() in out.read_bytes()[:500]):
        raise ValueError(f"{out} exists and is no report: choose another --out")
    return _write(out, _page(_grouped(runs)).encode())


def learning_curve(paths: Sequence[Path], out: Path) -> Path:
    """Draws the true return of runs, finished or not, as PNG."""
    return _write(Path(out), _png(_curves(_grouped(_read(paths))), transparent=False))


@dataclass(frozen=True)
class _Run:
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

    def facts(self) -> dict[str, Any]:
        """The summary; before there is one, the newest of what it will hold."""
        if self.summary is not None:
            return self.summary
        return {
            "steps": self.last("time/total_timesteps"),
            "labels": self.last("labels/learned"),
            "train_return_mean": self.last("rollout/ep_rew_mean"),
            "pearson": self.last("reward/pearson"),
            "steps_per_second": self.last("time/fps"),
            "wall_seconds": self.last("time/time_elapsed"),
        }


_Groups = dict[str, list[_Run]]


def _read(paths: Sequence[Path]) -> list[_Run]:
    if not paths:
        raise ValueError("name at least one run to report on")
    runs = []
    for path in paths:
        folder = RunFolder.open(path)
        metrics = folder.read_metrics()
        if not metrics:
            raise ValueError(f"{path} has no metrics yet: wait for the run's first turn")
        runs.append(_Run(folder.path, folder.config, folder.summary, metrics))
    return runs


def _grouped(runs: Sequence[_Run]) -> _Groups:
    """Runs that differ by their seed alone, under a name that says what tells them from the others."""
    settings = [_settings(run.config) for run in runs]
    varying = {name for a in settings for b in settings for name in a.keys() & b.keys() if a[name] != b[name]}
    groups: _Groups = {}
    for run, values in zip(runs, settings, strict=True):
        told = [f"{name} {values[name]}" for name in values if name in varying - {"env", "algo", "reward", "labels"}]
        groups.setdefault(", ".join([*_title(run.config), *told]), []).append(run)
    return groups


def _settings(config: RunConfig) -> dict[str, Any]:
    idle = ALIKE | ASKING if config.reward == "true" else ALIKE
    return {name: value for name, value in asdict(config).items() if name not in idle}


def _title(config: RunConfig) -> list[str]:
    paid = "true reward" if config.reward == "true" else f"{config.labels} labels"
    return [config.env.rsplit("/", 1)[-1], config.algo, paid]


# Figures


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure((width, height), dpi=160, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=GREY, alpha=0.2, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9)
    return figure, axes


def _over_steps(axes: Axes, groups: Iterable[Sequence[_Run]]) -> None:
    last = max(run.metrics[-1]["time/total_timesteps"] for runs in groups for run in runs)
    axes.set_xlim(0, 1.02 * max(last, 1))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("steps")


def _legend(figure: Figure, axes: Axes, columns: int) -> None:
    """Above the axes, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside upper left", ncols=columns, frameon=False, fontsize=9)


def _curves(groups: _Groups) -> Figure:
    figure, axes = _figure(6, 3.6 + 0.18 * len(groups))
    for i, (name, runs) in enumerate(groups.items()):
        style: dict[str, Any] = {"color": _colour(i), "linestyle": DASHES[i // len(COLOURS) % len(DASHES)]}
        for j, run in enumerate(runs):
            label = name.replace("$", r"\$") if j == 0 else ""  # Matplotlib would read it as a formula
            _line(axes, *_changes(*run.series("rollout/ep_rew_mean")), label=label, **style)
    if not any(run.last("rollout/ep_rew_mean") is not None for runs in groups.values() for run in runs):
        axes.text(0.5, 0.5, "no episode has ended yet", transform=axes.transAxes, ha="center", color=GREY)
    axes.set_ylabel("true return of episodes")
    _over_steps(axes, groups.values())
    _legend(figure, axes, columns=1)
    return figure


def _changes(steps: Array, values: Array) -> tuple[Array, Array]:
    """Without the values that only repeat the one before, as a mean does until another episode ends."""
    new = np.diff(values, prepend=np.nan) != 0
    return steps[new], values[new]


def _line(axes: Axes, steps: Array, values: Array, **style: Any) -> None:
    marker = "." if len(values) == 1 else ""  # the first turn of a run is no line yet
    axes.plot(steps, values, marker=marker, linewidth=1.2, alpha=0.9, **style)


def _colour(i: int) -> str:
    return COLOURS[i % len(COLOURS)]


def _png(figure: Figure, transparent: bool) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", transparent=transparent, metadata={"Software": None})
    return file.getvalue()


# The reward's health


@dataclass(frozen=True)
class _Panel:
    title: str
    metric: str
    """Without it there is nothing to draw."""
    draw: Callable[[Axes, Sequence[_Run]], None]
    about: str
    """What is drawn, and what a healthy one looks like."""


def _lines(axes: Axes, runs: Sequence[_Run], metric: str, label: str = "", colour: str = BLUE) -> None:
    for i, run in enumerate(runs):
        _line(axes, *run.series(metric), color=colour, label="" if i else label)


def _reference(axes: Axes, value: float, label: str, style: str = "--") -> None:
    axes.axhline(value, color=GREY, linewidth=1, linestyle=style, label=label)


def _fresh(axes: Axes, runs: Sequence[_Run], metric: str) -> None:
    """A dot per turn, and the mean over the last answers, since a turn has only a few."""
    for i, run in enumerate(runs):
        steps, values, _ = run.series(metric, "labels/learned")
        mean = running_mean(values, _answers(run, steps), WINDOW)
        axes.plot(steps, values, ".", color=BLUE, markersize=7, markeredgewidth=0, alpha=0.35)
        _line(axes, steps, mean, color=BLUE, label="" if i else f"last {WINDOW} answers")


def _answers(run: _Run, steps: Array) -> Array:
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


def _accuracy(axes: Axes, runs: Sequence[_Run]) -> None:
    _fresh(axes, runs, "reward/prequential_accuracy")
    _reference(axes, 0.5, "guessing")
    axes.set_ylim(-0.03, 1.03)
    axes.set_ylabel("share right")


def _ties(axes: Axes, runs: Sequence[_Run]) -> None:
    _fresh(axes, runs, "reward/prequential_tie_distance")
    axes.set_ylim(-0.01, 0.51)
    axes.set_ylabel("distance from ½")


def _losses(axes: Axes, runs: Sequence[_Run]) -> None:
    _lines(axes, runs, "reward/train_loss", "training")
    _lines(axes, runs, "reward/validation_loss", "validation", ORANGE)
    _reference(axes, math.log(2), "a guess: ln 2")
    floor = -math.log(1 - LAPSE / 2)
    _reference(axes, floor, f"the floor: {floor:.4f}", ":")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("loss")


def _ratio(axes: Axes, runs: Sequence[_Run]) -> None:
    axes.axhspan(1.1, 1.5, color=GREY, alpha=0.3, linewidth=0, label="1.1 to 1.5")
    _lines(axes, runs, "reward/loss_ratio")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(FixedLocator([0.5, 1, 1.5, 2, 3, 5, 10, 20, 50]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, 0.95), max(high, 2))
    axes.set_ylabel("validation / training")


def _l2(axes: Axes, runs: Sequence[_Run]) -> None:
    _lines(axes, runs, "reward/l2")
    axes.set_yscale("log")
    low, high = np.log10(axes.get_ylim())
    axes.set_ylim(10 ** math.floor(low), 10 ** math.ceil(high))  # whole decades, or ticks crowd
    axes.set_ylabel("coefficient")


def _spread(axes: Axes, runs: Sequence[_Run]) -> None:
    _lines(axes, runs, "reward/spread")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("std over the nets")


def _distribution(axes: Axes, runs: Sequence[_Run]) -> None:
    for i, run in enumerate(runs):
        steps, low, high = run.series("reward/q05", "reward/q95")
        label = "" if i else "5 to 95 %"
        axes.fill_between(steps, low, high, color=BLUE, alpha=0.25 / len(runs), linewidth=0, label=label)
    _lines(axes, runs, "reward/q50", "median")
    _lines(axes, runs, "reward/std", "std", ORANGE)
    axes.set_ylabel("r̂ per step")


def _calibration(axes: Axes, runs: Sequence[_Run]) -> None:
    most = 1 - LAPSE / 2
    axes.plot([0.5, 1], [0.5, 1], color=GREY, linewidth=1, linestyle="--", label="as sure as right")
    errors = [run.last("reward/calibration_error") or 0.0 for run in runs]
    for i, run in enumerate(runs):
        line = next(line for line in reversed(run.metrics) if "reward/calibration_error" in line)
        bins = [(name, share) for name, share in line.items() if name.startswith("reward/right_at_")]
        low, high = np.array([re.findall(r"\d\.\d", name) for name, _ in bins], dtype=float).T
        label = "" if i else f"held-out answers (error {np.mean(errors):.3f})"
        shares = [share for _, share in bins]
        axes.hlines(shares, low, high.clip(max=most), color=BLUE, linewidth=3, alpha=0.9, label=label)
    axes.set_xlim(0.5, 1)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel("confidence")
    axes.set_ylabel("share right")


def _pearson(axes: Axes, runs: Sequence[_Run]) -> None:
    _lines(axes, runs, "reward/pearson")
    axes.set_ylim(top=1)
    low, _ = axes.get_ylim()
    axes.set_ylim(bottom=min(low, 0))
    axes.set_ylabel("correlation")


def _labels(axes: Axes, runs: Sequence[_Run]) -> None:
    for i, run in enumerate(runs):
        steps, learned, skipped = run.series("labels/learned", "labels/skipped")
        asked = learned + np.cumsum(skipped)
        axes.plot(steps, asked, color=ORANGE, linewidth=3, alpha=0.6, label="" if i else "asked")
        _line(axes, steps, learned, color=BLUE, label="" if i else "learned from")
    _reference(axes, runs[0].config.labels, "budget")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("questions")


PANELS = (
    _Panel(
        "Accuracy on new answers",
        "reward/prequential_accuracy",
        _accuracy,
        "Share of answers that the reward got right before it learned from them; equal pairs apart. Healthy: well "
        "above one half, and not falling. A strategy that asks what the nets disagree on keeps it below what random "
        "pairs would give.",
    ),
    _Panel(
        "Equal pairs",
        "reward/prequential_tie_distance",
        _ties,
        "How far from ½ the reward's chance was for pairs then answered as equal. Healthy: small, and falling.",
    ),
    _Panel(
        "Loss",
        "reward/train_loss",
        _losses,
        "Of each net on the answers it learns from, and on those held out from it. Healthy: validation below a guess "
        "and falling, training above the floor.",
    ),
    _Panel(
        "Ratio of the losses",
        "reward/loss_ratio",
        _ratio,
        "Healthy: in the band, or on its way there. Far above it, the nets learn answers by heart: fewer passes or "
        "more labels help; below it, they learn too little.",
    ),
    _Panel(
        "L2 coefficient",
        "reward/l2",
        _l2,
        "Raised while the ratio is above its band, lowered while it is below. Healthy: settles; flat at its upper "
        "bound, it is not enough to bring the ratio down.",
    ),
    _Panel(
        "Spread of the ensemble",
        "reward/spread",
        _spread,
        "How much the nets differ on a step. Healthy: falls as answers come in, and rises for a while where the policy "
        "finds something new; near zero from the start, disagreement says nothing.",
    ),
    _Panel(
        "Distribution of r̂",
        "reward/q50",
        _distribution,
        "What the policy's recent steps are paid. Healthy: band and std keep their width; where they shrink, the nets "
        "contradict each other or the policy's steps look all the same.",
    ),
    _Panel(
        "Calibration of the last fit",
        "reward/calibration_error",
        _calibration,
        "Of answers held out, the share told right against how sure the reward was. Healthy: bars on the diagonal, "
        "expected calibration error below 0.1; bars below the diagonal mean too sure. Bins of few answers jump.",
    ),
    _Panel(
        "Pearson: for experiments only",
        "reward/pearson",
        _pearson,
        "Of learned with true reward, over the policy's recent steps; nothing learns from it. Healthy: above .5, and "
        "not falling as the policy moves to new behaviour.",
    ),
    _Panel(
        "Answers",
        "labels/learned",
        _labels,
        "Healthy: what was learned from keeps up with what was asked, and reaches the budget by the end; the gap is "
        "what could not be told.",
    ),
)


# The page

_MARK = '<meta name="generator" content="prefrl report">'

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --faint: #5c5c5c; --paper: #fff; --rule: #ddd; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --faint: #a0a0a0; --paper: #141414; --rule: #383838; }
  img, .swatch { filter: invert(1) hue-rotate(180deg); }  /* light for dark, each hue kept */
}
body { max-width: 68rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; margin: 0 0 1rem; line-height: 1.25; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; }
h3 { font-size: 1.05rem; margin: 1.5rem 0 .5rem; }
h4 { font-size: .95rem; margin: 0 0 .4rem; }
figure { margin: 0; }
img { width: 100%; height: auto; display: block; }
figcaption, .note { color: var(--faint); font-size: .85rem; line-height: 1.4; margin-top: .4rem; }
.curves { max-width: 46rem; }
.panels { display: grid; gap: 2rem 1.75rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; white-space: nowrap; }
th, td { padding: .3rem .5rem; text-align: right; border-bottom: 1px solid var(--rule); }
th { font-weight: 600; vertical-align: bottom; white-space: normal; overflow-wrap: normal; }
th:nth-child(-n+4), td:nth-child(-n+4) { text-align: left; }
.swatch { display: inline-block; width: .7rem; height: .7rem; border-radius: 50%; margin-right: .5rem; }
"""


def _page(groups: _Groups) -> str:
    title = html.escape("; ".join(groups))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
{_MARK}
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>Learning from preferences</h1>
{_table(groups)}
<h2>Learning curves</h2>
<figure class="curves">
{_image(_curves(groups), "Learning curves")}
<figcaption>True return, which a policy paid a learned reward never sees: the mean of the last 100 episodes, so it lags
behind the policy. One line per run; runs that differ by seed alone share a colour. Healthy: rises, and flattens late;
against the true reward, it shows what learning the reward costs.</figcaption>
</figure>
{_health({name: runs for name, runs in groups.items() if runs[0].config.reward != "true"})}
</body>
</html>
"""


def _table(groups: _Groups) -> str:
    heads = (
        "run", "env", "algo", "reward", "labels", "seed", "steps", "train return", "eval return", "Pearson", "steps/s",
        "minutes", "reward's time",
    )  # fmt: skip
    rows = [_row(run, _colour(i)) for i, runs in enumerate(groups.values()) for run in runs]
    unfinished = any(run.summary is None for runs in groups.values() for run in runs)
    return f"""<div class="wide"><table>
<thead><tr>{"".join(f"<th>{head}</th>" for head in heads)}</tr></thead>
<tbody>
{"".join(rows)}</tbody>
</table></div>
<p class="note">Returns are true ones. Train return: episodes of the last 10 % of steps. Eval return: mean ± standard
deviation over episodes of the final policy. Pearson: learned with true reward, per step of those episodes. Reward's
time: the share spent on queries, answers and fits.{_UNFINISHED if unfinished else ""}</p>"""


_UNFINISHED = " Of runs that have not finished, the newest logged values: train return is the mean of 100 episodes."


def _row(run: _Run, colour: str) -> str:
    config, facts = run.config, run.facts()
    learned = config.reward != "true"
    deviation = facts.get("eval_return_std")
    wall, on_reward = facts.get("wall_seconds"), facts.get("reward_seconds")
    cells = (
        (run.path.resolve().name or "run") + ("" if run.summary is not None else " (not finished)"),
        config.env,
        config.algo,
        config.reward,
        _number(facts.get("labels")) if learned else "–",
        str(config.seed),
        _number(facts.get("steps")),
        _number(facts.get("train_return_mean")),
        _number(facts.get("eval_return_mean")) + ("" if deviation is None else f" ± {_number(deviation)}"),
        "–" if facts.get("pearson") is None else f"{facts['pearson']:.2f}",
        _number(facts.get("steps_per_second")),
        "–" if wall is None else f"{wall / 60:.1f}",
        f"{100 * on_reward / wall:.0f} %" if learned and wall and on_reward is not None else "–",
    )
    first, *others = (html.escape(cell) for cell in cells)
    swatch = f'<span class="swatch" style="background: {colour}"></span>'
    return f"<tr><td>{swatch}{first}</td>{''.join(f'<td>{cell}</td>' for cell in others)}</tr>\n"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 or float(value).is_integer() else f"{value:.3g}"


def _health(groups: _Groups) -> str:
    if not groups:
        return ""
    return "\n".join(["<h2>The reward's health</h2>", *(_section(name, runs) for name, runs in groups.items())])


def _section(name: str, runs: Sequence[_Run]) -> str:
    drawn, missing = [], []
    for panel in PANELS:
        having = [run for run in runs if run.last(panel.metric) is not None]
        if having:
            drawn.append(_small(panel, having))
        else:
            missing.append(panel.title)
    seeds = ", ".join(str(run.config.seed) for run in runs)
    note = f'<p class="note">Nothing logged for: {html.escape("; ".join(missing))}.</p>\n' if missing else ""
    return f"""<section>
<h3>{html.escape(name)} (seed{"s" if len(runs) > 1 else ""} {seeds})</h3>
<div class="panels">
{"".join(drawn)}</div>
{note}</section>"""


def _small(panel: _Panel, runs: Sequence[_Run]) -> str:
    figure, axes = _figure(4, 2.9)
    panel.draw(axes, runs)
    if not axes.get_xlabel():
        _over_steps(axes, [runs])
    _legend(figure, axes, columns=2)
    return f"""<figure>
<h4>{html.escape(panel.title)}</h4>
{_image(figure, panel.title)}
<figcaption>{html.escape(panel.about)}</figcaption>
</figure>
"""


def _image(figure: Figure, alt: str) -> str:
    data = base64.b64encode(_png(figure, transparent=True)).decode()
    return f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{data}">'


def _write(out: Path, content: bytes) -> Path:
    """Whole or not at all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    half = out.with_name(f".{out.name}.half")
    half.write_bytes(content)
    os.replace(half, out)
    return out

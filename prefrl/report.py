"""What runs came to, in one HTML file: a table, learning curves, and the health of what was learned as reward."""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import asdict
from itertools import cycle
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from prefrl.figures import COLOURS, PANELS, Groups, Run, curves
from prefrl.files import whole
from prefrl.runs import RunConfig, RunFolder

ALIKE = {"seed", "checkpoint_every", "eval_episodes", "device", "store"}
"""Settings in which runs of one group may differ."""
ASKING = {"labels", "oracle", "select", "schedule", "net", "fit", "members"}
"""Settings that do nothing where the true reward is paid."""


def report(paths: Sequence[Path], out: Path | None = None) -> Path:
    """Writes one self-contained page on runs, finished or not: `report.html` of the first, if not told where.

    Raises ValueError for what is no run or has no metrics yet, and if `out` exists and is no report.
    """
    runs = _read(paths)
    out = Path(out) if out else runs[0].path / "report.html"
    if out.exists() and not (out.is_file() and _MARK.encode() in out.read_bytes()[:500]):
        raise ValueError(f"{out} exists and is no report: choose another --out")
    return _write(out, _page(_grouped(runs)).encode())


def learning_curve(paths: Sequence[Path], out: Path) -> Path:
    """Draws the true return of runs, finished or not, as PNG."""
    return _write(Path(out), _png(curves(_grouped(_read(paths))), transparent=False))


def _read(paths: Sequence[Path]) -> list[Run]:
    if not paths:
        raise ValueError("name at least one run to report on")
    runs = []
    for path in paths:
        folder = RunFolder.open(path)
        metrics = folder.read_metrics()
        if not metrics:
            raise ValueError(f"{path} has no metrics yet: wait for the run's first turn")
        runs.append(Run(folder.path, folder.config, folder.summary, metrics))
    return runs


def _grouped(runs: Sequence[Run]) -> Groups:
    """Runs that differ by their seed alone, under a name that says what tells them from the others."""
    settings = [_settings(run.config) for run in runs]
    varying = {name for a in settings for b in settings for name in a.keys() & b.keys() if a[name] != b[name]}
    groups: Groups = {}
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


def _page(groups: Groups) -> str:
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
{_image(curves(groups), "Learning curves")}
<figcaption>True return, which a policy paid a learned reward never sees: the mean of the last 100 episodes, so it lags
behind the policy. One line per run; runs that differ by seed alone share a colour. Healthy: rises, and flattens late;
against the true reward, it shows what learning the reward costs.</figcaption>
</figure>
{_health({name: runs for name, runs in groups.items() if runs[0].config.reward != "true"})}
</body>
</html>
"""


def _table(groups: Groups) -> str:
    heads = (
        "run", "env", "algo", "reward", "labels", "seed", "steps", "train return", "eval return", "Pearson", "steps/s",
        "minutes", "reward's time",
    )  # fmt: skip
    rows = [_row(run, colour) for colour, runs in zip(cycle(COLOURS), groups.values()) for run in runs]
    unfinished = any(run.summary is None for runs in groups.values() for run in runs)
    newest = " Of runs that have not finished, the newest logged values: train return is the mean of 100 episodes."
    return f"""<div class="wide"><table>
<thead><tr>{"".join(f"<th>{head}</th>" for head in heads)}</tr></thead>
<tbody>
{"".join(rows)}</tbody>
</table></div>
<p class="note">Returns are true ones. Train return: episodes of the last 10 % of steps. Eval return: mean ± standard
deviation over episodes of the final policy. Pearson: learned with true reward, per step of those episodes. Reward's
time: the share spent on queries, answers and fits.{newest if unfinished else ""}</p>"""


def _row(run: Run, colour: str) -> str:
    config, facts = run.config, _facts(run)
    learned = config.reward != "true"
    deviation = facts.get("eval_return_std")
    wall, on_reward = facts.get("wall_seconds"), facts.get("reward_seconds")
    cells = (
        run.path.resolve().name + ("" if run.summary is not None else " (not finished)"),
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


def _facts(run: Run) -> dict[str, Any]:
    """The summary; before there is one, the newest of what it will hold."""
    if run.summary is not None:
        return run.summary
    return {
        "steps": run.last("time/total_timesteps"),
        "labels": run.last("labels/learned"),
        "train_return_mean": run.last("rollout/ep_rew_mean"),
        "pearson": run.last("reward/pearson"),
        "steps_per_second": run.last("time/fps"),
        "wall_seconds": run.last("time/time_elapsed"),
    }


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 or float(value).is_integer() else f"{value:.3g}"


def _health(groups: Groups) -> str:
    if not groups:
        return ""
    return "\n".join(["<h2>The reward's health</h2>", *(_section(name, runs) for name, runs in groups.items())])


def _section(name: str, runs: Sequence[Run]) -> str:
    drawn, missing = [], []
    for panel in PANELS:
        having = [run for run in runs if run.last(panel.metric) is not None]
        if having:
            drawn.append(f"""<figure>
<h4>{html.escape(panel.title)}</h4>
{_image(panel.draw(having), panel.title)}
<figcaption>{html.escape(panel.about)}</figcaption>
</figure>
""")
        else:
            missing.append(panel.title)
    seeds = ", ".join(str(run.config.seed) for run in runs)
    note = f'<p class="note">Nothing logged for: {html.escape("; ".join(missing))}.</p>\n' if missing else ""
    return f"""<section>
<h3>{html.escape(name)} (seed{"s" if len(runs) > 1 else ""} {seeds})</h3>
<div class="panels">
{"".join(drawn)}</div>
{note}</section>"""


def _image(figure: Figure, alt: str) -> str:
    data = base64.b64encode(_png(figure, transparent=True)).decode()
    return f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{data}">'


def _png(figure: Figure, transparent: bool) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", transparent=transparent)
    return file.getvalue()


def _write(out: Path, content: bytes) -> Path:
    out.parent.mkdir(parents=True, exist_ok=True)
    with whole(out) as file:
        file.write(content)
    return out

"""Runs of one claim: made side by side, gone on with after a cut, gathered into tables and curves."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from prefrl.runs import RunFolder


@dataclass(frozen=True)
class Run:
    """One row of a claim: a task, what pays the policy (a number of labels, or "true"), and a seed."""

    task: str
    paid: int | str
    seed: int
    settings: tuple[tuple[str, Any], ...] = field(default=())

    @property
    def name(self) -> str:
        extra = "".join(f"-{value}" for _, value in self.settings)
        return re.sub(r"[^\w.=-]+", "_", f"{self.task}-{self.paid}{extra}-{self.seed}")

    def flags(self) -> list[str]:
        """Of `prefrl train`."""
        flags = ["--env", f"prefrl/{self.task}-v0", "--seed", str(self.seed)]
        flags += ["--reward", "true"] if self.paid == "true" else ["--labels", str(self.paid)]
        for name, value in self.settings:
            flags += [f"--{name.replace('_', '-')}", str(value)]
        return flags


def make(runs: Sequence[Run], folder: Path, jobs: int) -> None:
    """Trains what is not there yet in `folder`, `jobs` at a time, and goes on with what was cut off."""
    with ThreadPoolExecutor(jobs) as pool:
        for run, trouble in zip(runs, pool.map(lambda run: _make(run, folder), runs), strict=True):
            if trouble:
                print(f"{run.name} failed: {trouble}", file=sys.stderr)


def _make(run: Run, folder: Path) -> str:
    out = folder / run.name
    if (out / "summary.json").exists():
        return ""
    words = ["resume", str(out)] if (out / "config.yaml").exists() else ["train", *run.flags(), "--out", str(out)]
    done = subprocess.run([sys.executable, "-m", "prefrl.cli", *words], capture_output=True, text=True, check=False)
    print(f"{run.name}: {done.stdout.splitlines()[0] if done.returncode == 0 else 'failed'}", flush=True)
    return "" if done.returncode == 0 else done.stderr.strip()


def gather(runs: Iterable[Run], folder: Path) -> list[dict[str, Any]]:
    """A row for each finished run."""
    rows = []
    for run in runs:
        summary = RunFolder(folder / run.name).summary
        if summary:
            rows.append(
                {
                    "task": run.task,
                    "algo": summary["algo"],
                    "labels": run.paid,
                    "seed": run.seed,
                    "steps": summary["steps"],
                    "return": summary["train_return_mean"],
                    "untrained_return": summary["untrained_return"],
                    "eval_return": summary["eval_return_mean"],
                    "pearson": summary["pearson"],
                    "minutes": summary["wall_seconds"] / 60,
                    "reward_minutes": summary["reward_seconds"] / 60,
                }
            )
    return rows


def write_csv(rows: Sequence[dict[str, Any]], file: Path) -> None:
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()} for row in rows)


def curve(folder: Path) -> tuple[list[float], list[float]]:
    """Steps, and the true return of the last 100 episodes at each."""
    lines = [line for line in RunFolder(folder).read_metrics() if "rollout/ep_rew_mean" in line]
    return [line["time/total_timesteps"] for line in lines], [line["rollout/ep_rew_mean"] for line in lines]


def plot(runs: Sequence[Run], folder: Path, file: Path) -> None:
    """Learning curves, a panel for each task, every seed shown, means drawn thicker."""
    tasks = list(dict.fromkeys(run.task for run in runs))
    figure = Figure(figsize=(5 * len(tasks), 3.6), layout="constrained")
    for axes, task in zip(np.ravel(figure.subplots(1, len(tasks))), tasks, strict=True):
        for paid, colour in zip(dict.fromkeys(run.paid for run in runs if run.task == task), COLOURS, strict=False):
            curves = [curve(folder / r.name) for r in runs if (r.task, r.paid) == (task, paid)]
            curves = [(steps, returns) for steps, returns in curves if steps]
            for steps, returns in curves:
                axes.plot(steps, returns, color=colour, alpha=0.35, linewidth=0.8)
            if curves:
                grid = np.linspace(0, max(steps[-1] for steps, _ in curves), 100)
                mean = np.mean([np.interp(grid, steps, returns) for steps, returns in curves], axis=0)
                label = "true reward" if paid == "true" else f"{paid} labels"
                axes.plot(grid, mean, color=colour, linewidth=2, label=label)
        axes.set(title=task, xlabel="environment steps", ylabel="true return")
        axes.legend(frameon=False)
    figure.savefig(file, dpi=120)


COLOURS = ("#222222", "#0072b2", "#d55e00", "#009e73", "#cc79a7")


def versions(folder: Path) -> str:
    """Versions that made a run, in one line."""
    system = json.loads((folder / "system.json").read_text())
    return ", ".join(f"{name} {version}" for name, version in system["packages"].items() if version)

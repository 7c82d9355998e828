"""How often a refit should go over the labels: fewer passes cost less and do not teach less.

    python -m experiments.passes [--seeds 3] [--jobs 2] [--steps 300000]

HalfCheetah from 700 labels. Runs are kept under runs/passes; table and curves go to experiments/results/passes.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.campaign import COLOURS, Run, curve, gather, make, versions, write_csv

PASSES = (1, 2, 5, 10)


def run(passes: int, seed: int, steps: int) -> Run:
    return Run("HalfCheetah", 700, seed, (("total_timesteps", steps), ("fit", f"fit(passes={passes})")))


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--seeds", type=int, default=3)
    asked.add_argument("--jobs", type=int, default=2)
    asked.add_argument("--steps", type=int, default=300_000)
    asked.add_argument("--runs", type=Path, default=Path("runs/passes"))
    asked.add_argument("--results", type=Path, default=Path("experiments/results/passes"))
    given = asked.parse_args()
    groups = {passes: [run(passes, seed, given.steps) for seed in range(given.seeds)] for passes in PASSES}
    make([run for group in groups.values() for run in group], given.runs, given.jobs)
    given.results.mkdir(parents=True, exist_ok=True)
    rows = {passes: gather(group, given.runs) for passes, group in groups.items()}
    write_csv([{"passes": passes} | row for passes, found in rows.items() for row in found], given.results / "runs.csv")
    draw(groups, given.runs, given.results / "curves.png")
    command = f"python -m experiments.passes --seeds {given.seeds} --steps {given.steps}"
    made = table(rows) + f"\nMade by `{command}` with {versions(given.runs / groups[1][0].name)}.\n"
    (given.results / "table.md").write_text(made)
    print(made)


def table(rows: dict[int, list[dict[str, Any]]]) -> str:
    """Mean and range over seeds of the true return over the last 10 % of steps, and what the refits cost."""
    lines = ["| passes | return: mean (range) | Pearson | seconds on the reward |", "|---|---|---|---|"]
    for passes, found in rows.items():
        returns = [row["return"] for row in found]
        cost = np.mean([60 * row["reward_minutes"] for row in found])
        lines.append(
            f"| {passes} | {np.mean(returns):.0f} ({min(returns):.0f} to {max(returns):.0f}) "
            f"| {np.mean([row['pearson'] for row in found]):.2f} | {cost:.0f} |"
        )
    return "\n".join(lines) + "\n"


def draw(groups: dict[int, Sequence[Run]], folder: Path, file: Path) -> None:
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for (passes, group), colour in zip(groups.items(), COLOURS, strict=False):
        for seed, run in enumerate(group):
            axes.plot(*curve(folder / run.name), color=colour, linewidth=1, label=None if seed else f"{passes} passes")
    axes.set(title="HalfCheetah, 700 labels", xlabel="environment steps", ylabel="true return")
    axes.legend(frameon=False)
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    main()

"""Preferences teach what the true reward teaches: three tasks, against the same runs on the true reward.

    python -m experiments.control [--seeds 3] [--jobs 2] [--steps 1000000]

After Christiano et al. 2017, figure 2. Runs are kept under runs/control and skipped when they are there; the table
and the curves are written to experiments/results/control.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.campaign import Run, gather, make, plot, versions, write_csv

TASKS = {"HalfCheetah": (700, 1400), "Hopper": (700,), "Reacher": (700,)}
TARGETS = {("HalfCheetah", 700): 0.8, ("HalfCheetah", 1400): 0.9, ("Hopper", 700): 0.7, ("Reacher", 700): 0.9}
"""Share of what the true reward reaches; for Reacher, of the way there from the untrained policy."""


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--seeds", type=int, default=3)
    asked.add_argument("--jobs", type=int, default=2)
    asked.add_argument("--steps", type=int, default=1_000_000)
    asked.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    asked.add_argument("--runs", type=Path, default=Path("runs/control"))
    asked.add_argument("--results", type=Path, default=Path("experiments/results/control"))
    given = asked.parse_args()
    runs = [
        Run(task, paid, seed, (("total_timesteps", given.steps),))
        for task in given.tasks
        for seed in range(given.seeds)
        for paid in ("true", *TASKS[task])
    ]
    make(runs, given.runs, given.jobs)
    given.results.mkdir(parents=True, exist_ok=True)
    rows = gather(runs, given.runs)
    write_csv(rows, given.results / "runs.csv")
    plot(runs, given.runs, given.results / "curves.png")
    command = f"python -m experiments.control --seeds {given.seeds} --steps {given.steps}"
    made = table(rows) + f"\nMade by `{command}` with {versions(given.runs / runs[0].name)}.\n"
    (given.results / "table.md").write_text(made)
    print(made)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Mean and range over seeds of the true return over the last 10 % of steps, against the true reward's."""
    lines = [
        "| task | paid by | seeds | return: mean (range) | share of the true reward's | target | Pearson | minutes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for task in dict.fromkeys(row["task"] for row in rows):
        baseline = np.mean([row["return"] for row in rows if (row["task"], row["labels"]) == (task, "true")])
        untrained = (
            np.mean([row["untrained_return"] for row in rows if row["task"] == task]) if task == "Reacher" else 0
        )
        for paid in dict.fromkeys(row["labels"] for row in rows if row["task"] == task):
            here = [row for row in rows if (row["task"], row["labels"]) == (task, paid)]
            returns = [row["return"] for row in here]
            share = (np.mean(returns) - untrained) / (baseline - untrained)
            target = TARGETS.get((task, paid))
            pearson = "" if paid == "true" else f"{np.mean([row['pearson'] for row in here]):.2f}"
            lines.append(
                f"| {task} | {'true reward' if paid == 'true' else f'{paid} labels'} | {len(here)} "
                f"| {np.mean(returns):.1f} ({min(returns):.1f} to {max(returns):.1f}) | {share:.0%} "
                f"| {f'{target:.0%}' if target else ''} | {pearson} | {np.mean([row['minutes'] for row in here]):.1f} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()

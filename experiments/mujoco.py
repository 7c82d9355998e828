"""Preferences teach what the true reward teaches: the paper's eight simulated tasks (Christiano et al. 2017, figure 2).

prefrl reproduce mujoco
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from prefrl.intervals import interval
from prefrl.reproduce.claim import Claim, Run, Verdict
from prefrl.reproduce.records import Record
from prefrl.reproduce.statistics import shares
from prefrl.reproduce.tables import bounded, percent
from prefrl.runs import RunConfig

STEPS = {
    "HalfCheetah": 1_000_000,
    "Hopper": 1_000_000,
    "Walker2d": 1_000_000,
    "Swimmer": 1_000_000,
    "Ant": 1_000_000,
    "Reacher": 500_000,
    "InvertedDoublePendulum": 500_000,
    "InvertedPendulum": 200_000,
}
"""Environment steps that a task needs: after fewer the pendulums stand, and an arm reaches its target."""
LABELS = (350, 700, 1400)
TRUE = "true reward"
SEEDS = 3
NOTHING = "no runs yet, or no baseline"


def run(task: str, paid: int | str, condition: str = "", **settings: Any) -> Run:
    """A task paid by so many labels, or by its own reward; `settings` differ from what the command line does."""
    pay: dict[str, Any] = {"reward": "true"} if paid == TRUE else {"labels": paid}
    usual = {"env": f"prefrl/{task}-v0", "total_timesteps": settings.get("total_timesteps") or STEPS[task]}
    return Run(task, condition or (TRUE if paid == TRUE else f"{paid} labels"), RunConfig(**usual | pay | settings))


def beside_true(
    tasks: Sequence[str], labels: int, steps: int, conditions: Mapping[str, Mapping[str, Any]]
) -> tuple[Run, ...]:
    """Every task paid by its own reward, and by so many labels under each condition's settings."""
    ways: dict[str, tuple[int | str, Mapping[str, Any]]] = {TRUE: (TRUE, {})}
    ways |= {name: (labels, settings) for name, settings in conditions.items()}
    return tuple(
        run(task, paid, name, total_timesteps=steps, **settings)
        for task in tasks
        for name, (paid, settings) in ways.items()
    )


def verdicts(records: Sequence[Record]) -> list[Verdict]:
    return [as_good(records, 700, 0.90), as_good(records, 1400, 1.00), every_task(records, 700, 0.70)]


def as_good(records: Sequence[Record], labels: int, target: float) -> Verdict:
    """The interquartile mean, over tasks and seeds, of the share of the baseline."""
    found = shares(records, f"{labels} labels", TRUE)
    claim = f"{labels} labels over true reward, interquartile mean over the tasks"
    if not found:
        return Verdict(claim, f"at least {target:.0%}", NOTHING, None)
    iqm = interval(list(found.values()))
    said = f"{bounded(iqm, percent)}, {len(found)} tasks"
    return Verdict(claim, f"at least {target:.0%}", said, iqm.value >= target if enough(found) else None)


def every_task(records: Sequence[Record], labels: int, target: float) -> Verdict:
    found = shares(records, f"{labels} labels", TRUE)
    means = {task: float(np.mean(each)) for task, each in found.items()}
    claim = f"each task at {labels} labels"
    said = ", ".join(f"{task} {percent(mean)}" for task, mean in means.items()) or NOTHING
    reached = min(means.values()) >= target if enough(found) else None
    return Verdict(claim, f"at least {target:.0%}", said, reached)


def enough(found: Mapping[str, Sequence[float]], tasks: Sequence[str] = tuple(STEPS)) -> bool:
    """Every seed of every task is there."""
    return all(len(found.get(task, ())) >= SEEDS for task in tasks)


CLAIM = Claim(
    name="mujoco",
    about="700 labels teach about what the true reward teaches, 1400 slightly more",
    runs=tuple(run(task, paid) for task in STEPS for paid in (TRUE, *LABELS)),
    seeds=SEEDS,
    verdicts=verdicts,
)

"""The whole chain from pixels in minutes: a dot learns to go to the middle, as in the code of the paper's readers.

prefrl reproduce moving_dot
"""

from collections.abc import Sequence
from typing import Any

from experiments.mujoco import TRUE, run
from prefrl.reproduce.claim import Claim, Run, Verdict
from prefrl.reproduce.records import Record

LABELS = 2_000
"""Fewer than half of what others took for a dot like it (5,258, one seed of three)."""
STEPS = 150_000
TARGET = 8
"""Of 22, the mean return of going straight to the middle; random play gets about 0."""
ENVS = 8
"""Half of Atari's: a run this short needs its updates."""


def verdicts(records: Sequence[Record]) -> list[Verdict]:
    results = [record.result for record in records if record.condition == f"{LABELS} labels"]
    reached = sum(result >= TARGET for result in results)
    said = ", ".join(f"{result:.1f}" for result in results) or "no runs yet"
    claim = f"mean return of the last tenth at least +{TARGET} from {LABELS:,} labels"
    return [Verdict(claim, "2 of 3 seeds", said, 3 * reached >= 2 * len(results) if len(results) >= 3 else None)]


RATES = (0.1, 0.02, 0.005)
"""Comparisons trained per step of the policy, in lockstep: the paper's, and less."""


def learned(condition: str, **settings: Any) -> Run:
    return run("MovingDot", LABELS, condition, total_timesteps=STEPS, n_envs=ENVS, **settings)


CLAIM = Claim(
    name="moving_dot",
    about=f"{LABELS:,} synthetic labels bring a dot to the middle in {STEPS:,} steps, seen as pixels",
    runs=(
        run("MovingDot", TRUE, total_timesteps=STEPS, n_envs=ENVS),
        learned(f"{LABELS} labels", asynchronous=True),
        *(learned(f"{LABELS} labels, {rate:g} a step", fit=f"frames(rate={rate})") for rate in RATES),
    ),
    verdicts=verdicts,
)

"""How wrong may labellers be? Six teachers who err as people do (after B-Pref, Lee et al. 2021), on two tasks.

prefrl reproduce oracles
"""

from collections.abc import Sequence

import numpy as np

from experiments.ablations import STEPS, TASKS
from experiments.mujoco import TRUE, run
from prefrl.reproduce.claim import Claim, Verdict
from prefrl.reproduce.records import Record
from prefrl.reproduce.statistics import shares

LABELS = 1400
CLEAN = "never wrong"
ORACLES = {
    CLEAN: "synthetic",
    "unsure of close pairs": "stochastic(beta=5)",
    "wrong once in ten": "mistaken(chance=0.1)",
    "skips bad pairs": "skipping(chance=0.1)",
    "calls close pairs equal": "equal(chance=0.1)",
    "remembers the end best": "myopic(discount=0.9)",
}


def verdicts(records: Sequence[Record]) -> list[Verdict]:
    clean, wrong = (shares(records, name, TRUE).get("HalfCheetah") for name in (CLEAN, "wrong once in ten"))
    claim, target = f"10 % wrong answers, {LABELS} labels, HalfCheetah", "at least 80 % of the clean run"
    if not clean or not wrong:
        return [Verdict(claim, target, "no runs yet", None)]
    kept = float(np.mean(wrong) / np.mean(clean))
    return [Verdict(claim, target, f"{kept:.0%}", kept >= 0.8)]


CLAIM = Claim(
    name="oracles",
    about="A tenth of wrong answers costs little",
    runs=tuple(
        made
        for task in TASKS
        for made in (
            run(task, TRUE, total_timesteps=STEPS),
            *(run(task, LABELS, name, total_timesteps=STEPS, oracle=oracle) for name, oracle in ORACLES.items()),
        )
    ),
    verdicts=verdicts,
)

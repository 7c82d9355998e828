"""How wrong may labellers be? Six teachers who err as people do (after B-Pref, Lee et al. 2021), on two tasks.

prefrl reproduce oracles
"""

from collections.abc import Sequence

import numpy as np

from experiments.ablations import STEPS, TASKS
from experiments.mujoco import NOTHING, TRUE, beside_true, enough
from prefrl.reproduce.claim import Claim, Verdict
from prefrl.reproduce.records import Record
from prefrl.reproduce.statistics import shares
from prefrl.reproduce.tables import percent

LABELS = 1400
CLEAN, WRONG = "never wrong", "wrong once in ten"
TASK, KEPT = "HalfCheetah", 0.8
ORACLES = {
    CLEAN: "synthetic",
    "unsure of close pairs": "stochastic(beta=5)",
    WRONG: "mistaken(chance=0.1)",
    "skips bad pairs": "skipping(chance=0.1)",
    "calls close pairs equal": "equal(chance=0.1)",
    "remembers the end best": "myopic(discount=0.9)",
}


def verdicts(records: Sequence[Record]) -> list[Verdict]:
    clean, wrong = (shares(records, name, TRUE) for name in (CLEAN, WRONG))
    claim, target = f"10 % wrong answers, {LABELS} labels, {TASK}", f"at least {KEPT:.0%} of the clean run"
    if TASK not in clean or TASK not in wrong or np.mean(clean[TASK]) <= 0:
        return [Verdict(claim, target, NOTHING, None)]
    kept = float(np.mean(wrong[TASK]) / np.mean(clean[TASK]))
    reached = kept >= KEPT if enough(clean, [TASK]) and enough(wrong, [TASK]) else None
    return [Verdict(claim, target, percent(kept), reached)]


CLAIM = Claim(
    name="oracles",
    about="A tenth of wrong answers costs little",
    runs=beside_true(TASKS, LABELS, STEPS, {name: {"oracle": oracle} for name, oracle in ORACLES.items()}),
    verdicts=verdicts,
)

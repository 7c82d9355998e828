"""Which pairs to ask about: five strategies where labels are few, on two tasks.

prefrl reproduce queries
"""

from experiments.ablations import STEPS, TASKS
from experiments.mujoco import beside_true
from prefrl.reproduce.claim import Claim

LABELS = 350
STRATEGIES = {
    "disagreement": "disagreement",
    "random pairs": "uniform",
    "information gain": "information_gain",
    "coverage": "coverage",
    "newest behaviour": "policy_aligned",
}

CLAIM = Claim(
    name="queries",
    about=f"How much the choice of {LABELS} questions matters",
    runs=beside_true(TASKS, LABELS, STEPS, {name: {"select": select} for name, select in STRATEGIES.items()}),
)

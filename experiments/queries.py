"""Which pairs to ask about: five strategies where labels are few, on two tasks.

prefrl reproduce queries
"""

from experiments.ablations import STEPS, TASKS
from experiments.mujoco import TRUE, run
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
    runs=tuple(
        made
        for task in TASKS
        for made in (
            run(task, TRUE, total_timesteps=STEPS),
            *(run(task, LABELS, name, total_timesteps=STEPS, select=select) for name, select in STRATEGIES.items()),
        )
    ),
)

"""The same with the paper's own algorithm, TRPO.

prefrl reproduce trpo
"""

from experiments.mujoco import LABELS, TRUE, run
from prefrl.reproduce.claim import Claim

TASKS = ("HalfCheetah", "Hopper", "Reacher")

CLAIM = Claim(
    name="trpo",
    about="What labels teach does not depend on the algorithm: TRPO, which the paper used",
    runs=tuple(run(task, paid, algo="trpo") for task in TASKS for paid in (TRUE, *LABELS)),
)

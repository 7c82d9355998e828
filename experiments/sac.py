"""Few steps, few labels: SAC, whose replay buffer is paid again after every refit (PEBBLE, Lee et al. 2021).

prefrl reproduce sac
"""

from experiments.mujoco import TRUE, run
from prefrl.reproduce.claim import Claim

TASKS = ("HalfCheetah", "Hopper", "Walker2d")
LABELS = 700
STEPS = 100_000
"""A tenth of what PPO gets: SAC learns from every step many times, at a hundredth of PPO's steps a second."""

CLAIM = Claim(
    name="sac",
    about=f"SAC with relabelling needs a tenth of the steps: {STEPS:,}, beside PPO at the same labels and steps",
    runs=tuple(
        run(
            task, paid, f"{condition}, {algo.upper()}" if algo == "sac" else condition, algo=algo, total_timesteps=STEPS
        )
        for task in TASKS
        for algo in ("ppo", "sac")
        for paid, condition in ((TRUE, TRUE), (LABELS, f"{LABELS} labels"))
    ),
)

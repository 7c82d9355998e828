"""Few steps, few labels: SAC, whose replay buffer is paid again after every refit (PEBBLE, Lee et al. 2021).

prefrl reproduce sac
"""

from experiments.mujoco import TRUE, run
from prefrl.reproduce.claim import Claim

TASKS = ("HalfCheetah", "Hopper", "Walker2d")
LABELS = 700
STEPS = 100_000
"""A tenth of what PPO gets elsewhere: SAC learns from every step many times, and takes far longer for it."""

CLAIM = Claim(
    name="sac",
    about=f"At equal labels and {STEPS:,} steps, SAC with relabelling gets further than PPO",
    runs=tuple(
        run(task, paid, f"{algo.upper()}, {condition}", algo=algo, total_timesteps=STEPS)
        for task in TASKS
        for algo in ("ppo", "sac")
        for paid, condition in ((TRUE, TRUE), (LABELS, f"{LABELS} labels"))
    ),
    baseline=f"SAC, {TRUE}",
)

"""How often a refit should go over the labels: fewer passes cost less and do not teach less.

prefrl reproduce passes
"""

from experiments.mujoco import run
from prefrl.reproduce.claim import Claim

STEPS = 150_000
"""The early part of a run, where the reward changes most."""

CLAIM = Claim(
    name="passes",
    about="Two passes over the labels at every refit teach as much as ten",
    runs=tuple(
        run("HalfCheetah", 700, f"{passes} passes", total_timesteps=STEPS, fit=f"fit(passes={passes})")
        for passes in (1, 2, 5, 10)
    ),
    baseline="2 passes",
)

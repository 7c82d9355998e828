"""Why episodes must have one length: a pole learns to stand from labels that say nothing, if it may fall early.

    prefrl reproduce leak

Labels are coins. Where an episode ends with the fall, its length alone can teach the policy to stand (the return, which
counts the steps until the fall, rises); where it goes on for its whole horizon, nothing does.
"""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from prefrl.reproduce.claim import Claim, Run, Verdict
from prefrl.reproduce.records import Record
from prefrl.runs import RunConfig
from prefrl_envs import FixedHorizon

EARLY, FIXED = "ends with the fall", "fixed horizon"
HORIZON = 1_000


def fixed(**options: Any) -> gym.Env[Any, Any]:
    """Gymnasium's pendulum, whose episodes go on after the fall and pay nothing there."""
    return FixedHorizon(gym.make("InvertedPendulum-v5", **options).unwrapped, HORIZON)


def run(condition: str, env: str, **settings: Any) -> Run:
    usual = {"labels": 300, "oracle": "stochastic(beta=0)", "segment_length": 5, "total_timesteps": 300_000}
    return Run("InvertedPendulum", condition, RunConfig(env=env, **usual | settings))


def verdicts(records: Sequence[Record]) -> list[Verdict]:
    early, constant = ([r for r in records if r.condition == condition] for condition in (EARLY, FIXED))
    return [
        Verdict("random labels teach where episodes end early", "return rises, Pearson about 0", *_rise(early, True)),
        Verdict("a fixed horizon removes it", "return does not rise", *_rise(constant, False)),
    ]


def _rise(records: Sequence[Record], rises: bool) -> tuple[str, bool | None]:
    """From the first episodes of a run to its last: a rise is a threefold return."""
    if not records:
        return "no runs yet", None
    before = float(np.mean([record.curve[1][0] for record in records]))
    after = float(np.mean([record.result for record in records]))
    pearson = float(np.mean([abs(record.pearson or 0.0) for record in records]))
    return f"{before:.0f} to {after:.0f}, |Pearson| {pearson:.2f}", (after > 3 * before) == rises


CLAIM = Claim(
    name="leak",
    about="Episodes that end early teach the policy without any label",
    runs=(
        run(EARLY, "InvertedPendulum-v5", allow_variable_horizon=True),
        run(FIXED, "experiments.leak:fixed"),
    ),
    baseline=None,
    verdicts=verdicts,
)

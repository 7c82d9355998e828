"""Why episodes must have one length: a pole learns to stand from labels that say nothing, if its fall ends the episode.

    prefrl reproduce leak

Labels are coins, so a reward net learns noise. Where the fall ends the episode, noise that happens to be high where the
pole stands pays for every step that it stands longer: the length of the episode teaches, not the labels. Where the
episode goes on after the fall, standing long is worth no more than lying long. Prefrl centres its rewards, so noise
may as well be low where the pole stands: the leak shows in some seeds only, and in the others the pole falls at once.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym

from prefrl.reproduce.claim import Claim, Run, Verdict
from prefrl.reproduce.records import Record
from prefrl.runs import RunConfig
from prefrl_envs import FixedHorizon

EARLY, FIXED = "ends with the fall", "fixed horizon"
SEEDS = 3
HORIZON = 1_000
STANDS = 500
"""Steps; a pole that has learned nothing falls after about ten."""
UNLIKE = 0.1
"""Pearson below which learned and true reward have nothing in common."""
VALIDATION = "validation_loss"


def fixed(**options: Any) -> gym.Env[Any, Any]:
    """Gymnasium's pendulum, whose episodes go on after the fall and pay nothing there."""
    return FixedHorizon(gym.make("InvertedPendulum-v5", **options).unwrapped, HORIZON)


def run(condition: str, env: str, **settings: Any) -> Run:
    coins = {"labels": 300, "oracle": "stochastic(beta=0)", "schedule": "upfront", "segment_length": 5}
    return Run("InvertedPendulum", condition, RunConfig(env=env, total_timesteps=300_000, **coins, **settings))


def held_out(path: Path) -> dict[str, float]:
    """The loss on labels that a net has not seen: a guess has ln 2 = 0.69."""
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return {VALIDATION: [line["reward/validation_loss"] for line in lines if "reward/validation_loss" in line][-1]}


def verdicts(records: Sequence[Record]) -> list[Verdict]:
    early, whole = ([r for r in records if r.condition == condition] for condition in (EARLY, FIXED))
    leaked = any(r.result > STANDS and abs(r.pearson or 0) < UNLIKE and guesses(r) for r in early)
    stands = any(r.result > STANDS for r in whole)
    return [
        Verdict(
            "coins teach a pole to stand where its fall ends the episode",
            f"return above {STANDS}, |Pearson| below {UNLIKE}, labels not learned, in at least 1 of {SEEDS} seeds",
            said(early),
            True if leaked else False if len(early) >= SEEDS else None,
        ),
        Verdict(
            "a fixed horizon removes it",
            f"return below {STANDS} in all {SEEDS} seeds",
            said(whole),
            False if stands else True if len(whole) >= SEEDS else None,
        ),
    ]


def guesses(record: Record) -> bool:
    return float(record.measured[VALIDATION]) >= math.log(2)


def said(records: Sequence[Record]) -> str:
    words = [f"{record.result:.0f} (Pearson {record.pearson or 0:.2f})" for record in records]
    return ", ".join(words) or "no runs yet"


CLAIM = Claim(
    name="leak",
    about="Where success makes an episode longer, its length teaches the policy without any label",
    runs=(
        run(EARLY, "InvertedPendulum-v5", allow_variable_horizon=True),
        run(FIXED, "experiments.leak:fixed"),
    ),
    baseline=None,
    seeds=SEEDS,
    verdicts=verdicts,
    measure=held_out,
)

"""Atari from preferences: PPO on pixels (Christiano et al. 2017, figure 3), as far as two cores go.

prefrl reproduce atari
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from experiments.mujoco import TRUE, run
from prefrl.files import unpack
from prefrl.reproduce.claim import Claim, Verdict
from prefrl.reproduce.records import Record
from prefrl.runs import RunFolder

GAMES = 50
"""Whose mean is what a run came to: the last that were played in training."""
STEPS = {"Pong": 2_500_000, "Breakout": 1_000_000}
"""Few for Atari: the paper's runs have fifty million."""
RARELY = 500_000
"""Steps between checkpoints, which cut games off: a long one takes thousands of steps of each environment."""
LABELS = {"Pong": 5_500, "Breakout": 3_300}
TARGETS = {"Pong": 0.0, "Breakout": 3.4}
"""Even games; twice what random play gets in Breakout (1.7: Mnih et al. 2015, table 2)."""


def measure(path: Path) -> Mapping[str, float]:
    """The last games, and games of the best checkpoint: learning may collapse late."""
    folder = RunFolder(path)
    games = unpack(folder.checkpoint() / "episodes.npz")["episodes"][-GAMES:, 1]
    return {"last_games": float(np.mean(games)), "best_games": (folder.summary or {})["best_eval_return_mean"]}


def verdicts(records: Sequence[Record]) -> list[Verdict]:
    return [_reached(records, task) for task in STEPS]


def _reached(records: Sequence[Record], task: str) -> Verdict:
    of_task = [record for record in records if record.task == task]
    learned = [float(record.measured["last_games"]) for record in of_task if record.labels == LABELS[task]]
    true = [float(record.measured["last_games"]) for record in of_task if record.labels == "true"]
    said = f"{_listed(learned)}; the true reward {_listed(true)}"
    claim = f"{task}: mean of the last {GAMES} games from {LABELS[task]:,} labels"
    return Verdict(claim, f"at least {TARGETS[task]:g}", said, np.mean(learned) >= TARGETS[task] if learned else None)


def _listed(returns: Sequence[float]) -> str:
    return ", ".join(f"{each:.1f}" for each in returns) or "not yet"


CLAIM = Claim(
    name="atari",
    about="Games are learned from pixels and preferences",
    runs=tuple(
        run(task, paid, total_timesteps=STEPS[task], asynchronous=paid != TRUE, checkpoint_every=RARELY)
        for task in STEPS
        for paid in (TRUE, LABELS[task])
    ),
    seeds=1,
    verdicts=verdicts,
    measure=measure,
)

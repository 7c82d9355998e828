"""Runs on the dot that end in a second or two, what a run came to, and parts as a user would write them."""

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from stable_baselines3.common.save_util import load_from_zip_file
from torch import Tensor, nn

from prefrl.oracles import Synthetic
from prefrl.runs import RunConfig, RunFolder
from prefrl.types import Array, Segment

DOT = "tests.tiny_envs:Dot-v0"
PPO = {"n_steps": 32, "batch_size": 64, "policy_kwargs": {"net_arch": [8]}}
OFF_POLICY = {
    "learning_starts": 50,
    "buffer_size": 200,
    "batch_size": 16,
    "train_freq": 4,
    "policy_kwargs": {"net_arch": [8]},
}
"""For SAC, TD3 and DQN; the buffer is smaller than the run, so that its oldest rows are overwritten."""
TINY = {
    "env": DOT,
    "total_timesteps": 1_000,
    "labels": 24,
    "n_envs": 4,
    "hyper": PPO,
    "fit": "fit(passes=1, first_passes=2)",
    "turns": 4,
    "checkpoint_every": 300,
    "eval_episodes": 2,
}
SECONDS = ("wall_seconds", "policy_seconds", "reward_seconds", "steps_per_second")


def tiny(**changes: Any) -> RunConfig:
    return RunConfig(**TINY | changes)


@dataclass(frozen=True)
class Outcome:
    """What a run came to, but for the time that it took."""

    parameters: dict[str, str]
    """SHA-256 of every tensor of the policy and of the reward's ensemble and optimizer."""
    rows: list[tuple[int, int, float | None, int]]
    """(left, right, preference, step) of every label."""
    metrics: list[dict[str, float]]
    summary: dict[str, Any]


def outcome(path: Path) -> Outcome:
    folder = RunFolder(path)
    metrics = [{k: v for k, v in line.items() if timeless(k)} for line in folder.read_metrics()]
    summary = {k: v for k, v in (folder.summary or {}).items() if k not in SECONDS}
    digests = {name: sha256(value.detach().numpy().tobytes()).hexdigest() for name, value in parameters(folder).items()}
    return Outcome(digests, rows(path), metrics, summary)


def timeless(key: str) -> bool:
    return key == "time/total_timesteps" or not key.startswith("time/")


def parameters(folder: RunFolder) -> dict[str, Tensor]:
    """Of the newest checkpoint."""
    checkpoint = folder.checkpoint()
    _, networks, variables = load_from_zip_file(checkpoint / "policy.zip", load_data=False)
    learner = checkpoint / "learner.safetensors"
    return networks["policy"] | (variables or {}) | (load_file(learner) if learner.exists() else {})


def rows(path: Path) -> list[tuple[int, int, float | None, int]]:
    with RunFolder(path).open_store() as store:
        asked = {query.id: query for query in store.queries()}
        answered = [(asked[label.query], label.preference) for label in store.labels()]
    return [(query.left, query.right, preference, query.step) for query, preference in answered]


def likes_left(left: Segment, right: Segment) -> float:
    """Prefers the dot further to the left: by what it sees, against the environment's reward."""
    return float(left.obs[-1, 0] < right.obs[-1, 0])


def never_tells(left: Segment, right: Segment) -> None:
    return None


def thinks(left: Segment, right: Segment) -> float:
    """Takes its time, as a model or an API does."""
    time.sleep(0.05)
    return Synthetic()(left, right)


def presses_ctrl_c(left: Segment, right: Segment) -> float:
    """Interrupts its process at the question whose number the environment variable CTRL_C holds."""
    if "CTRL_C" in os.environ:
        os.environ["CTRL_C"] = str(int(os.environ["CTRL_C"]) - 1)
        if os.environ["CTRL_C"] == "0":
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
            os.kill(os.getpid(), signal.SIGINT)
    return Synthetic()(left, right)


def first_pairs(segments: Sequence[Segment], returns: Array, n: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    return [(i, i + 1) for i in range(min(n, len(segments) - 1))]


class Linear(nn.Module):
    """A reward that is linear in observation and action."""

    def __init__(self, obs_shape: Sequence[int], act_shape: Sequence[int]) -> None:
        super().__init__()
        self.weights = nn.Linear(obs_shape[0] + act_shape[0], 1)

    def forward(self, obs: Tensor, acts: Tensor) -> Tensor:
        rewards: Tensor = self.weights(torch.cat([obs, acts], dim=2)).squeeze(2)
        return rewards


NUMBER = 5
"""Nothing that can be called."""

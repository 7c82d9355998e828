"""Paying rewards into SB3's buffers after the fact."""

from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecTransposeImage, is_vecenv_wrapped

from prefrl.control.rollout import Pay, Rollout
from prefrl.types import Array

CHUNK = 10_000
"""Steps whose reward is computed at once when a whole replay buffer is relabelled: bounds memory."""


def pay_rollout(model: OnPolicyAlgorithm, rewards: Array, values: torch.Tensor, dones: Array) -> None:
    """Adds `rewards` (T, envs) to the zeros in SB3's buffer and computes advantages again.

    SB3 has put the bootstrap of time limits there already; it stays. `values`, `dones`: after the last step.
    """
    model.rollout_buffer.rewards += rewards
    model.rollout_buffer.compute_returns_and_advantage(last_values=values, dones=dones)


def learn_nothing(model: OnPolicyAlgorithm) -> None:
    """Leaves out the update that follows: what is unpaid would have it follow entropy and the values' errors."""
    vars(model)["train"] = lambda: vars(model).pop("train")


def relabelled(model: OffPolicyAlgorithm) -> ReplayBuffer:
    """The replay buffer of `model`; ValueError if its rows could not be paid again."""
    buffer = model.replay_buffer
    if type(buffer) is not ReplayBuffer:
        raise ValueError(f"{type(buffer).__name__} cannot be relabelled: use an algorithm with SB3's ReplayBuffer")
    if buffer.optimize_memory_usage:
        raise ValueError("replay rows that share observations cannot be saved: leave optimize_memory_usage out")
    venv = model.get_env()
    if venv and is_vecenv_wrapped(venv, VecTransposeImage):
        raise ValueError("SB3 keeps images transposed, so they cannot be paid again: use an on-policy algorithm")
    return buffer


class Replay:
    """SB3's replay buffer with the truth of every row beside it, so that all of it can be paid again."""

    def __init__(self, model: OffPolicyAlgorithm) -> None:
        buffer = relabelled(model)
        self.model, self.buffer = model, buffer
        self.truth = np.zeros_like(buffer.rewards)

    def pay(self, rollout: Rollout, rewards: Array) -> None:
        """Writes the rewards of `rollout`, whose steps are the newest rows of the buffer."""
        rows = (self.buffer.pos - len(rollout) + np.arange(len(rollout))) % self.buffer.buffer_size
        self.buffer.rewards[rows] = rewards
        self.truth[rows] = rollout.truth

    def relabel(self, pay: Pay) -> None:
        """Pays every row again, after a refit."""
        filled = self.buffer.buffer_size if self.buffer.full else self.buffer.pos
        for start in range(0, filled, CHUNK):
            rows = slice(start, min(start + CHUNK, filled))
            acts = self._acts(rows)
            dones = self.buffer.dones[rows].astype(bool)
            steps = Rollout(self.buffer.observations[rows], acts, self.truth[rows], dones)
            self.buffer.rewards[rows] = pay(steps)

    def _acts(self, rows: slice) -> Array:
        """(rows, envs, *act), as the environment received them: SB3 scales actions and appends an axis to choices."""
        acts = self.buffer.actions[rows]
        return self.model.policy.unscale_action(acts) if isinstance(self.model.action_space, Box) else acts[..., 0]

    def state(self) -> dict[str, Any]:
        """The filled rows as arrays."""
        filled = self.buffer.buffer_size if self.buffer.full else self.buffer.pos
        rows = {name: getattr(self.buffer, name)[:filled] for name in _COLUMNS}
        return rows | {"truth": self.truth[:filled], "pos": np.array(self.buffer.pos)}

    def load(self, state: dict[str, Array]) -> None:
        filled = len(state["truth"])
        for name in _COLUMNS:
            getattr(self.buffer, name)[:filled] = state[name]
        self.truth[:filled] = state["truth"]
        self.buffer.pos, self.buffer.full = int(state["pos"]), filled == self.buffer.buffer_size


_COLUMNS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")

"""Where prefrl enters SB3's loop."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from prefrl.control.replay import Replay, learn_nothing, pay_rollout
from prefrl.control.rollout import Cutter, Learned, Pay
from prefrl.control.vec_env import Recorder
from prefrl.files import reading, unpack
from prefrl.types import Segment

Turn = Callable[[Sequence[Segment], int], dict[str, float]]
"""(new segments, policy steps) -> metrics; empty where the reward stayed as it was."""


class PreferenceCallback(BaseCallback):
    """Pays every rollout the reward that stood when it began, then gives its segments to `turn`.

    The reward can only change in `turn`, so it is constant within a rollout. What `turn` gives is logged; if it gives
    anything, a replay buffer is paid again. Before there is a learned reward, an on-policy algorithm is not updated.
    Raises ValueError for a replay buffer that is not SB3's `ReplayBuffer`.
    """

    def __init__(self, recorder: Recorder, pay: Pay, cutter: Cutter, turn: Turn) -> None:
        super().__init__()
        self.recorder, self.pay, self.cutter, self.turn = recorder, pay, cutter, turn
        self.replay: Replay | None = None

    def save_replay(self, file: Path) -> None:
        """The replay buffer, of algorithms that have one."""
        if self.replay:
            np.savez(file, **self.replay.state())

    def load_replay(self, model: BaseAlgorithm, file: Path) -> None:
        if isinstance(model, OffPolicyAlgorithm):
            self.replay = Replay(model)
            with reading(file):
                self.replay.load(unpack(file))

    def _init_callback(self) -> None:
        if isinstance(self.model, OffPolicyAlgorithm) and self.replay is None:
            self.replay = Replay(self.model)

    def _on_training_start(self) -> None:
        self.cutter.forget()  # SB3 may have reset the environments

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        rollout = self.recorder.take()
        rewards = self.pay(rollout)
        if self.replay:
            self.replay.pay(rollout, rewards)
        elif isinstance(self.model, OnPolicyAlgorithm):
            pay_rollout(self.model, rewards, self.locals["values"], self.locals["dones"])
            if isinstance(self.pay, Learned) and self.pay.nothing:
                learn_nothing(self.model)
        metrics = self.turn(self.cutter(rollout, self.num_timesteps), self.num_timesteps)
        for name, value in metrics.items():
            self.logger.record(name, value)
        if metrics and self.replay:
            self.replay.relabel(self.pay)


class AtFirst(BaseCallback):
    """Calls `then` when the first rollout has begun."""

    def __init__(self, then: Callable[[], object]) -> None:
        super().__init__()
        self.then = then

    def _on_training_start(self) -> None:
        self._waiting = True

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self._waiting:
            self._waiting = False
            self.then()


class EverySteps(BaseCallback):
    """Calls `then` before the first rollout that begins at or after every multiple of `steps`."""

    def __init__(self, steps: int, then: Callable[[], None]) -> None:
        super().__init__()
        self.steps, self.then = steps, then

    def _on_training_start(self) -> None:
        self._next = (self.num_timesteps // self.steps + 1) * self.steps

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self.num_timesteps >= self._next:
            self._next = (self.num_timesteps // self.steps + 1) * self.steps
            self.then()

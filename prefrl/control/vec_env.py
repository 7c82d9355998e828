"""The environments as the policy sees them: without their reward."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from prefrl.control.camera import Look
from prefrl.control.guard import CUT_OFF, Watch
from prefrl.control.rollout import Rollout
from prefrl.types import Array


class EnvFailure(RuntimeError):
    """An environment raised, or gave what cannot be learned from."""


class Episode(NamedTuple):
    """A whole episode."""

    step: int
    """Steps that all environments together had taken at its end."""
    total: float
    """Its true return."""
    env: int = 0
    """In which of the environments it was."""


class Recorder(VecEnvWrapper):
    """Pays the policy 0, and keeps every step with its true reward until `take`.

    Sits directly on the environments, below any normalisation, so that reward nets and people see what the
    environments gave. `infos` of an episode's last step tell SB3 its true return. If environments are `continuing`,
    they hide the ends of their episodes and tell them in `infos`, as "over", and as "score" what returns are made of.
    `name` is for messages and presets.
    `looker` gives a way to look at the environments, if people are to see them. `watch`: of those that may hang.

    Raises EnvFailure, naming environment and step, for rewards or observations that are not finite, for
    exceptions of an environment, and for episodes of another length than `horizon`, if one is given.
    """

    def __init__(
        self,
        venv: VecEnv,
        name: str,
        horizon: int | None = None,
        looker: Callable[[], Look | None] | None = None,
        watch: Watch | None = None,
        continuing: bool = False,
    ) -> None:
        super().__init__(venv)
        self._continuing = continuing
        self.name, self.horizon, self.watch = name, horizon, watch
        self._look = looker() if looker else None
        self.steps = 0
        """Steps taken by all environments together."""
        self.episodes: list[Episode] = []
        """Every whole episode, at its end, since `take_episodes`."""
        self._rows: list[tuple[Array, ...]] = []
        self._began = time.time()

    def reset(self) -> VecEnvObs:
        self._obs = self._finite(self._watched(self.venv.reset), "an observation")
        self._state = (self._watched(self._look),) if self._look else ()
        self._returns, self._lengths = np.zeros(self.num_envs), np.zeros(self.num_envs, dtype=int)
        self._rows.clear()
        return self._obs.copy()

    def step_async(self, actions: Array) -> None:
        self._acts = np.array(actions)
        self.venv.step_async(actions)

    def step_wait(self) -> VecEnvStepReturn:
        obs, truth, dones, infos = self._watched(self.venv.step_wait)
        self.steps += self.num_envs
        scores, ends = truth, dones
        if self._continuing:  # one that was cut off says neither
            scores = self._finite(np.array([info.get("score", 0.0) for info in infos]), "a score")
            ends = dones | np.array([info.get("over", False) for info in infos])
        self._rows.append((self._obs, self._acts, self._finite(truth, "a reward"), ends, *self._state))
        self._obs = self._finite(obs, "an observation")
        self._state = (self._watched(self._look),) if self._look else ()
        self._returns += scores
        self._lengths += 1
        for i in np.flatnonzero(ends):
            self._end(int(i), infos[i])
        return obs, np.zeros_like(truth), dones, infos

    @property
    def kept(self) -> int:
        """Steps of each environment since the last `take` or `reset`."""
        return len(self._rows)

    def take(self) -> Rollout:
        """The steps since the last `take` or `reset`."""
        columns = [np.stack(column) for column in zip(*self._rows, strict=True)]
        self._rows.clear()
        return Rollout(*columns)

    def take_episodes(self) -> list[Episode]:
        taken, self.episodes = self.episodes, []
        return taken

    def _end(self, i: int, info: dict[str, Any]) -> None:
        length = int(self._lengths[i])
        if info.get(CUT_OFF):
            self._returns[i], self._lengths[i] = 0, 0
            return
        if self.horizon not in (None, length):
            raise EnvFailure(
                f"an episode of {self.name} ended after {length} steps instead of {self.horizon}: its length would "
                "tell the policy about the reward; wrap it in prefrl_envs.FixedHorizon or pass --allow-variable-horizon"
            )
        if not np.isfinite(info.get("terminal_observation", 0)).all():
            raise self._failure("an observation", i)
        total = float(self._returns[i])
        info["episode"] = {"r": total, "l": length, "t": time.time() - self._began}
        self.episodes.append(Episode(self.steps, total, i))
        self._returns[i], self._lengths[i] = 0, 0

    def _finite(self, values: Any, what: str) -> Array:
        array: Array = values
        if array.dtype.kind == "f" and not np.isfinite(array.sum()):
            finite = np.isfinite(array.reshape(self.num_envs, -1)).all(1)
            which = np.flatnonzero(~finite).tolist()
            if which:
                raise self._failure(what, which[0])
        return array

    def _failure(self, what: str, i: int) -> EnvFailure:
        return EnvFailure(f"{self.name} gave {what} that is not finite, in environment {i}, after {self.steps} steps")

    def _watched(self, act: Callable[[], Any]) -> Any:
        try:
            return act()
        except Exception as error:
            raise EnvFailure(f"{self.name} raised {error!r} after {self.steps} steps") from error

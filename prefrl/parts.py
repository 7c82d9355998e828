"""What the names in a configuration stand for, and the networks that are built from them."""

import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np

from prefrl import oracles, queries, schedules
from prefrl.control import policy
from prefrl.control.environments import EnvFacts, inspect
from prefrl.control.policy import Algorithm
from prefrl.control.tasks import Preset, algorithm, preset
from prefrl.control.vec_env import Recorder
from prefrl.names import attribute, resolve, unknown
from prefrl.reward import fit, networks
from prefrl.reward.ensemble import Ensemble
from prefrl.reward.fit import Fit
from prefrl.reward.networks import MakeNet
from prefrl.runs import RunConfig
from prefrl.types import Oracle, Schedule, Select
from prefrl.usual import Usual, usual

NETS: Mapping[str, MakeNet] = {
    "cnn": networks.CNN,
    "cnn_dropout": partial(networks.CNN, dropout=True),
    "mlp": networks.MLP,
}


@dataclass(frozen=True)
class Parts:
    """A configuration with its names resolved."""

    config: RunConfig
    facts: EnvFacts
    algo: type[Algorithm]
    oracle: Oracle
    select: Select
    schedule: Schedule
    fit: Fit
    net: MakeNet

    @classmethod
    def of(cls, config: RunConfig, facts: EnvFacts | None = None, **objects: Any) -> "Parts":
        """Resolves every name but those of the parts given in `objects`; raises ValueError in one line.

        `facts`: what was found out about the environment before; without them it is looked at.
        """
        facts = facts or inspect(
            config.env,
            segment_length=config.segment_length,
            allow_variable_horizon=config.allow_variable_horizon,
            options=config.env_options,
        )
        config = completed(config, facts.frames)
        found: Mapping[str, Callable[[], Any]] = {
            "algo": lambda: algorithm(config.algo),
            "oracle": lambda: resolve(config.oracle, oracles, "oracle"),
            "select": lambda: resolve(config.select, queries, "strategy"),
            "schedule": lambda: resolve(config.schedule or "", schedules, "schedule"),
            "fit": lambda: find_fit(config.fit or ""),
            "net": lambda: find_net(config.net or ""),
        }
        for name in objects:
            if name not in found:
                raise unknown("part", name, found)
        chosen = {name: objects[name] if name in objects else find() for name, find in found.items()}
        chosen["oracle"] = deepcopy(chosen["oracle"])  # its memory is of one run
        for name in ("oracle", "select", "schedule", "net"):
            if not callable(chosen[name]):
                raise ValueError(f"{name} {getattr(config, name)!r} cannot be called")
        if not isinstance(chosen["fit"], Fit):
            raise ValueError(f"fit must be a prefrl.Fit, got {chosen['fit']!r}")
        parts = cls(config, facts, **chosen)
        parts._check_labels()
        parts._check_checkpoints()
        parts._check_net()
        parts._check_people()
        return parts

    def _check_checkpoints(self) -> None:
        whole = self.n_envs * self.facts.horizon  # environments are reset at a checkpoint
        if self.config.checkpoint_every < min(whole, self.config.total_timesteps):
            raise ValueError(
                f"checkpoints every {self.config.checkpoint_every} steps would end every episode early: "
                f"{self.n_envs} environments with {self.facts.horizon} steps an episode need at least {whole}"
            )

    def _check_people(self) -> None:
        if not self.people:
            return
        if self.config.reward == "true":
            raise ValueError("on the true reward nobody is asked: leave out --reward true or --oracle human")
        if not self.facts.renders:
            raise ValueError(
                f"environment {self.config.env!r} shows people nothing: render with 'rgb_array' and list it in "
                'metadata["render_modes"]'
            )

    def _check_net(self) -> None:
        obs = np.zeros((1, 2, *self.facts.observation_space.shape), self.facts.observation_space.dtype)
        acts = np.zeros((1, 2, *(self.facts.action_space.shape or ())), self.facts.action_space.dtype)
        try:
            shape = self.ensemble().rewards(obs, acts).shape
        except Exception as error:
            raise ValueError(f"net {self.config.net!r} gives no rewards here: {error}") from error
        if shape != (self.config.members, 1, 2):
            raise ValueError(f"net {self.config.net!r} must give rewards (batch, T), here (1, 2), not {shape[1:]}")

    def _check_labels(self) -> None:
        segments = self.config.total_timesteps // self.facts.segment_length
        pairs = segments * (segments - 1) // 2
        if self.config.reward == "learned" and self.config.labels > pairs:
            raise ValueError(
                f"{self.config.labels} labels cannot be asked: {self.config.total_timesteps} steps make {segments} "
                f"segments of {self.facts.segment_length} steps, and {pairs} pairs of them"
            )
        if self.untrained_steps >= self.config.total_timesteps:
            raise ValueError(
                f"{self.config.total_timesteps} steps leave none to train in: the labels of the untrained policy take "
                f"{self.untrained_steps}; give more steps, fewer labels or fewer environments"
            )

    @property
    def people(self) -> bool:
        """It is people who answer."""
        return isinstance(self.oracle, oracles.Human)

    @property
    def asynchronous(self) -> bool:
        return self.config.asynchronous or self.people

    @property
    def untrained_steps(self) -> int:
        """Steps of the untrained policy: as many as the first labels' segments have, one for each."""
        segments = max(round(self.schedule(0.0) * self.config.labels), 2 * self.n_envs, 4)
        each = math.ceil(segments * self.facts.segment_length / self.n_envs)
        return each * self.n_envs

    @property
    def n_envs(self) -> int:
        """Environments that the policy trains on side by side."""
        return self.config.n_envs or self.preset.n_envs

    @property
    def preset(self) -> Preset:
        """What the algorithm starts from, where the configuration says nothing else."""
        return preset(self.algo, self.config.env, self.facts.frames)

    @property
    def usual(self) -> Usual:
        return usual(self.facts.frames)

    def recorder(self, n_envs: int | None = None, report: Callable[[str], None] | None = None) -> Recorder:
        """The environments that the policy trains on, or `n_envs` of them.

        `report`: told of those that crash or hang, and are made anew; without it they end the run.
        """
        horizon = None if self.facts.varies or self.facts.continuing else self.facts.horizon
        filmed = self.facts.segment_length if self.people and n_envs is None else None
        n, options = n_envs or self.n_envs, self.config.env_options
        return policy.recorded(self.config.env, n, horizon, filmed, report, self.facts.continuing, **options)

    def model(self, recorder: Recorder) -> Algorithm:
        return policy.build(self.algo, recorder, self.config.hyper, self.config.seed, self.config.device)

    def ensemble(self) -> Ensemble:
        ensemble = Ensemble(**self.spaces(), net=self.net, members=self.config.members)
        return ensemble.to(policy.device(self.config.device))

    def instructions(self) -> dict[str, Any]:
        """What labellers are told: the environment's words, or the run's own question without their hints."""
        return {"question": self.config.question} if self.config.question else self.facts.instructions

    def spaces(self) -> dict[str, Any]:
        """What a reward must know: shapes, how many discrete actions there are, and the deviation of what it pays."""
        acts = self.facts.action_space
        choices = int(acts.n) if isinstance(acts, gym.spaces.Discrete) else None
        shapes = {"obs_shape": self.facts.observation_space.shape, "act_shape": acts.shape or ()}
        return {**shapes, "choices": choices, "std": self.usual.std}


def completed(config: RunConfig, frames: bool) -> RunConfig:
    """The configuration with the names that its observations, frames or vectors, ask for where it has none."""
    chosen = usual(frames)
    names = {name: getattr(config, name) or getattr(chosen, name) for name in ("net", "fit", "schedule")}
    return replace(config, **names)


def find_fit(name: str) -> Fit:
    found: Fit = resolve(name, fit, "fit")
    return found


def find_net(name: str) -> MakeNet:
    """A built-in net, or one of the user's; unlike other components it is a class that takes shapes."""
    if ":" in name:
        found: MakeNet = attribute(name, "net")
        return found
    if name.lower() not in NETS:
        raise unknown("net", name, NETS)
    return NETS[name.lower()]

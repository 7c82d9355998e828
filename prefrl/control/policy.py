"""The policy: Stable-Baselines3's algorithm on the recorded environments, its parameters, its random numbers."""

import json
from collections import deque
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm as Algorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.save_util import load_from_zip_file, recursive_setattr
from stable_baselines3.common.utils import get_device, set_random_seed
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize
from stable_baselines3.sac.policies import SACPolicy

from prefrl.control import environments
from prefrl.control.camera import looker
from prefrl.control.guard import Guarded, Watch
from prefrl.control.replay import relabelled
from prefrl.control.rollout import Cutter
from prefrl.control.tasks import preset
from prefrl.control.vec_env import Recorder
from prefrl.control.vectorised import fast
from prefrl.files import reading, unpack
from prefrl.names import check_arguments
from prefrl.types import Array


def recorded(
    env: str,
    n_envs: int,
    horizon: int | None = None,
    filmed: int | None = None,
    report: Callable[[str], None] | None = None,
    continuing: bool = False,
    **options: Any,
) -> Recorder:
    """`n_envs` of `env` in this process, recorded; `horizon`: the length that every episode must have.

    `filmed`: steps of a segment, if people are to see some. `report`: told of environments that crash or hang, which
    are then made anew. `options`: what each is made with. `continuing`: they hide the ends of their episodes; where
    nobody is to see any, those that bring a faster form for many at once are made in it, in which none is made anew.
    """
    options |= {} if filmed is None else {"render_mode": "rgb_array"}
    plain = partial(environments.make, env, **options)
    if continuing and filmed is None and (venv := fast(env, n_envs, **options)):
        return Recorder(venv, env, horizon, continuing=True)
    if report is None:
        venv, watch = DummyVecEnv([plain] * n_envs), None
    else:
        watch = Watch()
        venv = DummyVecEnv([partial(Guarded, plain, i, watch, report) for i in range(n_envs)])
    look = None if filmed is None else partial(looker, venv.envs, filmed)
    return Recorder(venv, env, horizon, look, watch, continuing)


def build(
    algo: type[Algorithm], recorder: Recorder, hyper: Mapping[str, Any], seed: int, device: str = "cpu"
) -> Algorithm:
    """`algo` with its preset for the recorded environments and `hyper` on top; observations normalised as it says."""
    pixels = is_image_space(recorder.observation_space)
    chosen = preset(algo, recorder.name, pixels)
    venv: VecEnv = recorder
    if chosen.normalize_obs and recorder.observation_space.dtype != np.uint8:
        venv = VecNormalize(recorder, norm_reward=False)
    usual = {"policy": "CnnPolicy" if pixels else "MlpPolicy", "seed": seed, "device": device}
    settings: dict[str, Any] = {**usual, **chosen.hyper, **hyper}
    usual_kwargs, kwargs = dict(chosen.hyper.get("policy_kwargs", {})), hyper.get("policy_kwargs", {})
    if "features_extractor_class" in kwargs:
        usual_kwargs.pop("normalize_images", None)  # our extractor scales frames itself
    settings["policy_kwargs"] = {**usual_kwargs, **kwargs}
    check_arguments(algo, settings)
    check_device(str(settings["device"]))
    try:
        model = algo(env=venv, **deepcopy(settings))  # SB3 writes into policy_kwargs
    except (TypeError, AssertionError) as error:
        raise ValueError(f"{algo.__name__} does not take these settings: {error}") from error
    if isinstance(model, OffPolicyAlgorithm):
        relabelled(model)  # refuses a buffer that could not be, before anything is written
    return model


def device(name: str) -> torch.device:
    """What SB3 makes of `cpu`, `cuda` or `auto`. Raises ValueError for no device, and for a GPU that is not there."""
    check_device(name)
    return get_device(name)


def check_device(name: str) -> None:
    """Raises ValueError for no device, and for a GPU that is not there: SB3 would take the processor without a word."""
    try:
        torch.device("cpu" if name == "auto" else name)
    except RuntimeError:
        raise ValueError(f"no device {name!r}: choose cpu, cuda, cuda:1 or auto") from None
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"PyTorch finds no GPU for --device {name}: choose cpu, or auto, which takes one if it can")


def act_untrained(model: Algorithm, steps: int) -> None:
    """Takes at least `steps` steps with the policy as it is; nothing is learned from them.

    They count as steps of the run. An algorithm that begins with random actions does so after them.
    """
    venv = model.get_env()
    assert venv is not None
    obs = venv.reset()
    if hasattr(model, "exploration_initial_eps"):
        vars(model)["exploration_rate"] = (
            model.exploration_initial_eps
        )  # before training, DQN explores as it will at first
    while model.num_timesteps < steps:
        acts, _ = model.predict(obs)  # type: ignore[arg-type]
        obs, _, _, _ = venv.step(acts)
        model.num_timesteps += venv.num_envs
    if isinstance(model, OffPolicyAlgorithm):
        model.learning_starts += model.num_timesteps


def restart(model: Algorithm, cutter: Cutter, seed: int) -> None:
    """Resets environments and seeds every random number from `seed` and the steps taken.

    Done before training and after every checkpoint, so that a run that goes on from one repeats the run that was
    not interrupted: the state of simulators and generators need not be kept.
    """
    venv = model.get_env()
    assert venv is not None
    drawn = reseed(model, seed)
    venv.seed(drawn)
    cutter.restart(drawn)
    model._last_obs = venv.reset()  # type: ignore[assignment]
    model._last_episode_starts = np.ones(venv.num_envs, dtype=bool)
    if isinstance(venv, VecNormalize):
        model._last_original_obs = venv.get_original_obs()


def reseed(model: Algorithm, seed: int) -> int:
    """Seeds what `model` draws from `seed` and the steps taken; the drawn seed.

    Done again when a rollout has begun, because SB3 draws exploration noise before it says so.
    """
    drawn = int(np.random.SeedSequence([seed, model.num_timesteps]).generate_state(1)[0])
    set_random_seed(drawn)
    model.action_space.seed(drawn)
    noise = getattr(model, "action_noise", None)
    if noise is not None:
        noise.reset()
    if model.use_sde and isinstance(model.policy, ActorCriticPolicy | SACPolicy):
        model.policy.reset_noise(model.n_envs)
    return drawn


def save(model: Algorithm, folder: Path) -> None:
    """policy.zip (SB3's own format), counters.json, and the moments of observations, if there are any."""
    model.save(folder / "policy.zip", exclude=_UNSAVED)
    counters = {name: getattr(model, name) for name in _counters(model)}
    episodes = [{key: float(value) for key, value in ep.items()} for ep in model.ep_info_buffer or ()]
    (folder / "counters.json").write_text(
        json.dumps(counters | {"episodes": episodes, "successes": [*map(float, model.ep_success_buffer or ())]})
    )
    venv = model.get_env()
    if isinstance(venv, VecNormalize):
        moments = _moments(venv)
        np.savez(folder / "obs_moments.npz", mean=moments.mean, var=moments.var, count=moments.count)


def load(model: Algorithm, folder: Path) -> None:
    """Takes over what `save` wrote; runs no code of the files'."""
    load_parameters(model, folder / "policy.zip")
    with reading(file := folder / "counters.json"):
        counters = json.loads(file.read_text())
        episodes = [{key: float(value) for key, value in ep.items()} for ep in counters["episodes"]]
        successes = [float(value) for value in counters["successes"]]
        for name, kind in _counters(model).items():
            setattr(model, name, kind(counters[name]))
    model.ep_info_buffer = deque(episodes, maxlen=model._stats_window_size)
    model.ep_success_buffer = deque(successes, maxlen=model._stats_window_size)
    venv = model.get_env()
    if isinstance(venv, VecNormalize):
        with reading(file := folder / "obs_moments.npz"):
            saved, moments = unpack(file), _moments(venv)
            moments.mean, moments.var, moments.count = saved["mean"], saved["var"], float(saved["count"])


def load_parameters(model: Algorithm, file: Path) -> None:
    """Networks, optimizers and single variables of SB3's zip; its pickled settings are left alone."""
    with reading(file):
        _, parameters, variables = load_from_zip_file(file, device=model.device, load_data=False)
        model.set_parameters(parameters, device=model.device)
        for name, value in (variables or {}).items():
            recursive_setattr(model, f"{name}.data", value.data)


def _counters(model: Algorithm) -> dict[str, Callable[[Any], float]]:
    """What `model` counts, and the type of it."""
    return {name: kind for name, kind in _COUNTERS.items() if hasattr(model, name)}


def _moments(venv: VecNormalize) -> RunningMeanStd:
    return cast(RunningMeanStd, venv.obs_rms)  # a dictionary only for observations that are one


def actor(model: Algorithm, greedy: bool, seed: int) -> Callable[[Any], Array]:
    """Observations as environments give them -> the likeliest actions, or actions as likely as the policy says.

    In games the likeliest may repeat themselves for ever.
    """
    set_random_seed(seed)
    venv = model.get_env()
    normalise = venv.normalize_obs if isinstance(venv, VecNormalize) else lambda obs: obs
    return lambda obs: model.predict(normalise(obs), deterministic=greedy)[0]


__all__ = ["Algorithm", "act_untrained", "actor", "build", "device", "load", "recorded", "reseed", "restart", "save"]

_COUNTERS: Mapping[str, Callable[[Any], float]] = {
    "num_timesteps": int,
    "_n_updates": int,
    "_episode_num": int,
    "learning_starts": int,
    "_n_calls": int,  # of DQN, as the next
    "exploration_rate": float,
}
_UNSAVED = ("rollout_buffer_kwargs", "replay_buffer_kwargs", "ep_info_buffer", "ep_success_buffer")

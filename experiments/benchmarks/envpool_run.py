"""Random steps of Atari games per second, in an environment that has EnvPool instead of prefrl.

Imports no more than Python and NumPy before it is told to play: `atari_envs` measures with `speed` too, and starts the
rest in a process of its own, whose last line it reads.
"""

import argparse
import json
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np

WARM = 20
"""Steps of each environment that are not measured."""


def speed(step: Callable[[Any], object], choices: int, n_envs: int, steps: int) -> float:
    """Steps per second of all environments together, of `steps` random ones; `step` takes actions (n_envs,)."""
    acts = np.random.default_rng(0).integers(choices, size=(WARM + steps // n_envs, n_envs))
    for row in acts[:WARM]:
        step(row)
    began = time.perf_counter()
    for row in acts[WARM:]:
        step(row)
    return float(acts[WARM:].size / (time.perf_counter() - began))


def play(game: str, n_envs: int, threads: int, steps: int) -> dict[str, Any]:
    """What `AtariVector` does with a game, as far as EnvPool can be told: no score is hidden, no episode's end."""
    import envpool

    envs = envpool.make_gymnasium(
        f"{game}-v5",
        num_envs=n_envs,
        num_threads=threads,
        max_episode_steps=27_000,
        noop_max=30,
        episodic_life=False,
        reward_clip=False,
        use_fire_reset=False,
    )
    envs.reset()
    found = speed(envs.step, int(envs.action_space.n), n_envs, steps)
    return {"version": metadata.version("envpool"), "speed": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("game")
    for number in ("n-envs", "threads", "steps"):
        parser.add_argument(f"--{number}", type=int, required=True)
    print(json.dumps(play(**vars(parser.parse_args()))))


if __name__ == "__main__":
    main()

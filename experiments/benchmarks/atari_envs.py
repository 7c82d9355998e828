"""Steps per second of Atari games, 16 at once, under random actions; nothing is learned.

ours      AtariVector as it is, and as training sees it: through Vectorised, whose rows are Stable-Baselines3's
single    Atari, one by one in a DummyVecEnv: what people who label are shown
ale       ale-py's AtariVectorEnv, which AtariVector masks and hides the ends of
SB3       make_atari_env and VecFrameStack, in one process and in a process each
EnvPool   in a virtual environment of its own (made if missing), without hiding score or ends
"""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import ale_py
import gymnasium as gym
from ale_py.vector_env import AtariVectorEnv
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.env_util import make_atari_env
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecFrameStack

from experiments.benchmarks.envpool_run import speed
from experiments.benchmarks.measure import Row, arguments, installed, interleaved, publish, ratios, table
from prefrl.control.vectorised import fast
from prefrl_envs.games import GAMES

ENVPOOL = ("envpool==1.2.5", "gymnasium==1.4.0", "numpy==2.4.6")
Speed = Callable[[], float]


def ours(game: str, n_envs: int, steps: int, threads: int) -> float:
    """AtariVector as it is."""
    name = f"prefrl/{game}-v0"
    with closing(gym.make_vec(name, n_envs, vectorization_mode="vector_entry_point", num_threads=threads)) as envs:
        return _speed(envs, envs.single_action_space, n_envs, steps)


def ours_trained_on(game: str, n_envs: int, steps: int) -> float:
    """AtariVector as training sees it."""
    venv = fast(f"prefrl/{game}-v0", n_envs)
    assert venv
    return stable_baselines(venv, steps)


def one_by_one(game: str, n_envs: int, steps: int) -> float:
    make = partial(gym.make, f"prefrl/{game}-v0", disable_env_checker=True)
    return stable_baselines(DummyVecEnv([make] * n_envs), steps)


def ale(game: str, n_envs: int, steps: int, threads: int) -> float:
    """With AtariVector's settings."""
    envs = AtariVectorEnv(
        GAMES[game].rom,
        n_envs,
        num_threads=threads,
        autoreset_mode=AutoresetMode.SAME_STEP,
        reward_clipping=False,
        use_fire_reset=False,
    )
    with closing(envs):
        return _speed(envs, envs.single_action_space, n_envs, steps)


def theirs(game: str, n_envs: int, steps: int, processes: type[DummyVecEnv | SubprocVecEnv]) -> float:
    """Stable-Baselines3's wrappers, in which only the end of a game ends an episode."""
    return stable_baselines(VecFrameStack(wrapped(game, n_envs, processes), 4), steps)


def wrapped(game: str, n_envs: int, processes: type[DummyVecEnv | SubprocVecEnv], **wrappers: Any) -> VecEnv:
    """Stable-Baselines3's Atari environments, without the stack."""
    gym.register_envs(ale_py)
    return make_atari_env(
        f"{game}NoFrameskip-v4",
        n_envs,
        vec_env_cls=processes,
        wrapper_kwargs={"terminal_on_life_loss": False, **wrappers},
    )


def stable_baselines(venv: VecEnv, steps: int) -> float:
    with closing(venv):
        return _speed(venv, venv.action_space, venv.num_envs, steps)


def _speed(envs: Any, actions: Any, n_envs: int, steps: int) -> float:
    envs.reset()
    return speed(envs.step, int(actions.n), n_envs, steps)


def envpool(python: Path, game: str, n_envs: int, steps: int, threads: int) -> float:
    numbers = {"n-envs": n_envs, "steps": steps, "threads": threads}
    flags = [part for name, value in numbers.items() for part in (f"--{name}", str(value))]
    script = [str(python), "-m", "experiments.benchmarks.envpool_run", game, *flags]
    done = subprocess.run(script, check=True, stdout=subprocess.PIPE, text=True)
    return float(json.loads(done.stdout.splitlines()[-1])["speed"])


def measured(game: str, n_envs: int, steps: int, python: Path | None) -> Mapping[str, Speed]:
    """What is measured, by name; EnvPool if there is a Python that has it."""
    played: dict[str, Any] = {"game": game, "n_envs": n_envs, "steps": steps}
    runs: dict[str, Speed] = {f"ours, {_threads(n)}": partial(ours, **played, threads=n) for n in (1, 2)}
    runs["ours, as trained on"] = partial(ours_trained_on, **played)
    runs |= {f"ale-py, {_threads(n)}": partial(ale, **played, threads=n) for n in (1, 2)}
    runs["ours, one by one"] = partial(one_by_one, **played)
    runs["SB3, one process"] = partial(theirs, **played, processes=DummyVecEnv)
    runs["SB3, a process each"] = partial(theirs, **played, processes=SubprocVecEnv)
    if python:
        runs |= {f"EnvPool, {_threads(n)}": partial(envpool, python, **played, threads=n) for n in (1, 2)}
    return runs


def _threads(n: int) -> str:
    return "one thread" if n == 1 else f"{n} threads"


PAIRS = (
    ("ours, one thread", "ale-py, one thread"),
    ("ours, 2 threads", "ale-py, 2 threads"),
    ("ours, as trained on", "SB3, one process"),
    ("ours, as trained on", "SB3, a process each"),
    ("ours, one by one", "SB3, one process"),
    ("ours, one thread", "EnvPool, one thread"),
    ("ours, 2 threads", "EnvPool, 2 threads"),
)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--game", default="Pong", choices=GAMES)
    parser.add_argument("--n-envs", type=int, default=16)
    parser.add_argument("--steps", type=int, default=20_000, help="of all environments together")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--venv", type=Path, default=Path(".venv-envpool"), help="where EnvPool is, or will be")
    given = parser.parse_args()
    try:
        python, peer = installed(given.venv, ENVPOOL), f"EnvPool ran with {', '.join(ENVPOOL)}."
    except subprocess.CalledProcessError as error:
        print(f"without EnvPool: {error}", file=sys.stderr)
        python, peer = None, f"EnvPool is missing: {', '.join(ENVPOOL)} could not be installed."
    runs = measured(given.game, given.n_envs, given.steps, python)
    found = interleaved(runs, given.repeats)
    rows = [Row(f"{name}, steps/s", speeds, format=",.0f") for name, speeds in found.items()]
    rows += [Row(f"{a} / {b}", ratios(found[a], found[b])) for a, b in PAIRS if a in found and b in found]
    title = f"# Speed of Atari\n\n{given.game}, {given.n_envs} games at once, {given.steps:,} random steps of all.\n\n"
    told = f"\n\nale-py {metadata.version('ale-py')}, OpenCV {metadata.version('opencv-python-headless')}. {peer}"
    numbers = {"game": given.game, "n_envs": given.n_envs, "steps": given.steps, "speeds": found}
    publish(given.out, "atari_envs", title + table(rows) + told, numbers)


if __name__ == "__main__":
    main()

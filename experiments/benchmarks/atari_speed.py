"""Steps per second of A2C on an Atari game: paid by a reward that is learned beside it, and Stable-Baselines3's own.

beside     a preference run, policy, questions and reward in a process each
lockstep   the same in one process, at several rates of comparisons fitted per step
true       the same on the game's clipped score
plain      Stable-Baselines3's A2C on its own Atari environments, in RL Zoo's settings; of prefrl nothing

Runs are measured from the end of their first turn to that of the last but one: neither the untrained policy, the first
fit, nor the wait for the last answers is part of what a long run does all the time.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from statistics import median
from threading import Event, Thread
from typing import NamedTuple

from safetensors import safe_open
from stable_baselines3 import A2C
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack

from experiments.benchmarks.atari_envs import wrapped
from experiments.benchmarks.measure import Row, arguments, interleaved, publish, ratios, scratch, table
from prefrl import live
from prefrl.reward.fit import Frames
from prefrl.runs import RunConfig, RunFolder
from prefrl.train import train
from prefrl_envs.games import GAMES

LOOK = 0.05
"""Seconds between looks at a run's metrics."""
Speeds = dict[str, float]
"""Steps per second; beside them, comparisons fitted in a second of fitting, and their share of those due."""


class Seen(NamedTuple):
    """What a run had done when it logged."""

    at: float
    step: float
    trained: float
    """The step for which everything due had been fitted, by the learner of its own process."""
    seconds: float
    """That learner's, so far."""


def run(game: str, steps: int, turns: int, labels: int, rate: float, asynchronous: bool, reward: str) -> Speeds:
    config = RunConfig(
        f"prefrl/{game}-v0",
        algo="a2c",
        total_timesteps=steps,
        turns=turns,
        labels=labels,
        reward=reward,
        asynchronous=asynchronous,
        fit=f"frames(rate={rate})",
        eval_episodes=1,
    )
    seen: list[Seen] = []
    done = Event()
    with scratch() as folder:
        watcher = Thread(target=_watch, args=(RunFolder(Path(folder) / "run"), seen, done))
        watcher.start()
        try:
            train(config, Path(folder) / "run")
        finally:
            done.set()
            watcher.join()
    first, last = (next(each for each in seen if each.step >= turn * steps / turns) for turn in (1, turns - 1))
    found = {"steps/s": (last.step - first.step) / (last.at - first.at)}
    if asynchronous and last.trained > first.trained:
        fitted = last.trained - first.trained  # in steps whose comparisons were fitted
        found["comparisons/s"] = rate * fitted / (last.seconds - first.seconds)
        found["of those due"] = fitted / (last.step - first.step)
    return found


def _watch(folder: RunFolder, seen: list[Seen], done: Event) -> None:
    """Notes every line of metrics when it is written."""
    while not done.wait(LOOK):
        for line in folder.read_metrics()[len(seen) :]:
            learner = live.read(folder.path, "learner")
            state = folder.path / live.FOLDER / "learner.safetensors"
            trained = _trained(state) if state.exists() else 0.0
            seen.append(Seen(time.perf_counter(), line["time/total_timesteps"], trained, learner.get("seconds", 0.0)))


def _trained(state: Path) -> float:
    with safe_open(state, "pt") as file:
        return float(file.get_tensor("trained"))


def plain(game: str, steps: int) -> Speeds:
    venv = VecFrameStack(wrapped(game, 16, DummyVecEnv, terminal_on_life_loss=True), 4)
    kwargs = {"optimizer_class": RMSpropTFLike, "optimizer_kwargs": {"eps": 1e-5}}
    model = A2C("CnnPolicy", venv, ent_coef=0.01, vf_coef=0.25, policy_kwargs=kwargs, seed=0, device="cpu")
    began = time.perf_counter()
    model.learn(steps)
    return {"steps/s": model.num_timesteps / (time.perf_counter() - began)}


def rows(found: dict[str, list[Speeds]]) -> list[Row]:
    speeds = {name: [each["steps/s"] for each in repeats] for name, repeats in found.items()}
    others = [name for name in speeds if name != "plain"]
    told = [Row(f"{name}, steps/s", values, format=",.0f") for name, values in speeds.items()]
    told += [Row(f"{name} / plain", ratios(speeds[name], speeds["plain"]), format=".3f") for name in others]
    told.append(Row("beside / true", ratios(speeds["beside"], speeds["true"]), format=".3f"))
    if all("comparisons/s" in each for each in found["beside"]):
        fitted, share = ([each[name] for each in found["beside"]] for name in ("comparisons/s", "of those due"))
        told.append(Row("beside: comparisons fitted in a second of fitting", fitted, format=".1f"))
        told.append(Row("beside: comparisons fitted, of those due", share, format=".0%"))
    return told


def measured(
    game: str, steps: int, turns: int, labels: int, rate: float, rates: Sequence[float]
) -> dict[str, Callable[[], Speeds]]:
    """What is measured, by name."""
    of = partial(run, game, steps, turns, labels)
    runs: dict[str, Callable[[], Speeds]] = {"beside": partial(of, rate, True, "learned")}
    runs |= {f"lockstep, {each:g} a step": partial(of, each, False, "learned") for each in rates}
    runs["true"] = partial(of, rate, False, "true")
    return runs | {"plain": partial(plain, game, steps)}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--game", default="Pong", choices=GAMES)
    parser.add_argument("--steps", type=int, default=40_000)
    parser.add_argument("--turns", type=int, default=4, help="3 or more: two are not measured")
    parser.add_argument("--labels", type=int, default=220)
    parser.add_argument("--rate", type=float, default=Frames().rate, help="beside: comparisons fitted per step")
    parser.add_argument("--rates", type=float, nargs="*", default=[0.1, 0.02, 0.005], help="the same in lockstep")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    if given.turns < 3:
        parser.error("give 3 turns or more")
    runs = measured(given.game, given.steps, given.turns, given.labels, given.rate, given.rates)
    found = interleaved(runs, given.repeats)
    beside = median(each["steps/s"] for each in found["beside"])
    title = (
        f"# Speed of learning an Atari game\n\n{given.game}, A2C, 16 games at once, {given.steps:,} steps, "
        f"{given.labels} labels; beside at {given.rate:g} comparisons a step, which are "
        f"{given.rate * beside:.1f} a second. A turn, which asks and normalises, comes "
        f"every {given.steps // given.turns:,} steps.\n\n"
    )
    told = f"\n\nale-py {metadata.version('ale-py')}, OpenCV {metadata.version('opencv-python-headless')}."
    numbers = {"steps": given.steps, "turns": given.turns, "labels": given.labels, "rate": given.rate, "speeds": found}
    publish(given.out, "atari_speed", title + table(rows(found)) + told, numbers)


if __name__ == "__main__":
    main()

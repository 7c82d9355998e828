"""PPO's preset against Stable-Baselines3's default settings, on the true reward.

How long the preset takes to the return that the defaults have reached after all their steps (their mean over the last
10 %), over how long the defaults take for those steps. The preset runs as `prefrl train --reward true` does, all of it.
"""

import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, as_completed
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import gymnasium as gym
import numpy as np
from matplotlib.figure import Figure
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback

import prefrl_envs  # noqa: F401  registers the environments
from experiments.benchmarks.measure import arguments, keep, markdown, publish, scratch, workers
from prefrl.runs import RunConfig
from prefrl.train import train

ENVS = ("prefrl/HalfCheetah-v0", "prefrl/Hopper-v0")
WINDOW = 20
"""Episodes over which a running return is averaged."""
Curve = list[tuple[float, int, float]]
"""(seconds since the start, steps, true return) at the end of every episode."""


class Episodes(BaseCallback):
    def __init__(self) -> None:
        super().__init__()
        self.curve: Curve = []
        self.began = time.perf_counter()

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if "episode" in info:
                seconds, total = time.perf_counter() - self.began, float(info["episode"]["r"])
                self.curve.append((round(seconds, 2), self.num_timesteps, round(total, 1)))
        return True


def defaults(env: str, seed: int, steps: int) -> Curve:
    episodes = Episodes()
    PPO("MlpPolicy", gym.make(env, disable_env_checker=True), seed=seed, device="cpu").learn(steps, episodes)
    return episodes.curve


def ours(env: str, seed: int, steps: int) -> Curve:
    episodes = Episodes()

    class Watched(PPO):
        def learn(self, *args: Any, **options: Any) -> "Watched":
            steps, callbacks = args
            return super().learn(steps, [*callbacks, episodes], **options)

    with scratch() as folder:
        train(RunConfig(env, total_timesteps=steps, reward="true", seed=seed), Path(folder) / "run", algo=Watched)
    return episodes.curve


SIDES = {"defaults": defaults, "preset": ours}


def measured(out: Path, steps: int, seeds: int, jobs: int) -> dict[str, Curve]:
    """The curve of every run, by its name; those that an earlier call has finished are taken from the results."""
    file = out / "presets.json"
    curves: dict[str, Curve] = json.loads(file.read_text())["curves"] if file.exists() else {}
    with workers(jobs) as pool:
        running: dict[Future[Curve], str] = {
            pool.submit(SIDES[side], env, seed, steps): name(env, seed, side, steps)
            for env, seed, side in product(ENVS, range(seeds), SIDES)
            if name(env, seed, side, steps) not in curves
        }
        for done in as_completed(running):
            curves[running[done]] = done.result()
            keep(out, "presets", {"curves": curves})
            print(f"{running[done]}: {done.result()[-1][0]:.0f} s", file=sys.stderr)
    return curves


def name(env: str, seed: int, side: str, steps: int) -> str:
    return f"{env} {side} seed {seed} {steps} steps"


def final(curve: Curve, steps: int) -> float:
    return fmean(total for _, at, total in curve if at > 0.9 * steps)


def running(curve: Curve) -> Iterator[tuple[float, float]]:
    """(seconds, mean return of the last episodes)."""
    for i in range(WINDOW, len(curve) + 1):
        yield curve[i - 1][0], fmean(total for _, _, total in curve[i - WINDOW : i])


def first(curve: Curve, goal: float) -> float:
    """Seconds until the running return is at least `goal`; infinite if it never is."""
    return next((seconds for seconds, mean in running(curve) if mean >= goal), float("inf"))


def lines(curves: dict[str, Curve], env: str, steps: int, seeds: int) -> Iterator[list[str]]:
    of = {side: [curves[name(env, seed, side, steps)] for seed in range(seeds)] for side in SIDES}
    goals = [final(curve, steps) for curve in of["defaults"]]
    for what, goal in [("mean", fmean(goals)), ("best", max(goals))]:
        pairs = [(first(ours, goal), theirs[-1][0]) for ours, theirs in zip(of["preset"], of["defaults"], strict=True)]
        found = [f"{reached:.0f} / {whole:.0f} = {reached / whole:.2f}" for reached, whole in pairs]
        mean = fmean(reached for reached, _ in pairs) / fmean(whole for _, whole in pairs)
        yield [env, f"{goal:,.0f}, their {what}", *found, f"{mean:.2f}"]


def draw(curves: dict[str, Curve], steps: int, seeds: int, out: Path) -> None:
    figure = Figure((10, 4), layout="constrained")
    colours = {"defaults": "#D55E00", "preset": "#0072B2"}
    for axes, env in zip(figure.subplots(1, len(ENVS)), ENVS, strict=True):
        for side, seed in product(SIDES, range(seeds)):
            seconds, means = np.reshape([*running(curves[name(env, seed, side, steps)])], (-1, 2)).T
            axes.plot(seconds, means, colours[side], linewidth=1, label=side if seed == 0 else None)
        axes.set(title=f"{env}, {steps:,} steps", xlabel="seconds", ylabel="true return")
        axes.legend()
    figure.savefig(out, dpi=150)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side")
    given = parser.parse_args()
    curves = measured(given.out, given.steps, given.seeds, given.jobs)
    head = ["", "return that the defaults reach", *(f"seed {seed}" for seed in range(given.seeds)), "mean"]
    text = (
        f"# PPO's preset against Stable-Baselines3's defaults\n\nSeconds of the preset to the return that the defaults "
        f"have in the last 10 % of {given.steps:,} steps, over the seconds of the defaults: at most 0.50.\n\n"
        f"{markdown(head, [line for env in ENVS for line in lines(curves, env, given.steps, given.seeds)])}"
        "\n\n![](presets.png)"
    )
    publish(given.out, "presets", text, {"curves": curves})
    draw(curves, given.steps, given.seeds, given.out / "presets.png")


if __name__ == "__main__":
    main()

"""What learning from preferences costs: the preference run, the same run on the true reward, and plain PPO.

a  prefrl.train with 700 labels: store, checkpoints, logs and final evaluation included
b  the same with reward="true", the baseline
c  Stable-Baselines3's PPO(...).learn(...) with the same settings; of prefrl only the environment
"""

import time
from functools import partial
from pathlib import Path

import gymnasium as gym
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import prefrl_envs  # noqa: F401  registers the environment
from experiments.benchmarks.measure import Row, arguments, interleaved, publish, ratios, scratch, table
from prefrl.control.tasks import preset
from prefrl.runs import RunConfig
from prefrl.train import train

ENV = "prefrl/HalfCheetah-v0"
Speeds = dict[str, float]
"""Steps per second: `whole`, and `policy`, without the time for queries, labels and refits."""


def run(reward: str, steps: int) -> Speeds:
    config = RunConfig(ENV, total_timesteps=steps, labels=700, reward=reward)
    with scratch() as folder:
        began = time.perf_counter()
        summary = train(config, Path(folder) / "run").summary
        seconds = time.perf_counter() - began
    assert summary
    return {"whole": summary["steps"] / seconds, "policy": summary["steps"] / summary["policy_seconds"]}


def plain(steps: int) -> Speeds:
    settings = preset(PPO, ENV)
    began = time.perf_counter()
    venv = DummyVecEnv([lambda: gym.make(ENV, disable_env_checker=True)] * settings.n_envs)
    model = PPO("MlpPolicy", VecNormalize(venv, norm_reward=False), seed=0, device="cpu", **settings.hyper)
    model.learn(steps)
    speed = model.num_timesteps / (time.perf_counter() - began)
    return {"whole": speed, "policy": speed}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    found = interleaved(
        {
            "a": partial(run, "learned", given.steps),
            "b": partial(run, "true", given.steps),
            "c": partial(plain, given.steps),
        },
        given.repeats,
    )
    a, b, c = ([speeds["whole"] for speeds in found[name]] for name in "abc")
    a_policy, b_policy = ([speeds["policy"] for speeds in found[name]] for name in "ab")
    rows = [
        Row("a: preference run, steps/s", a, format=",.0f"),
        Row("b: the same on the true reward, steps/s", b, format=",.0f"),
        Row("c: plain PPO, steps/s", c, format=",.0f"),
        Row("a / b: with labels over without", ratios(a, b), "at least 0.75", ".3f"),
        Row("a / b, policy phase alone", ratios(a_policy, b_policy), "at least 0.95", ".3f"),
        Row("b / c: the baseline over plain PPO", ratios(b, c), "at least 0.98", ".3f"),
    ]
    title = f"# Speed of the whole run\n\n{ENV}, PPO's preset, {given.steps:,} steps, 700 labels.\n\n"
    publish(given.out, "loop_speed", title + table(rows), {"steps": given.steps, "speeds": found})


if __name__ == "__main__":
    main()

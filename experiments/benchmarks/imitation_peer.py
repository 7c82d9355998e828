"""The same work in imitation 1.0.1 and in prefrl: HalfCheetah from 700 comparisons of 50-step segments, three nets.

imitation runs with the defaults of its command line, in a virtual environment of its own (made if missing). prefrl runs
with its own settings; with imitation's epochs: every comparison seen as often, in batches as large, asked for as early;
with imitation's PPO, which is SB3's by default on 8 environments; and with both.
prefrl's time includes its store, checkpoints, logs and final evaluation. imitation trains more steps than it is asked
for (a fifth, with its 5 iterations), and samples segments apart from training: speed is in steps that a policy was
really trained on.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from stable_baselines3 import PPO
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv

from experiments.benchmarks.measure import arguments, installed, markdown, publish, scratch, workers
from experiments.benchmarks.phases import Phases
from prefrl.control import policy
from prefrl.loop import Learner
from prefrl.runs import RunConfig
from prefrl.store import Store
from prefrl.train import train

PEER = (
    "imitation==1.0.1",
    "stable-baselines3==2.2.1",
    "gymnasium[mujoco]==0.29.1",
    "torch==2.13.0",
    "numpy<2",  # binary packages of that time
    "setuptools<81",  # later ones have no pkg_resources, which sacred imports
)
LABELS, SEGMENT_LENGTH, MEMBERS, N_ENVS, ITERATIONS = 700, 50, 3, 8, 5
THEIR_PPO: dict[str, Any] = {
    "n_envs": N_ENVS,
    "hyper": {"n_steps": 2048 // N_ENVS, "batch_size": 64, "n_epochs": 10, "learning_rate": 3e-4, "policy_kwargs": {}},
}
THEIR_FIT: dict[str, Any] = {
    "turns": ITERATIONS,
    "fit": "fit(first_passes=600, passes=3, batch=32)",  # 3 epochs, 200 times as many on the first comparisons
}
OURS: dict[str, dict[str, Any]] = {
    "prefrl, imitation's PPO and epochs": THEIR_PPO | THEIR_FIT,
    "prefrl, imitation's PPO": THEIR_PPO,
    "prefrl, imitation's epochs": THEIR_FIT,
    "prefrl": {},
}
PHASES = ("sampling segments", "asking", "fitting", "collecting", "updating", "evaluating", "rest")
Run = dict[str, Any]
"""Seconds and environment steps by phase."""


@dataclass(frozen=True)
class AsEarly:
    """The schedule by which a run had so many comparisons at each of its fits."""

    learned: tuple[int, ...]

    def __call__(self, progress: float) -> float:
        return self.learned[int(progress * (len(self.learned) - 1))] / self.learned[-1]


def imitation(python: Path, steps: int) -> Run:
    numbers = {"steps": steps, "labels": LABELS, "segment-length": SEGMENT_LENGTH, "members": MEMBERS, "n-envs": N_ENVS}
    flags = [part for name, value in numbers.items() for part in (f"--{name}", str(value))]
    script = [str(python), "-m", "experiments.benchmarks.imitation_run", "HalfCheetah-v4", *flags]
    done = subprocess.run(script, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    run: Run = json.loads(done.stdout.splitlines()[-1])  # what imitation logs comes before
    return run


def prefrl(steps: int, settings: dict[str, Any], learned: tuple[int, ...]) -> Run:
    config = RunConfig(
        "prefrl/HalfCheetah-v0",
        total_timesteps=steps,
        labels=LABELS,
        segment_length=SEGMENT_LENGTH,
        members=MEMBERS,
        **settings,
    )
    objects: dict[str, Any] = {"schedule": AsEarly(learned)} if "fit" in settings else {}
    phases = Phases()
    phases.count(DummyVecEnv)
    phases.watch("sampling segments", policy, "act_untrained")
    phases.watch("asking", Learner, "ask")
    phases.watch("asking", Store, "answer", "segment")
    phases.watch("fitting", Learner, "learn")
    phases.watch("collecting", OnPolicyAlgorithm, "collect_rollouts")
    phases.watch("updating", PPO, "train")
    phases.watch("evaluating", sys.modules[train.__module__], "measure")
    with scratch() as folder:
        train(config, Path(folder) / "run", **objects)
    return {"seconds": phases.finish(), "steps": phases.steps}


def speed(run: Run) -> float:
    return float(run["steps"]["collecting"] / sum(run["seconds"].values()))


def work(runs: dict[str, list[Run]]) -> str:
    head = ["", "seconds", "steps trained", "of all steps", "trained steps/s", "times imitation", "each repeat"]
    lines = []
    for name, repeats in runs.items():
        times = [speed(run) / speed(peer) for run, peer in zip(repeats, runs["imitation"], strict=True)]
        steps = repeats[0]["steps"]
        lines.append(
            [
                name,
                f"{median(sum(run['seconds'].values()) for run in repeats):.1f}",
                f"{steps['collecting']:,}",
                f"{sum(steps.values()):,}",
                f"{median(map(speed, repeats)):,.0f}",
                f"{median(times):.1f}",
                " ".join(f"{ratio:.1f}" for ratio in times),
            ]
        )
    return markdown(head, lines)


def shares(runs: dict[str, list[Run]]) -> str:
    lines = []
    for name, repeats in runs.items():
        seconds = {phase: median(run["seconds"].get(phase, 0.0) for run in repeats) for phase in PHASES}
        lines.append([name, *(f"{100 * seconds[phase] / sum(seconds.values()):.0f} %" for phase in PHASES)])
    return markdown(["", *PHASES], lines)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, default=61_440)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--venv", type=Path, default=Path(".venv-imitation"), help="where imitation is, or will be")
    given = parser.parse_args()
    python = installed(given.venv, PEER)
    runs: dict[str, list[Run]] = {name: [] for name in ("imitation", *OURS)}
    with workers(1) as pool:
        for _ in range(given.repeats):
            peer = imitation(python, given.steps)
            runs["imitation"].append(peer)
            for name, settings in OURS.items():
                runs[name].append(pool.submit(prefrl, given.steps, settings, tuple(peer["learned"])).result())
    text = (
        f"# The same work in imitation\n\nHalfCheetah, {given.steps:,} steps, {LABELS} comparisons of "
        f"{SEGMENT_LENGTH}-step segments, {MEMBERS} nets; seconds and speeds are medians of {given.repeats}. Speed is "
        f"in steps that the policy was trained on; with imitation's epochs at least 5 times its own.\n\n"
        f"{work(runs)}\n\nShare of the time:\n\n{shares(runs)}\n\n"
        f"imitation ran with {', '.join(PEER)}."
    )
    publish(given.out, "imitation_peer", text, {"runs": runs})


if __name__ == "__main__":
    main()

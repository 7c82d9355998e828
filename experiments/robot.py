"""The policy follows who labels, not the environment's reward: a robot with a goal of its own labels over HTTP.

    python -m experiments.robot [--labels 400] [--steps 2000000] [--seeds 1] [--task HalfCheetah ...]

Each run is `prefrl train --oracle human`; the robot asks the labelling page's server for pairs, judges the segments
that the clips show by its goal, and answers. HalfCheetah is to run backwards, against its reward; Hopper is to keep its
torso high, which is only half of it. Runs are kept under runs/robot; table and curves go to experiments/results/robot.
"""

import argparse
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from matplotlib.figure import Figure

from experiments.benchmarks.measure import command, markdown
from prefrl import live
from prefrl.control import policy
from prefrl.parts import Parts
from prefrl.reproduce.records import rounded, write_rows
from prefrl.runs import RunFolder
from prefrl.types import Array

RUNS, RESULTS = Path("runs/robot"), Path("experiments/results/robot")
STEPS, RETURN = "time/total_timesteps", "rollout/ep_rew_mean"
TIE = 0.02
"""Difference of the goals of two segments, of their larger size, below which the robot sees none."""


@dataclass(frozen=True)
class Goal:
    """What a robot likes: more of `value` (T,) in the observations of a segment, (T, *obs)."""

    wish: str
    value: Callable[[Array], Array]


GOALS = {
    "HalfCheetah": Goal("run backwards (m/s)", lambda obs: -obs[..., 8]),
    "Hopper": Goal("keep the torso high (m)", lambda obs: obs[..., 0]),
}


def preference(goal: Goal, left: Array, right: Array) -> float:
    a, b = float(goal.value(left).mean()), float(goal.value(right).mean())
    return 0.5 if abs(a - b) <= TIE * max(abs(a), abs(b)) else float(a > b)


def label(address: str, run: Path, goal: Goal, going_on: Callable[[], bool]) -> None:
    """Answers whatever the page of a run asks, until the run has ended."""
    with RunFolder.open(run).open_store() as store:
        while going_on():
            try:
                found = call(f"{address}/api/next?labeller=robot&n=3")
                for pair in found["pairs"]:
                    [query] = store.queries(after=pair["query"] - 1)[:1]
                    sides = store.segments([query.left, query.right])
                    answer = preference(goal, sides[query.left].obs, sides[query.right].obs)
                    said = {"id": str(uuid4()), "query": query.id, "preference": answer, "labeller": "robot"}
                    call(f"{address}/api/answer", said | {"seconds": 0.1})
            except OSError:  # the page is being begun again, or has ended with the run
                found = {"pairs": []}
            if not found["pairs"]:
                time.sleep(0.1)


def call(url: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as reply:
        return json.load(reply)


@contextmanager
def training(task: str, run: Path, flags: Sequence[str]) -> Iterator["subprocess.Popen[bytes]"]:
    words = ["resume", str(run)] if run.exists() else ["train", "--env", f"prefrl/{task}-v0", *flags, "--out", str(run)]
    trained = subprocess.Popen([sys.executable, "-m", "prefrl.cli", *words, "--no-browser"])
    try:
        yield trained
    finally:
        trained.terminate()
        trained.wait()


def address_of(run: Path, trained: "subprocess.Popen[bytes]") -> str:
    while trained.poll() is None:
        if (run / "config.yaml").exists() and (address := live.read(run, "page").get("address")):
            return str(address)
        time.sleep(0.1)
    raise RuntimeError(f"training ended with exit status {trained.returncode} before its page was served")


def make(task: str, run: Path, flags: Sequence[str]) -> None:
    """One run to its end, going on with what was cut off."""
    if RunFolder(run).summary is None:
        with training(task, run, flags) as trained:
            label(address_of(run, trained), run, GOALS[task], lambda: trained.poll() is None)


def goal_of(run: Path, goal: Goal, steps: int = 1_000, trained: bool = True) -> float:
    """Mean of the goal over an episode of every environment with the run's policy, or with one that learned nothing."""
    folder = RunFolder.open(run)
    parts = Parts.of(folder.config)
    with closing(parts.recorder()) as recorder:
        model = parts.model(recorder)
        if trained:
            policy.load(model, folder.checkpoint())
        recorder.seed(0)
        act, obs = policy.actor(model), recorder.reset()
        values = []
        for _ in range(steps):
            values.append(goal.value(obs))
            obs = recorder.step(act(obs))[0]
    return float(np.mean(values))


def row(task: str, seed: int, run: Path) -> dict[str, Any]:
    summary, goal = RunFolder.open(run).summary, GOALS[task]
    assert summary
    return {
        "task": task,
        "wish": goal.wish,
        "seed": seed,
        "labels": summary["labels"],
        "steps": summary["steps"],
        "goal_untrained": goal_of(run, goal, trained=False),
        "goal": goal_of(run, goal),
        "true_return_untrained": summary["untrained_return"],
        "true_return": summary["eval_return_mean"],
        "minutes": summary["wall_seconds"] / 60,
    }


def plot(runs: Sequence[tuple[str, int, Path]], file: Path) -> None:
    """The true return over the run, which nobody asked for."""
    tasks = list(dict.fromkeys(task for task, _, _ in runs))
    figure = Figure(figsize=(5 * len(tasks), 3.6), layout="constrained")
    for axes, task in zip(np.ravel(figure.subplots(1, len(tasks))), tasks, strict=True):
        for _, seed, run in (found for found in runs if found[0] == task):
            lines = [line for line in RunFolder(run).read_metrics() if RETURN in line]
            steps, returns = (
                [line[name] for line in lines] for name in ("time/total_timesteps", "rollout/ep_rew_mean")
            )
            axes.plot(steps, returns, label=f"seed {seed}")
        axes.set(title=f"{task}: {GOALS[task].wish}", xlabel="environment steps", ylabel="true return, not asked for")
        axes.legend(frameon=False)
    figure.savefig(file, dpi=120)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--task", nargs="+", choices=GOALS, default=list(GOALS))
    asked.add_argument("--labels", type=int, default=400)
    asked.add_argument("--steps", type=int, default=2_000_000)
    asked.add_argument("--seeds", type=int, default=1)
    given = asked.parse_args()
    runs = [(task, seed, RUNS / f"{task}-{seed}") for seed in range(given.seeds) for task in given.task]
    flags = ["--oracle", "human", "--labels", str(given.labels), "--total-timesteps", str(given.steps)]
    for task, seed, run in runs:
        make(task, run, [*flags, "--seed", str(seed)])
    rows = [row(*found) for found in runs]
    RESULTS.mkdir(parents=True, exist_ok=True)
    write_rows([{k: rounded(v) for k, v in found.items()} for found in rows], RESULTS / "runs.csv")
    plot(runs, RESULTS / "curves.png")
    cells = [[f"{value:.2f}" if isinstance(value, float) else str(value) for value in found.values()] for found in rows]
    page = f"# A labeller with a goal of its own\n\n{markdown(list(rows[0]), cells)}\n\nMade by `{command()}`.\n"
    (RESULTS / "table.md").write_text(page)
    print(page)


if __name__ == "__main__":
    main()

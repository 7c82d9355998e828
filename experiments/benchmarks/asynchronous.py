"""What it costs that nobody waits, and what it saves.

never   steps/s of a run whose labeller never answers, once there is a reward to be paid by, over those of the same
        run on the environment's own reward, without queries, clips, page or learner; and over bare PPO's
wall    seconds of a synthetic asynchronous run, over those of the same in lockstep
label   rollouts from a person's answer to the first that is paid by a reward which has learned it
"""

import json
import time
import urllib.request
from functools import partial
from pathlib import Path
from statistics import median
from threading import Thread
from typing import Any
from uuid import uuid4

import numpy as np

from experiments.benchmarks.loop_speed import plain
from experiments.benchmarks.measure import Row, arguments, interleaved, publish, ratios, scratch, table
from prefrl import live
from prefrl.asynchronous import FIRST
from prefrl.runs import RunConfig
from prefrl.train import train
from prefrl.web.options import PageOptions

ENV = "prefrl/HalfCheetah-v0"
ROLLOUT = 16 * 128
"""Steps of PPO's preset between updates."""
QUIET = PageOptions(port=0, open_browser=False)


def unanswered(steps: int) -> dict[str, float]:
    """People's run that nobody labels after the few answers that the first reward takes: steps/s from then to the end.

    Before, the policy does not learn, and is faster.
    """
    with scratch() as folder:
        run = Path(folder) / "run"
        Thread(target=_answer_first, args=(run,), daemon=True).start()
        done = train(RunConfig(ENV, oracle="human", total_timesteps=steps), run, page=QUIET)
        lines = done.read_metrics()
        assert done.summary
        assert done.summary["labels"] == FIRST
    return {"whole": _speed(lines)}


def undisturbed(steps: int) -> dict[str, float]:
    with scratch() as folder:
        return {
            "whole": _speed(
                train(RunConfig(ENV, reward="true", total_timesteps=steps), Path(folder) / "run").read_metrics()
            )
        }


def _speed(lines: list[dict[str, Any]]) -> float:
    """Steps per second between the first and the last line of training."""
    untrained = lines[0]["time/total_timesteps"]
    trained = [(line["time/total_timesteps"], line["time/fps"]) for line in lines if "train/loss" in line]
    (first, began), (last, ended) = ((step, (step - untrained) / fps) for step, fps in (trained[0], trained[-1]))
    return float((last - first) / (ended - began))


def _answer_first(run: Path) -> None:
    for _ in range(FIRST):
        while not (address := live.read(run, "page").get("address")) or not (pairs := _pairs(address)):
            time.sleep(0.1)
        _answer(address, pairs[0]["query"])


def synthetic(asynchronous: bool, steps: int, seed: int) -> dict[str, float]:
    config = RunConfig(ENV, total_timesteps=steps, labels=700, asynchronous=asynchronous, seed=seed)
    with scratch() as folder:
        began = time.perf_counter()
        summary = train(config, Path(folder) / "run").summary
        seconds = time.perf_counter() - began
    assert summary
    return {"seconds": seconds, "return": summary["train_return_mean"], "labels": summary["labels"]}


def delays(steps: int, every: float = 1.0) -> dict[str, Any]:
    """Answers one pair every so many seconds; seconds until the policy's reward has learned it, and of a rollout."""
    with scratch() as folder:
        run, found = Path(folder) / "run", dict[str, Any](seconds=[])
        person = Thread(target=_label, args=(run, every, found["seconds"]), daemon=True)
        person.start()
        done = train(RunConfig(ENV, oracle="human", total_timesteps=steps), run, page=QUIET)
        lines = [line for line in done.read_metrics() if "train/loss" in line]
        found["rollout"] = ROLLOUT / float(np.median([line["time/fps"] for line in lines]))
        assert done.summary
        found["labels"] = done.summary["labels"]
    return found


def _label(run: Path, every: float, seconds: list[float]) -> None:
    while True:
        try:
            address = live.read(run, "page")["address"]
            pairs = _pairs(address)
            if pairs and (waited := _until_learned(run, _answer(address, pairs[0]["query"]))) is not None:
                seconds.append(waited)
        except (OSError, KeyError):  # the page is not there yet, or has ended with the run
            pass
        time.sleep(every if seconds else 0.1)  # the first fit takes some answers


def _pairs(address: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _call(f"{address}/api/next?labeller=clock&n=1")["pairs"]
    return found


def _answer(address: str, query: int) -> float:
    body = {"id": str(uuid4()), "query": query, "preference": query % 2, "labeller": "clock", "seconds": 1.0}
    _call(f"{address}/api/answer", body)
    return time.perf_counter()


def _until_learned(run: Path, answered: float) -> float | None:
    """None before the first fit. Answers come one by one, so the next version has learned this one."""
    before = live.read(run, "policy").get("version", 0)
    while before and time.perf_counter() - answered < 20:
        if live.read(run, "policy").get("version", 0) > before:
            return time.perf_counter() - answered
        time.sleep(0.005)
    return None


def _call(url: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, {"Content-Type": "application/json"})) as reply:
        return json.load(reply)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3, help="the seeds of the synthetic runs too")
    given = parser.parse_args()
    seeds = range(given.repeats)
    runs = {name: partial(run, given.steps) for name, run in ALONE.items()}
    for seed in seeds:
        runs |= {f"{name} {seed}": partial(synthetic, name == "asynchronous", given.steps, seed) for name in DRIVERS}
    speeds = interleaved({name: runs.pop(name) for name in ALONE}, given.repeats)
    pairs = interleaved(runs, 1)
    delay = interleaved({"label": partial(delays, given.steps)}, 1)["label"][0]
    never, alone, bare = ([speed["whole"] for speed in speeds[name]] for name in ALONE)
    seconds = {name: [pairs[f"{name} {seed}"][0]["seconds"] for seed in seeds] for name in DRIVERS}
    returns = {name: [pairs[f"{name} {seed}"][0]["return"] for seed in seeds] for name in DRIVERS}
    rows = [
        Row("never: steps/s, nobody answers", never, format=",.0f"),
        Row("alone: steps/s on the environment's own reward", alone, format=",.0f"),
        Row("plain: steps/s of Stable-Baselines3's PPO", bare, format=",.0f"),
        Row("never / alone", ratios(never, alone), "at least 0.95", ".3f"),
        Row("never / plain", ratios(never, bare), format=".3f"),
        *(Row(f"seconds, {name}", seconds[name], format=".0f") for name in DRIVERS),
        Row("asynchronous / lockstep, seconds", ratios(seconds["asynchronous"], seconds["lockstep"]), "below 1"),
        *(Row(f"return, {name}, one seed a repeat", returns[name], format=",.0f") for name in DRIVERS),
    ]
    rollouts = sorted(waited / delay["rollout"] for waited in delay["seconds"])
    title = f"# Policy, questions and reward side by side\n\n{ENV}, PPO's preset, {given.steps:,} steps.\n\n"
    told = (
        f"\n\nFrom an answer to the policy's reward: median {median(rollouts):.2f} rollouts, "
        f"95 % within {np.quantile(rollouts, 0.95):.2f}, all within {rollouts[-1]:.2f} "
        f"({len(rollouts)} answers, a rollout of {delay['rollout']:.2f} s); target: within 2."
    )
    numbers = {"speeds": speeds, "synthetic": pairs, "label": delay, "steps": given.steps}
    publish(given.out, "asynchronous", title + table(rows) + told, numbers)


DRIVERS = ("asynchronous", "lockstep")
ALONE = {"never": unanswered, "alone": undisturbed, "plain": plain}

if __name__ == "__main__":
    main()

"""What is trained for the report on summaries: a start, comparisons and a reward per seed, which all its runs share."""

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback, CallbackList

from experiments.summaries_measure import GREEDY, Bench, told_right
from prefrl.control.policy import device
from prefrl.files import read_json, whole
from prefrl.summarize import direct, parts
from prefrl.summarize.folder import SummaryFolder
from prefrl.summarize.posts import posts
from prefrl.summarize.presets import PRESETS
from prefrl.summarize.run import begin, run
from prefrl.summarize.settings import DIRECT
from prefrl.summarize.sft import loaded
from prefrl.text.algorithms import LMPPO
from prefrl.text.kl import KL, Astray
from prefrl.text.models import LanguageModel, load_model, on, save_model
from prefrl.text.rollouts import SequenceRollouts
from prefrl.text.tokens import PreTrainedTokenizerBase
from prefrl.text.watch import Watch

SHARED = ("sft", "compare", "reward")
"""Stages that are made once per seed."""


@dataclass(frozen=True)
class Edition:
    """How large the demonstrator is."""

    preset: str
    """Of `prefrl summarize`."""
    given: Mapping[str, Any] = field(default_factory=dict)
    """Settings that differ from the preset's."""
    betas: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3)
    scores: tuple[str, ...] = ("mean", "min")
    """Without pessimism, and with."""
    headline: tuple[float, str] = (0.03, "mean")
    """beta and score of the run that is compared with SFT and people: decided before any run."""
    snapshots: int = 5
    """Policies on the way of a run that are measured: points of its curve."""
    prompts: int = 200
    """Held-out posts that KL, reward and quality are measured on, drawn at the temperature of training."""
    pairs: int = 6
    """Of each held-out post, that say how often the reward model is right; a thousand in all err by 1.4 points."""
    best_of: tuple[int, int] = (100, 64)
    """Held-out posts, and summaries drawn of each."""
    reading: float = 3.0
    """Passes over plain text, before rewards are fitted to published preferences."""


EDITIONS = {
    "cpu": Edition("cpu"),
    "gpu": Edition("gpu", prompts=600, best_of=(200, 256)),
    "trial": Edition(
        "tiny",
        {"posts": 40, "sft": "sft(epochs=1)", "comparisons": 40, "episodes": 128, "judged": 20},
        betas=(0.03,),
        snapshots=2,
        prompts=20,
        pairs=2,
        best_of=(4, 4),
    ),
}


@dataclass(frozen=True)
class Task:
    """One thing to make and measure; its record is a line of results."""

    seed: int
    method: str
    """base, best-of-n, ppo, dpo, ipo or kto."""
    beta: float = 0.0
    score: str = ""

    @property
    def name(self) -> str:
        return f"ppo-{self.beta:g}-{self.score}" if self.method == "ppo" else self.method


def tasks(edition: Edition, seeds: int, curves: int) -> list[Task]:
    """The headline's runs of all seeds come first, the bases, which all need, before them.

    All else is made of the first `curves` seeds.
    """
    bases = [Task(seed, "base") for seed in range(seeds)]
    headline = [Task(seed, "ppo", *edition.headline) for seed in range(seeds)]
    learned = [("ppo", beta, score) for beta in edition.betas for score in edition.scores]
    others = [("best-of-n", 0.0, ""), *learned, *((method, 0.0, "") for method in DIRECT)]
    rest = [Task(seed, *run) for run in others if run[1:] != edition.headline for seed in range(min(seeds, curves))]
    return bases + headline + rest


def made(task: Task, edition: Edition, data: str, out: Path) -> dict[str, Any]:
    """The record of a task, which goes on from where it was cut off."""
    began = time.perf_counter()
    folder = out / f"seed-{task.seed}"
    base = SummaryFolder(folder / "base")
    if task.method == "base":
        begin(base.path, {"data": data, "seed": task.seed, **edition.given}, PRESETS[edition.preset])
        found: dict[str, Any] = {"stages": run(base, SHARED)}
        began = time.perf_counter()  # stages tell their own seconds, which are kept where one is cut off
        found |= _start(base, edition)
    else:
        bench = Bench.of(base, edition.prompts)
        if task.method == "best-of-n":
            found = {"curves": bench.best_of_n(*edition.best_of)}
        elif task.method == "ppo":
            found = _ppo(base, bench, task, edition, folder / task.name)
        else:
            if base.found(task.method) is None:  # without the lock of `run`: others learn from this base beside it
                base.finish(task.method, direct.learn(base, task.method))
            found = {"points": [_measured(bench, base.model(task.method), folder / task.name)]}
    record = {"seed": task.seed, "method": task.method, "name": task.name, "beta": task.beta, "score": task.score}
    return record | found | {"seconds": time.perf_counter() - began}


def _start(base: SummaryFolder, edition: Edition) -> dict[str, Any]:
    """What runs begin from: the SFT model's point, and how often the reward model is right."""
    bench = Bench.of(base, edition.prompts)
    point = _measured(bench, base.model("sft"), base.path.parent / "sft")
    return {"points": [point], "right": told_right(bench, base, edition.pairs)}


def _measured(bench: Bench, model: Path, kept: Path) -> dict[str, float]:
    """The point of a saved model; its summaries are kept."""
    _keep(bench, model, kept)
    return bench.point(on_device(bench, model))


def _keep(bench: Bench, model: Path, kept: Path) -> None:
    kept.mkdir(parents=True, exist_ok=True)
    for how, texts in bench.said(on_device(bench, model), kept.name).items():
        with whole(kept / f"{how}.json") as file:
            file.write(json.dumps(texts).encode())


def on_device(bench: Bench, model: Path) -> LanguageModel:
    return on(bench.sft.device, load_model(model, bench.tokenizer))


class Snapshots(BaseCallback):
    """Saves the policy whenever it has learned from `every` more sequences."""

    def __init__(self, folder: Path, every: int, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__()
        self._folder, self._every, self._tokenizer = folder, every, tokenizer

    def _on_rollout_start(self) -> None:
        self._save()

    def _on_training_end(self) -> None:
        self._save()

    def _on_step(self) -> bool:
        return True

    def _save(self) -> None:
        assert isinstance(self.model, SequenceRollouts)
        episodes = self.model.episodes
        if episodes and episodes % self._every == 0:
            save_model(self.model.language_model, self._tokenizer, self._folder / f"at-{episodes}")


def _ppo(base: SummaryFolder, bench: Bench, task: Task, edition: Edition, folder: Path) -> dict[str, Any]:
    """The points of a run: of the policy at every snapshot; `astray` where training had to be stopped."""
    astray = ""
    folder.mkdir(parents=True, exist_ok=True)
    algorithm = _algorithm(base, bench, task, folder)
    assert algorithm.env is not None
    episodes, rollout = base.settings.episodes, algorithm.env.num_envs
    every = max(episodes // edition.snapshots // rollout, 1) * rollout
    watch = Watch(folder / "metrics.jsonl", folder / "algorithm.zip", episodes)
    try:
        algorithm.learn_episodes(
            every * edition.snapshots - algorithm.episodes,
            CallbackList([watch, Snapshots(folder, every, bench.tokenizer)]),
        )
    except Astray as stop:
        astray = str(stop)
        good = algorithm.episodes - rollout  # the model of the rollout before is what was kept
        shutil.rmtree(folder / f"at-{algorithm.episodes}", ignore_errors=True)  # of the model that had gone astray
        save_model(algorithm.language_model, bench.tokenizer, folder / f"at-{good}")
    at = {int(path.name.removeprefix("at-")): path for path in folder.glob("at-*")}
    points = [{"episodes": number} | bench.point(on_device(bench, model)) for number, model in sorted(at.items())]
    _keep(bench, at[max(at)], folder)
    return {"points": points, "astray": astray}


def _algorithm(base: SummaryFolder, bench: Bench, task: Task, folder: Path) -> LMPPO:
    """New, or as it was when it was cut off."""
    settings = replace(base.settings, score=task.score)
    tokenizer, model = loaded(base, "sft", settings)
    reward = bench.reward.reward(tokenizer, parts.combine(settings))
    given = (model, tokenizer, [example.prompt for example in posts(settings).train], reward)
    options: dict[str, Any] = {
        "value_from": bench.reward.nets[0],
        "kl": KL(task.beta),
        "response_length": settings.response_length,
        "prompt_length": settings.prompt_length,
        "seed": settings.seed,
        "device": device(settings.device),
        "temperature": settings.temperature,
        **settings.hyper,
    }
    saved = folder / "algorithm.zip"
    return LMPPO.load(saved, *given, **options) if saved.is_file() else LMPPO(*given, **options)


def read_said(out: Path, seed: int, name: str, how: str = GREEDY) -> list[str]:
    """What a policy says of every held-out post."""
    found: list[str] = read_json(out / f"seed-{seed}" / name / f"{how}.json")
    return found

"""From a configuration to a finished run: composition only."""

import json
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from prefrl.control import policy
from prefrl.control.callback import EverySteps, PreferenceCallback
from prefrl.control.logger import run_logger
from prefrl.control.policy import Algorithm
from prefrl.control.rollout import Cutter, Pay, learned, true
from prefrl.control.vec_env import Recorder
from prefrl.evaluate import measure
from prefrl.files import reading
from prefrl.loop import RECENT_STEPS, Baseline, Learner, Lockstep, Recent, Turns
from prefrl.parts import Parts
from prefrl.reward.true import TrueReward
from prefrl.runs import RunConfig, RunFolder, free_folder, read_json
from prefrl.store import Store, unpack

NEVER = sys.maxsize
"""Rollouts between logs of SB3's own: we log by steps, so that a resumed run logs at the same ones."""

LAST = 0.1
"""Share of the run, at its end, whose episodes make `train_return_mean`."""


def train(
    config: RunConfig, out: Path | None = None, *, progress: bool = False, track: bool = False, **objects: Any
) -> RunFolder:
    """Runs `config` in the new folder `out`, to its end.

    `objects`: any of algo, oracle, select, schedule, fit, net as Python objects, in place of the name in `config`.

    Raises ValueError in one line for what cannot work, before anything is written; control.vec_env's
    EnvFailure when an environment fails later: `resume` then goes on from the last checkpoint.
    """
    parts = Parts.of(config, **objects)
    torch.set_num_threads(1)  # for nets this small a second thread costs more than it does
    recorder = parts.recorder()
    model = parts.model(recorder)
    tracker = _tracker() if track else None
    folder = RunFolder.create(out or free_folder(config), config)
    if tracker:
        tracker.init(
            project="prefrl", name=folder.path.name, dir=folder.path, config=asdict(config), sync_tensorboard=True
        )
    run = _Run(parts, folder, recorder, model)
    run.begin()
    run.finish(progress)
    return run.folder


def resume(path: Path, *, progress: bool = False, **objects: Any) -> RunFolder:
    """Goes on with a run from its last whole checkpoint; from its beginning if it has none. `objects` as in `train`."""
    folder = RunFolder.open(path)
    if folder.summary is not None:
        raise ValueError(f"{path} is finished: see {path}/summary.json")
    parts = Parts.of(folder.config, **objects)
    torch.set_num_threads(1)
    recorder = parts.recorder()
    run = _Run(parts, folder, recorder, parts.model(recorder))
    checkpoints = folder.checkpoints()
    if checkpoints:
        run.go_on(checkpoints[-1])
    else:
        folder.forget_metrics_after(-1)
        run.begin()
    run.finish(progress)
    return folder


@dataclass
class _Run:
    """The live objects of a run, and what must survive it being killed."""

    parts: Parts
    folder: RunFolder
    recorder: Recorder
    model: Algorithm
    seconds: float = 0.0
    """Wall time of earlier sessions."""
    best: tuple[int, float] = (0, -np.inf)
    """Step and mean training return of the best checkpoint."""
    untrained_return: float = 0.0
    returns: list[tuple[int, float]] = field(default_factory=list)
    """(step, true return) of every whole episode."""

    def __post_init__(self) -> None:
        self.began = time.perf_counter()
        config, facts = self.parts.config, self.parts.facts
        self.cutter = Cutter(facts.segment_length, facts.horizon)
        recent = Recent(max(RECENT_STEPS // facts.segment_length, 2))
        turns = Turns(config.turns, config.total_timesteps)
        self.store = Store(self.folder.path)
        if config.reward == "true":
            reward = TrueReward()
            self.driver: Lockstep | Baseline = Baseline(reward, recent, turns)
            self.pay: Pay = true(reward)
        else:
            self.driver = Lockstep(self._learner(), self.parts.oracle, recent, turns)
            self.pay = learned(self.driver.learner.ensemble)
        self.callback = PreferenceCallback(self.recorder, self.pay, self.cutter, self.driver)

    def _learner(self) -> Learner:
        parts, config = self.parts, self.parts.config
        torch.manual_seed(config.seed)
        return Learner(
            self.store,
            parts.ensemble(),
            config.labels,
            parts.select,
            parts.schedule,
            parts.fit,
            config.seed,
            config.select,
        )

    def begin(self) -> None:
        """Asks about the untrained policy before it learns anything."""
        config, facts = self.parts.config, self.parts.facts
        self.folder.write("spaces.json", json.dumps(self.parts.spaces()) + "\n")
        self._log()
        policy.restart(self.model, self.cutter, config.seed)
        policy.act_untrained(self.model, self.parts.untrained_steps)
        rollout, step = self.recorder.take(), self.model.num_timesteps
        self.untrained_return = float(rollout.truth.mean()) * facts.horizon
        for name, value in self.driver(self.cutter(rollout, step), step).items():
            self.model.logger.record(name, value)
        self.model.logger.record("time/total_timesteps", step)
        self.model.logger.dump(step)

    def go_on(self, checkpoint: Path) -> None:
        """Takes over a checkpoint; what was logged after it will be logged again."""
        policy.load(self.model, checkpoint)
        step = self.model.num_timesteps
        self.folder.forget_metrics_after(step)
        self._log()
        with reading(file := checkpoint / "recent.npz"):
            self.driver.recent.load(unpack(file))
        if isinstance(self.driver, Lockstep):
            with reading(file := checkpoint / "learner.safetensors"):
                self.driver.learner.load(load_file(file), upto=step)
        self.driver.resume(step)
        self.callback.load_replay(self.model, checkpoint / "replay.npz")
        with reading(file := checkpoint / "state.json"):
            self._take_over(read_json(file))
        self.recorder.steps = step
        with reading(file := checkpoint / "returns.npz"):
            self.returns = [(int(at), total) for at, total in unpack(file)["returns"].tolist()]

    def finish(self, progress: bool) -> None:
        """Trains to the end, evaluates, and writes what the run came to."""
        config = self.parts.config
        policy.restart(self.model, self.cutter, config.seed)
        left = config.total_timesteps - self.model.num_timesteps
        if left > 0:
            callbacks = [
                EverySteps(self.driver.turns.every, self._dump),
                EverySteps(config.checkpoint_every, self._checkpoint),
                self.callback,
            ]
            self.model.learn(left, callbacks, log_interval=NEVER, reset_num_timesteps=False, progress_bar=progress)
            self._dump()
            self.save()
        self._summarise()

    def _log(self) -> None:
        self.model.set_logger(run_logger(self.folder.metrics, self.folder.path / "tb"))

    def _dump(self) -> None:
        if self.model.logger.name_to_value:
            self.model.dump_logs()

    def _checkpoint(self) -> None:
        self._dump()
        self.save()
        policy.restart(self.model, self.cutter, self.parts.config.seed)

    def save(self) -> None:
        """A checkpoint: everything that `go_on` needs, in formats that run no code."""
        step = self.model.num_timesteps
        fresh = self.recorder.take_episodes()
        self.returns += fresh
        if fresh:
            self.best = max(self.best, (step, float(np.mean([total for _, total in fresh]))), key=lambda best: best[1])
        with self.folder.new_checkpoint(step) as half:
            policy.save(self.model, half)
            self.callback.save_replay(half / "replay.npz")
            np.savez(half / "recent.npz", **self.driver.recent.state())
            np.savez(half / "returns.npz", returns=np.array(self.returns).reshape(-1, 2))
            if isinstance(self.driver, Lockstep):
                save_file(self.driver.learner.state(), half / "learner.safetensors")
            (half / "state.json").write_text(json.dumps(self._state()))
        self.folder.prune(keep={self.best[0]})

    def _state(self) -> dict[str, Any]:
        return {
            "seconds": self._wall(),
            "reward_seconds": self.driver.seconds,
            "untrained_return": self.untrained_return,
            "best": self.best,
            "true_reward": vars(self.driver.reward) if isinstance(self.driver, Baseline) else None,
        }

    def _take_over(self, state: dict[str, Any]) -> None:
        self.seconds, self.driver.seconds = float(state["seconds"]), float(state["reward_seconds"])
        step, best = state["best"]
        self.untrained_return, self.best = float(state["untrained_return"]), (int(step), float(best))
        if isinstance(self.driver, Baseline):
            moments = vars(self.driver.reward)
            moments.update({name: type(value)(state["true_reward"][name]) for name, value in moments.items()})

    def _wall(self) -> float:
        return self.seconds + time.perf_counter() - self.began

    def _summarise(self) -> None:
        config, steps = self.parts.config, self.model.num_timesteps
        wall = self._wall()
        pay = self.pay if config.reward == "learned" else None
        evaluation = measure(self.model, self.parts, pay, config.eval_episodes, config.seed)
        last = [total for at, total in self.returns if at > (1 - LAST) * steps]
        counts = self.store.counts()
        summary = {
            "env": config.env,
            "algo": config.algo,
            "seed": config.seed,
            "reward": config.reward,
            "steps": steps,
            "labels": counts.labelled,
            "skipped": counts.skipped,
            "reward_version": self.driver.version,
            "train_return_mean": float(np.mean(last)) if last else None,
            "untrained_return": self.untrained_return,
            "best_step": self.best[0],
            "best_return": self.best[1] if self.best[0] else None,
            "eval_return_mean": float(evaluation.returns.mean()),
            "eval_return_std": float(evaluation.returns.std()),
            "pearson": evaluation.pearson,
            "wall_seconds": wall,
            "policy_seconds": wall - self.driver.seconds,
            "reward_seconds": self.driver.seconds,
            "steps_per_second": steps / wall,
        }
        self.folder.write("summary.json", json.dumps(summary, indent=2) + "\n")


def _tracker() -> Any:
    """Weights & Biases, which can copy what TensorBoard gets."""
    try:
        import wandb
    except ImportError:
        raise ValueError('tracking needs wandb: pip install "prefrl[track]"') from None
    return wandb

"""From a configuration to a finished run: composition only."""

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from prefrl import beside
from prefrl.asynchronous import Asynchronous, asking, clear, learning
from prefrl.control import policy
from prefrl.control.callback import AtFirst, EverySteps, PreferenceCallback
from prefrl.control.logger import run_logger
from prefrl.control.policy import Algorithm
from prefrl.control.rollout import Cutter, Pay, learned, true
from prefrl.control.vec_env import Recorder
from prefrl.evaluate import Evaluation, measure
from prefrl.history import History
from prefrl.loop import Baseline, Lockstep, Turns, learner_of
from prefrl.oracles import Human
from prefrl.parts import Parts
from prefrl.processes import Beside, check_imported, to_stderr
from prefrl.recent import Recent
from prefrl.reward.ensemble import Ensemble
from prefrl.reward.true import TrueReward
from prefrl.runs import RunConfig, RunFolder, free_folder, step_of
from prefrl.tables import check_unused

if TYPE_CHECKING:
    from prefrl.web.options import PageOptions

NEVER = sys.maxsize
"""Rollouts between logs of SB3's own: we log by steps, so that a resumed run logs at the same ones."""

LAST = 0.1
"""Share of the run, at its end, whose episodes make `train_return_mean`."""


def train(
    config: RunConfig,
    out: Path | None = None,
    *,
    progress: bool = False,
    track: bool = False,
    page: "PageOptions | None" = None,
    **objects: Any,
) -> RunFolder:
    """Runs `config` in the new folder `out` (made up under `runs/` if not given), to its end; gives the folder.

    `objects`: any of algo, oracle, select, schedule, fit, net as Python objects, in place of the name in `config`; an
    asynchronous run hands them to other processes, so they must be picklable. `page`: how people's page is served.

    Raises ValueError in one line for what cannot work, before anything is written; control.vec_env's
    EnvFailure when an environment fails later: `resume` then goes on from the last checkpoint.
    """
    check_imported()
    parts = Parts.of(config, **objects)
    beside.check(parts, objects, page)
    if config.store:
        check_unused(config.store)
    torch.set_num_threads(1)  # for nets this small a second thread costs more than it does
    recorder = parts.recorder(report=to_stderr if parts.asynchronous else None)
    model = parts.model(recorder)
    tracker = _tracker() if track else None
    folder = RunFolder.create(out or free_folder(config), parts.config, objects)
    if tracker:
        settings = asdict(replace(parts.config, store=None))  # a URL may hold a password
        tracker.init(project="prefrl", name=folder.path.name, dir=folder.path, config=settings, sync_tensorboard=True)
    with folder.locked(), watching(recorder), closing(_Run(parts, folder, recorder, model, page, objects)) as run:
        run.begin()
        run.finish(progress)
    return folder


def resume(path: Path, *, progress: bool = False, page: "PageOptions | None" = None, **objects: Any) -> RunFolder:
    """Goes on with a run from its last whole checkpoint; from its beginning if it has none. Arguments as in `train`.

    What was answered is in the store, whatever was killed. On the same machine a lockstep run ends as if it had not
    been cut off. Raises ValueError for what is no run, or is finished.
    """
    check_imported()
    folder = RunFolder.open(path)
    if folder.summary is not None:
        raise ValueError(f"{path} is finished: see {path}/summary.json")
    folder.check_objects(objects)
    parts = Parts.of(folder.config, **objects)
    beside.check(parts, objects, page, path)
    torch.set_num_threads(1)
    recorder = parts.recorder(report=to_stderr if parts.asynchronous else None)
    model = parts.model(recorder)
    with folder.locked(), watching(recorder):
        checkpoints = folder.checkpoints()
        folder.forget_metrics_after(step_of(checkpoints[-1]) if checkpoints else -1)  # they will be logged again
        with closing(_Run(parts, folder, recorder, model, page, objects)) as run:
            if checkpoints:
                run.go_on(checkpoints[-1])
            else:
                run.begin()
            run.finish(progress)
    return folder


@dataclass
class _Run:
    """The live objects of a run."""

    parts: Parts
    folder: RunFolder
    recorder: Recorder
    model: Algorithm
    page: "PageOptions | None" = None
    objects: dict[str, Any] = field(default_factory=dict)
    history: History = field(default_factory=History)

    def __post_init__(self) -> None:
        config, facts = self.parts.config, self.parts.facts
        with ExitStack() as opened:  # whatever goes wrong, or is interrupted, in here
            opened.callback(self.recorder.close)
            self.store = opened.enter_context(self.folder.open_store())
            recent = Recent(max(self.parts.usual.recent_steps // facts.segment_length, 2))
            turns = Turns(config.turns, config.total_timesteps)
            self.driver, self.pay = self._driver(opened, recent, turns)
            self.model.set_logger(run_logger(self.folder.metrics, self.folder.path / "tb"))
            opened.callback(self.model.logger.close)
            self.cutter = Cutter(facts.segment_length, facts.horizon)
            self.callback = PreferenceCallback(self.recorder, self.pay, self.cutter, self.driver)
            self._opened = opened.pop_all()

    def _driver(
        self, opened: ExitStack, recent: Recent, turns: Turns
    ) -> tuple[Lockstep | Baseline | Asynchronous, Pay]:
        if self.parts.config.reward == "true":
            reward = TrueReward(self.parts.usual.std)
            return Baseline(reward, recent, turns), true(reward)
        if self.parts.asynchronous:
            ensemble = self.parts.ensemble()
            return self._asynchronous(opened, ensemble, recent, turns), learned(ensemble)
        learner = learner_of(self.parts, self.store)
        return Lockstep(learner, self.parts.oracle, recent, turns), learned(learner.ensemble)

    def _asynchronous(self, opened: ExitStack, ensemble: Ensemble, recent: Recent, turns: Turns) -> Asynchronous:
        """The policy's side; the other processes begin here."""
        run, parts = self.folder.path, self.parts
        clear(run)
        others = opened.enter_context(Beside(run))
        show = None
        if isinstance(parts.oracle, Human):
            show = beside.filmed(run, self.store, parts.facts.fps, recent)
            if not (run / "instructions.json").exists():  # whoever edited it keeps it
                self.folder.write("instructions.json", json.dumps(parts.instructions(), indent=2) + "\n")
            to_stderr(
                f"trains for {parts.config.total_timesteps:,} steps, answered or not, and serves the page until then"
            )
            others.start("page", *beside.page_server(run, parts.oracle, self.page))
        others.start("asker", asking, run, parts.facts, self.objects)
        others.start("learner", learning, run, parts.facts, self.objects)
        return Asynchronous(run, self.store, ensemble, recent, turns, not parts.people, others.check, show)

    def begin(self) -> None:
        """Asks about the untrained policy before it learns anything."""
        config, facts = self.parts.config, self.parts.facts
        self.folder.write("spaces.json", json.dumps(self.parts.spaces()) + "\n")
        self.folder.write("preset.json", json.dumps(self.parts.preset.as_dict(), indent=2) + "\n")
        if facts.continuing:  # the first labels see too little of a game to tell what one brings
            untrained = measure(self.model, self.parts, None, config.eval_episodes, config.seed)
            self.history.untrained_return = float(untrained.returns.mean())
        policy.restart(self.model, self.cutter, config.seed)
        policy.act_untrained(self.model, self.parts.untrained_steps)
        rollout, step = self.recorder.take(), self.model.num_timesteps
        if not facts.continuing:
            self.history.untrained_return = float(rollout.truth.mean()) * facts.horizon
        for name, value in self.driver(self.cutter(rollout, step), step).items():
            self.model.logger.record(name, value)
        self.model.logger.record("time/total_timesteps", step)
        self.model.logger.dump(step)

    def go_on(self, checkpoint: Path) -> None:
        """Takes over a checkpoint."""
        policy.load(self.model, checkpoint)
        step = self.recorder.steps = self.model.num_timesteps
        self.driver.load(checkpoint, step)
        self.callback.load_replay(self.model, checkpoint / "replay.npz")
        self.history.load(checkpoint)

    def finish(self, progress: bool) -> None:
        """Trains to the end, evaluates, and writes what the run came to."""
        config = self.parts.config
        left = config.total_timesteps - self.model.num_timesteps
        if left > 0:
            policy.restart(self.model, self.cutter, config.seed)
            callbacks = [
                AtFirst(lambda: policy.reseed(self.model, config.seed)),
                EverySteps(self.driver.turns.every, self._dump),
                EverySteps(config.checkpoint_every, self._checkpoint),
                self.callback,
            ]
            self.model.learn(left, callbacks, log_interval=NEVER, reset_num_timesteps=False, progress_bar=progress)
            self._dump()
            self.save()
        self._summarise()

    def close(self) -> None:
        """Ends processes, files, connections and environments."""
        self._opened.close()

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
        self.history.add([(each.step, each.total) for each in self.recorder.take_episodes()], step)
        with self.folder.new_checkpoint(step) as half:
            policy.save(self.model, half)
            self.driver.save(half)
            self.callback.save_replay(half / "replay.npz")
            self.history.save(half)
        self.folder.prune(keep={self.history.best_step})

    def _summarise(self) -> None:
        config, history, steps = self.parts.config, self.history, self.model.num_timesteps
        wall = history.wall_seconds()
        pay = self.pay if config.reward == "learned" and self.driver.version else None
        evaluation = measure(self.model, self.parts, pay, config.eval_episodes, config.seed)
        best = self._of_best() or evaluation
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
            "train_return_mean": history.mean_since((1 - LAST) * steps),
            "untrained_return": history.untrained_return,
            "best_step": history.best_step,
            "best_return": history.best_return if history.best_step else None,
            "eval_return_mean": float(evaluation.returns.mean()),
            "eval_return_std": float(evaluation.returns.std()),
            "best_eval_return_mean": float(best.returns.mean()) if history.best_step else None,
            "pearson": evaluation.pearson,
            "wall_seconds": wall,
            "policy_seconds": wall - self.driver.seconds,
            "reward_seconds": self.driver.seconds,
            "steps_per_second": steps / wall,
        }
        self.folder.write("summary.json", json.dumps(summary, indent=2) + "\n")

    def _of_best(self) -> Evaluation | None:
        """Of the checkpoint with the best training return, where that is not the last one: learning may collapse."""
        config, step = self.parts.config, self.history.best_step
        if step in (0, self.model.num_timesteps):
            return None
        policy.load(self.model, self.folder.checkpoint(best=True))
        return measure(self.model, self.parts, None, config.eval_episodes, config.seed)


@contextmanager
def watching(recorder: Recorder) -> Iterator[None]:
    """Interrupts environments that hang, where that can be done: in the main thread of a run that goes on without."""
    if recorder.watch and threading.current_thread() is threading.main_thread():
        with recorder.watch.on():
            yield
    else:
        yield


def _tracker() -> Any:
    """Weights & Biases, which can copy what TensorBoard gets."""
    try:
        import wandb
    except ImportError:
        raise ValueError('tracking needs wandb: pip install "prefrl[track]"') from None
    return wandb

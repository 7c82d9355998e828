"""The loop of queries, labels and refits, and the driver that runs it in turn with the policy."""

import json
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from prefrl.files import read_json, reading, unpack
from prefrl.oracles import observe
from prefrl.reward import diagnostics
from prefrl.reward.ensemble import Ensemble, stack
from prefrl.reward.fit import Fit
from prefrl.reward.loss import preference
from prefrl.reward.true import TrueReward
from prefrl.store import Store
from prefrl.types import Comparison, Label, Oracle, Query, Schedule, Segment, Select

RECENT_STEPS = 30_000
"""Steps of the policy that are asked about, and on which rewards are normalised: a few rollouts of the newest."""

COMPARED = 4
"""Every so-manieth recent segment is enough to correlate learned with true reward."""

ATTEMPTS = 5
"""How often a turn asks again in place of what the oracle could not tell."""


class Recent:
    """The newest `size` segments of the policy, with their truth: what is asked about and normalised on."""

    def __init__(self, size: int) -> None:
        self.segments: deque[Segment] = deque(maxlen=size)

    def add(self, segments: Iterable[Segment]) -> None:
        self.segments.extend(segments)

    def blind(self) -> list[Segment]:
        return [segment.blind() for segment in self.segments]

    def save(self, file: Path) -> None:
        obs, acts = stack(self.segments)
        steps = np.array([segment.step for segment in self.segments])
        truth = np.stack([segment.truth for segment in self.segments if segment.truth is not None])
        np.savez(file, obs=obs, acts=acts, truth=truth, step=steps)

    def load(self, file: Path) -> None:
        with reading(file):
            state = unpack(file)
            rows = zip(state["obs"], state["acts"], state["truth"], state["step"], strict=True)
            self.segments.clear()
            self.add(Segment(obs, acts, truth, step=int(step)) for obs, acts, truth, step in rows)


@dataclass
class Learner:
    """Asks what is due, and refits the ensemble to the answers; meets the policy and the oracle only in the store.

    The second and third process of section 2.2. Steps are environment steps of the policy.
    """

    store: Store
    ensemble: Ensemble
    budget: int
    """Answers to get in the whole run; what nobody could tell is not charged."""
    select: Select
    schedule: Schedule
    fit: Fit = Fit()
    seed: int = 0
    why: str = ""
    """Name of the strategy, noted in its queries."""

    def __post_init__(self) -> None:
        if self.budget < 1:
            raise ValueError(f"labels must be at least 1, got {self.budget}")
        self.optimizer = self.fit.optimizer(self.ensemble)
        self._comparisons: dict[tuple[int, str], Comparison] = {}
        self.seen = 0  # the newest label that has been learned from

    def due(self, progress: float, upto: int | None = None) -> int:
        """How many questions the schedule owes at `progress`, beyond those of steps up to `upto`; open ones count."""
        counts = self.store.counts(upto)
        return round(self.schedule(min(progress, 1.0)) * self.budget) - counts.labelled - counts.unanswered

    def ask(self, segments: Sequence[Segment], n: int, step: int, attempt: int = 0) -> list[Query]:
        """Records and asks the `n` pairs that the strategy prefers; fewer if there are not as many."""
        rng = np.random.default_rng([self.seed, step, attempt])
        blind = [segment.blind() for segment in segments]
        pairs = self.select(blind, self.ensemble.returns(blind), n, rng)
        recorded = self.store.record([segments[i] for pair in pairs for i in pair])
        sides = zip(recorded[::2], recorded[1::2], strict=True)
        return self.store.ask([Query(left.id, right.id, step=step, why=self.why) for left, right in sides])

    def learn(self, recent: Sequence[Segment], step: int, upto: int | None = None) -> dict[str, float]:
        """Fits to all answers if there are new ones, normalises on `recent`, publishes; what was found."""
        fresh, self.seen = self.store.comparisons(self.seen, upto)
        metrics = self._judge([c for c in fresh if c.preference is not None])
        self._keep(fresh)
        if not fresh or not self._comparisons:
            return {}
        first = self.ensemble.version == 0
        metrics |= self.fit(
            self.ensemble,
            self.optimizer,
            list(self._comparisons.values()),
            self.fit.first_passes if first else self.fit.passes,
            np.random.default_rng([self.seed, step]),
        )
        paid = self.ensemble.normalise(recent)
        self.ensemble.version = self.store.publish(self.ensemble.to_bytes(), step=step, labels=len(self._comparisons))
        return (
            metrics
            | diagnostics.distribution(paid)
            | {
                "reward/version": float(self.ensemble.version),
                "labels/learned": float(len(self._comparisons)),
            }
        )

    def _judge(self, fresh: Sequence[Comparison]) -> dict[str, float]:
        if not fresh or self.ensemble.version == 0:
            return {}
        left, right = (
            torch.as_tensor(self.ensemble.returns([getattr(c, s) for c in fresh])) for s in ("left", "right")
        )
        p = preference(left, right).mean(0).numpy()
        return diagnostics.prequential(p, np.array([c.preference for c in fresh]))

    def _keep(self, fresh: Sequence[Comparison]) -> None:
        for comparison in fresh:
            key = comparison.query, comparison.labeller
            self._comparisons.pop(key, None)
            if comparison.preference is not None:
                self._comparisons[key] = comparison

    def state(self) -> dict[str, torch.Tensor]:
        """The ensemble and its optimizer, flat."""
        moments = {
            f"optimizer.{i}.{name}": value
            for i, entry in self.optimizer.state_dict()["state"].items()
            for name, value in entry.items()
        }
        l2 = torch.tensor([group["weight_decay"] for group in self.optimizer.param_groups], dtype=torch.float64)
        ensemble = {f"ensemble.{name}": value for name, value in self.ensemble.state_dict().items()}
        return ensemble | moments | {"l2": l2, "version": torch.tensor(self.ensemble.version)}

    def load(self, state: dict[str, torch.Tensor], upto: int | None = None) -> None:
        """Goes on from `state`, and from the store's answers to queries of steps up to `upto`."""
        self.ensemble.load_state_dict(_under("ensemble.", state))
        self.ensemble.version = int(state["version"])
        entries: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in _under("optimizer.", state).items():
            i, moment = name.split(".")
            entries.setdefault(int(i), {})[moment] = value
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": entries})
        for group, l2 in zip(self.optimizer.param_groups, state["l2"].tolist(), strict=True):
            group["weight_decay"] = l2
        fresh, self.seen = self.store.comparisons(0, upto)
        self._keep(fresh)


def _under(prefix: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


@dataclass
class Turns:
    """Says when the next turn is due: at the first step that it is asked about, then `number` times until `total`.

    `total`: environment steps of the run.
    """

    number: int
    total: int
    _next: int = field(default=0, init=False)

    def __call__(self, step: int) -> bool:
        if step < self._next:
            return False
        self.skip_to(step)
        return True

    @property
    def every(self) -> int:
        return max(self.total // self.number, 1)

    def skip_to(self, step: int) -> None:
        turn = step * self.number // self.total + 1
        self._next = -(-turn * self.total // self.number)


@dataclass
class Lockstep:
    """Asks, answers and refits in turn with the policy: deterministic, for oracles that answer at once.

    Called with new segments and the policy's steps; gives metrics, none where no turn was due or no label new.
    Raises ValueError for an answer outside [0, 1].
    """

    learner: Learner
    oracle: Oracle
    recent: Recent
    turns: Turns
    seconds: float = 0.0
    """Spent on queries, labels and refits so far."""

    def __call__(self, segments: Sequence[Segment], step: int) -> dict[str, float]:
        self.recent.add(segments)
        if len(self.recent.segments) < 2 or not self.turns(step):
            return {}
        began = time.perf_counter()
        skipped = self._label(step)
        metrics = self.learner.learn(self.recent.blind(), step, upto=step)
        self.seconds += time.perf_counter() - began
        compared = self._compare() if metrics else {}
        return metrics | compared | ({"labels/skipped": float(skipped)} if metrics or skipped else {})

    def _label(self, step: int) -> int:
        """Asks and answers what is due; how often the oracle could not tell.

        What this step asked before, in a run that was then killed, does not count: it is asked again, and found.
        """
        segments = list(self.recent.segments)
        due = self.learner.due(step / self.turns.total, upto=step - 1)
        answered: dict[Query, Label] = {}
        for attempt in range(ATTEMPTS):
            missing = due - sum(label.preference is not None for label in answered.values())
            if missing <= 0:
                break
            asked = self.learner.ask(segments, missing, step, attempt)
            fresh = [query for query in dict.fromkeys(asked) if query not in answered]
            answered |= zip(fresh, self._answer(fresh, step), strict=True)
        return sum(label.preference is None for label in answered.values())

    def _answer(self, queries: Sequence[Query], step: int) -> list[Label]:
        store = self.learner.store
        known = {label.query: label for label in store.labels(self.learner.seen, upto=step)}
        segments = store.segments(id for query in queries for id in (query.left, query.right))
        labels = []
        for query in queries:
            left, right = segments[query.left], segments[query.right]
            if query.id in known:
                observe(self.oracle, left, right)
                labels.append(known[query.id])
            else:
                labels.append(Label(query.id, self.oracle(left, right), "oracle", key=f"oracle-{query.id}"))
        return store.answer(labels)

    def _compare(self) -> dict[str, float]:
        """Correlation with the true reward, on some of the recent segments: for experiments only."""
        some = list(self.recent.segments)[::COMPARED]
        truth = [segment.truth for segment in some if segment.truth is not None]
        if len(truth) < len(some):
            return {}
        return {"reward/pearson": diagnostics.pearson(self.learner.ensemble.pay(*stack(some)), np.stack(truth))}

    @property
    def version(self) -> int:
        return self.learner.ensemble.version

    def save(self, folder: Path) -> None:
        """What `load` needs: the learner, the recent segments, the time spent."""
        self.recent.save(folder / "recent.npz")
        save_file(self.learner.state(), folder / "learner.safetensors")
        (folder / "driver.json").write_text(json.dumps({"seconds": self.seconds}))

    def load(self, folder: Path, step: int) -> None:
        """Goes on after `step`: oracles with a memory see again what they have answered."""
        self.recent.load(folder / "recent.npz")
        with reading(file := folder / "learner.safetensors"):
            self.learner.load(load_file(file), upto=step)
        with reading(file := folder / "driver.json"):
            self.seconds = float(read_json(file)["seconds"])
        self.turns.skip_to(step)
        store = self.learner.store
        for query in store.queries(upto=step) if hasattr(self.oracle, "observe") else ():
            observe(self.oracle, store.segment(query.left), store.segment(query.right))


@dataclass
class Baseline:
    """Lockstep's stand-in where the policy is paid the true reward: re-normalises it in the same turns."""

    reward: TrueReward
    recent: Recent
    turns: Turns
    seconds: float = 0.0

    def __call__(self, segments: Sequence[Segment], step: int) -> dict[str, float]:
        self.recent.add(segments)
        if not self.recent.segments or not self.turns(step):
            return {}
        self.reward.normalise(self.recent.segments)
        return {"reward/version": float(self.reward.version)}

    @property
    def version(self) -> int:
        return self.reward.version

    def save(self, folder: Path) -> None:
        self.recent.save(folder / "recent.npz")
        (folder / "driver.json").write_text(json.dumps(asdict(self.reward)))

    def load(self, folder: Path, step: int) -> None:
        """Goes on after `step`."""
        self.recent.load(folder / "recent.npz")
        with reading(file := folder / "driver.json"):
            saved = read_json(file)
            for moment in fields(self.reward):
                setattr(self.reward, moment.name, type(getattr(self.reward, moment.name))(saved[moment.name]))
        self.turns.skip_to(step)

"""The loop of queries, labels and refits, and the driver that runs it in turn with the policy."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from prefrl.files import read_json, reading
from prefrl.oracles import observe
from prefrl.parts import Parts
from prefrl.recent import Recent
from prefrl.reward import diagnostics
from prefrl.reward.ensemble import Ensemble, stack
from prefrl.reward.fit import Fit
from prefrl.reward.loss import preference
from prefrl.reward.true import TrueReward
from prefrl.store import Store
from prefrl.types import Array, Comparison, Label, Oracle, Query, Schedule, Segment, Select

COMPARED = 4
"""Every so-manieth recent segment is enough to correlate learned with true reward."""

AT_RISK = 0.5
"""Seconds of an oracle's work that a kill may lose."""

WORTHWHILE = 4
"""Updates that are due before a fit with a rate of its own makes any: a fraction of one cannot be made."""

ATTEMPTS = 5
"""How often a turn asks again in place of what the oracle could not tell."""


Show = Callable[[Segment], Segment]
"""Gives a segment its `media`."""


def compare(ensemble: Ensemble, recent: Recent) -> dict[str, float]:
    """Correlation with the true reward, on some of the recent segments: for experiments only."""
    some = list(recent.segments)[::COMPARED]
    truth = [segment.truth for segment in some if segment.truth is not None]
    if not some or len(truth) < len(some):
        return {}
    return {"reward/pearson": diagnostics.pearson(ensemble.pay(*stack(some)), np.stack(truth))}


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
        self._judged: list[Array] = []  # of fresh labels since the last fit: what was predicted, and answered
        self.seen = 0  # the newest label that has been learned from
        self.trained = 0.0  # the step up to which a fit with a rate of its own has done what is due
        self.fitted = 0.0  # comparisons trained on by such a fit

    def due(self, progress: float, upto: int | None = None) -> int:
        """How many questions the schedule owes at `progress`, beyond those of steps up to `upto`; open ones count."""
        counts = self.store.counts(upto)
        return round(self.schedule(min(progress, 1.0)) * self.budget) - counts.labelled - counts.unanswered

    def ask(
        self, segments: Sequence[Segment], n: int, step: int, attempt: int = 0, show: Show | None = None
    ) -> list[Query]:
        """Records and asks the `n` pairs that the strategy prefers; fewer if there are not as many.

        `show` makes what people see of a segment, where it is people who answer.
        """
        rng = np.random.default_rng([self.seed, step, attempt])
        blind = [segment.blind() for segment in segments]
        pairs = self.select(blind, self.ensemble.returns(blind), n, rng)
        chosen = [segments[i] for pair in pairs for i in pair]
        recorded = self.store.record([show(segment) for segment in chosen] if show else chosen)
        sides = zip(recorded[::2], recorded[1::2], strict=True)
        return self.store.ask([Query(left.id, right.id, step=step, why=self.why) for left, right in sides])

    def learn(self, recent: Sequence[Segment], step: int, upto: int | None = None) -> dict[str, float]:
        """Fits to all answers if there is something to learn, normalises on `recent`, publishes; what was found."""
        metrics = self.train(step, upto)
        return metrics | self.publish(recent, step) if metrics else {}

    def train(self, step: int, upto: int | None = None, most: int | None = None) -> dict[str, float]:
        """Takes in new answers and fits to all; nothing is found where nothing was to be learned.

        That is where no answer is new; or, at a fit's own `rate`, where no update is due: `most` is then the number of
        comparisons to train on at once.
        """
        fresh, self.seen = self.store.comparisons(self.seen, upto, self.fit.keep)
        self._judge([c for c in fresh if c.preference is not None])
        self._keep(fresh)
        answers = [c for c in fresh if c.labeller or c.preference is not None]  # not what the run withdrew itself
        passes = self._book(bool(answers), step, most) if self._comparisons else 0
        if not passes:
            return {}
        rng = np.random.default_rng([self.seed, step, *([] if most is None else [int(self.trained)])])
        found = self.fit(self.ensemble, self.optimizer, list(self._comparisons.values()), passes, rng)
        if self._judged:
            found |= diagnostics.prequential(*np.concatenate(self._judged, axis=1))
            self._judged.clear()
        return found | ({"reward/fitted": self.fitted} if self.fit.rate else {})

    def _book(self, fresh: bool, step: int, most: int | None) -> float:
        """Passes over the comparisons that are made now, and count as made; 0 if there is no need."""
        if self.ensemble.version == 0:
            self.trained = float(step)
            return self.fit.first_passes if fresh else 0
        if self.fit.rate is None:
            return self.fit.passes if fresh else 0
        due = self.fit.rate * (step - self.trained)
        if due < min(WORTHWHILE * self.fit.batch, len(self._comparisons)):
            return 0
        due = min(due, most or due)
        self.trained += due / self.fit.rate
        self.fitted += due
        return due / len(self._comparisons)

    def publish(self, recent: Sequence[Segment], step: int) -> dict[str, float]:
        """Normalises on `recent` and publishes; what was found."""
        paid = self.ensemble.normalise(recent)
        self.ensemble.version = self.store.publish(self.ensemble.to_bytes(), step=step, labels=len(self._comparisons))
        found = {"reward/version": self.ensemble.version, "labels/learned": len(self._comparisons)}
        return diagnostics.distribution(paid) | {name: float(value) for name, value in found.items()}

    def _judge(self, fresh: Sequence[Comparison]) -> None:
        if not fresh or self.ensemble.version == 0:
            return
        left, right = (
            torch.as_tensor(self.ensemble.returns([getattr(c, s) for c in fresh])) for s in ("left", "right")
        )
        p = preference(left, right).mean(0).numpy()
        self._judged.append(np.stack([p, np.array([c.preference for c in fresh], p.dtype)]))

    def _keep(self, fresh: Sequence[Comparison]) -> None:
        for comparison in fresh:
            key = comparison.query, comparison.labeller
            self._comparisons.pop(key, None)
            if comparison.preference is not None:
                self._comparisons[key] = comparison
        surplus = len(self._comparisons) - (self.fit.keep or len(self._comparisons))
        for key in [*islice(self._comparisons, max(surplus, 0))]:
            del self._comparisons[key]

    def state(self) -> dict[str, torch.Tensor]:
        """The ensemble and its optimizer, flat."""
        moments = {
            f"optimizer.{i}.{name}": value
            for i, entry in self.optimizer.state_dict()["state"].items()
            for name, value in entry.items()
        }
        l2 = torch.tensor([group["weight_decay"] for group in self.optimizer.param_groups], dtype=torch.float64)
        counts = {"version": self.ensemble.version, "trained": self.trained, "fitted": self.fitted}
        ensemble = {f"ensemble.{name}": value for name, value in self.ensemble.state_dict().items()}
        tensors = {name: value.contiguous() for name, value in (ensemble | moments).items()}
        kept = {name: torch.tensor(count, dtype=torch.float64) for name, count in counts.items()}  # float32 skips steps
        return tensors | kept | {"l2": l2}

    def load(self, state: dict[str, torch.Tensor], upto: int | None = None) -> None:
        """Goes on from `state`, and from the store's answers to queries of steps up to `upto`."""
        self.ensemble.load_state_dict(_under("ensemble.", state))
        self.ensemble.version = int(state["version"])
        self.trained, self.fitted = float(state["trained"]), float(state["fitted"])
        entries: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in _under("optimizer.", state).items():
            i, moment = name.split(".")
            entries.setdefault(int(i), {})[moment] = value
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": entries})
        for group, l2 in zip(self.optimizer.param_groups, state["l2"].tolist(), strict=True):
            group["weight_decay"] = l2
        fresh, self.seen = self.store.comparisons(0, upto, self.fit.keep)
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
class Asker:
    """Asks what is due, and lets an oracle answer it; what it cannot tell is asked in place of, a few times.

    Called with the segments to choose from and the policy's steps; `total` are those of the run. Gives how often the
    oracle could not tell. Raises ValueError for an answer outside [0, 1].
    """

    learner: Learner
    oracle: Oracle
    total: int
    seconds: float = field(default=0.0, init=False)
    """That the oracle has taken so far."""

    def __call__(
        self,
        segments: Sequence[Segment],
        step: int,
        upto: int | None = None,
        at_most: int | None = None,
        first_attempt: int = 0,
    ) -> int:
        """`upto`: the step of lockstep, which a run that was then killed repeats.

        What this step asked before does not count: it is asked again, and found. Elsewhere `first_attempt` is
        a number that no earlier call at this step has come to, so that other pairs are asked about.
        """
        before = {label.query for label in self.learner.store.labels()} if upto is None else set()
        due = self.learner.due(step / self.total, upto=None if upto is None else upto - 1)
        due = due if at_most is None else min(due, at_most)
        answered: dict[Query, Label] = {}
        for attempt in range(first_attempt, first_attempt + ATTEMPTS):
            missing = due - sum(label.preference is not None for label in answered.values())
            if missing <= 0:
                break
            asked = self.learner.ask(segments, missing, step, attempt)
            fresh = [query for query in dict.fromkeys(asked) if query not in answered and query.id not in before]
            answered |= zip(fresh, self.answer(fresh, upto), strict=True)
        return sum(label.preference is None for label in answered.values())

    def answer(self, queries: Sequence[Query], upto: int | None = None) -> list[Label]:
        """The oracle's labels, stored; those that the store has already are left as they are."""
        store = self.learner.store
        known = {label.query: label for label in store.labels(self.learner.seen, upto=upto)}
        segments = store.segments(id for query in queries for id in (query.left, query.right))
        labels: list[Label] = []
        kept, began = 0, (first := time.perf_counter())
        for query in queries:
            left, right = segments[query.left], segments[query.right]
            if query.id in known:
                observe(self.oracle, left, right)
                labels.append(known[query.id])
            else:
                labels.append(Label(query.id, self.oracle(left, right), "oracle", key=f"oracle-{query.id}"))
            if time.perf_counter() - began > AT_RISK:
                store.answer(labels[kept:])
                kept, began = len(labels), time.perf_counter()
        self.seconds += time.perf_counter() - first
        return labels[:kept] + store.answer(labels[kept:])


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

    def __post_init__(self) -> None:
        self.asker = Asker(self.learner, self.oracle, self.turns.total)

    def __call__(self, segments: Sequence[Segment], step: int) -> dict[str, float]:
        self.recent.add(segments)
        if len(self.recent.segments) < 2 or not self.turns(step):
            return {}
        began = time.perf_counter()
        skipped = self.asker(list(self.recent.segments), step, upto=step)
        metrics = self.learner.learn(self.recent.blind(), step, upto=step)
        self.seconds += time.perf_counter() - began
        compared = compare(self.learner.ensemble, self.recent) if metrics else {}
        return metrics | compared | ({"labels/skipped": float(skipped)} if metrics or skipped else {})

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


def learner_of(parts: Parts, store: Store) -> Learner:
    """The learner that a configuration asks for; the nets begin at its seed."""
    config = parts.config
    torch.manual_seed(config.seed)
    return Learner(
        store,
        parts.ensemble(),
        config.labels,
        parts.select,
        parts.schedule,
        replace(parts.fit, seed=parts.fit.seed + config.seed),
        config.seed,
        why=config.select,
    )


def take_newest(learner: Learner) -> bool:
    """Whether the store had another reward than the learner's ensemble, which now is that one."""
    published = learner.store.reward() if learner.store.newest() != learner.ensemble.version else None
    if published is None:
        return False
    learner.ensemble.from_bytes(published[1], published[0])
    return True

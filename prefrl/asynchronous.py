"""The loop with nobody waiting: policy, questions and reward in a process each (section 2.2 of the paper).

The policy offers its newest segments and takes the newest reward; `asking` chooses pairs of them, and an oracle answers
or clips are made for people; `learning` fits the reward to whatever answers there are. They meet in the store.
"""

import json
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any, Protocol, TypeVar

import torch
from safetensors.torch import load_file, save

from prefrl import live
from prefrl.candidates import Candidates, Offers, offer
from prefrl.control.environments import EnvFacts
from prefrl.files import read_json, reading, whole
from prefrl.loop import ATTEMPTS, Asker, Learner, Show, Turns, compare, learner_of, take_newest
from prefrl.oracles import observe
from prefrl.parts import Parts
from prefrl.processes import to_stderr
from prefrl.recent import Recent
from prefrl.reward.ensemble import Ensemble
from prefrl.room import LOOK, is_full, shortage
from prefrl.runs import RunFolder
from prefrl.store import Store
from prefrl.tables import Unreachable
from prefrl.types import Segment

T = TypeVar("T")

AHEAD = 2
"""Turns that the policy may be ahead of its reward where an oracle answers: enough that neither waits for the other."""
OFFER_SECONDS = 5.0
"""Where people answer, what the policy just did is offered so often, however long a turn takes."""
OFFER_SHARE = 0.02
"""Share of the policy's time that offers may take: those of large observations come less often."""
LONG = 60.0
"""Seconds of waiting for an oracle that are worth a word."""
FIRST = 10
"""Answers of people before the first fit: from fewer, a reward is mostly what the nets began with."""
AWAY = "the run's database cannot be reached: the run goes on by itself when it can"
FULL = "the disk is full: make room, and the run goes on by itself"
RIGHT = "reward/prequential_accuracy"
AT_ONCE = 100
"""Comparisons that are trained on between looks at new answers, by a fit that goes on all the time: a few seconds."""
SELDOM = 30.0
"""Seconds between rewards that are published of such a fit where people answer: a net for frames has a megabyte."""
FEW = 5
"""Fits over which labellers are not told yet how well the reward predicts them: 0 % of one answer says nothing."""
PAUSE = 0.05
"""Seconds between looks at what is new."""
SLOW = 1.0
"""An oracle that takes longer for a turn is asked less at once, so that it judges what the policy does now."""


@dataclass
class Asynchronous:
    """The policy's side: offers its newest segments, and takes the newest reward before every rollout.

    Called with new segments and the policy's steps; gives metrics where there is a new reward. It waits for nobody,
    but where an oracle answers (`gated`) for a reward that is more than `AHEAD` turns behind, for all of its answers at
    the first turn and at the last, and for room on the disk.
    `check` raises if a process that it needs is gone for good.
    """

    run: Path
    store: Store
    ensemble: Ensemble
    recent: Recent
    turns: Turns
    gated: bool
    check: Callable[[], None] = lambda: None
    show: Show | None = None
    """Makes clips of frames, which would soon fill the memory."""
    seconds: float = 0.0
    """Spent on offers, on taking rewards, and waiting."""
    _offered: tuple[int, float, float] = field(default=(-1, 0.0, 0.0), init=False)
    """The last offer's step, when it was made, and how long that took."""

    def __call__(self, segments: Sequence[Segment], step: int) -> dict[str, float]:
        began = time.perf_counter()
        self.recent.add(self._patiently(step, lambda: [*map(self.show, segments)] if self.show else segments))
        if len(self.recent.segments) >= 2 and (self.turns(step) or self._outdated()):
            self._patiently(step, lambda: self._offer(step))
        metrics = self._patiently(step, lambda: self._newest(step))
        if metrics:
            self._tell(step)
        self.seconds += time.perf_counter() - began
        return metrics

    @property
    def version(self) -> int:
        return self.ensemble.version

    def save(self, folder: Path) -> None:
        """What `load` needs beside the store."""
        self.recent.save(folder / "recent.npz")
        (folder / "driver.json").write_text(json.dumps({"seconds": self.seconds}))

    def load(self, folder: Path, step: int) -> None:
        """Goes on after `step`, with the newest reward of the store."""
        self.recent.load(folder / "recent.npz")
        with reading(file := folder / "driver.json"):
            self.seconds = float(read_json(file)["seconds"])
        self.turns.skip_to(step)
        self._offer(step)
        self._take_newest()

    def _outdated(self) -> bool:
        _, last, took = self._offered
        return not self.gated and time.monotonic() - last > max(OFFER_SECONDS, took / OFFER_SHARE)

    def _offer(self, step: int) -> None:
        began = time.monotonic()
        offer(self.run, self.recent.segments, step)
        self._tell(step)
        now = time.monotonic()
        self._offered = step, now, now - began

    def _tell(self, step: int, paused: str | None = None) -> None:
        with suppress(OSError):  # no room even for the word that there is none
            live.write(self.run, "policy", step=step, version=self.version, paused=paused)

    def _patiently(self, step: int, act: Callable[[], T]) -> T:
        """Does it once the disk has room and the store can be reached; tells labellers meanwhile what is missing."""
        missing = None
        while True:
            try:
                if not (words := shortage(self.run)):
                    done = act()
                    break
            except Exception as error:
                words = FULL if is_full(error) else AWAY if isinstance(error, Unreachable) else None
                if not words:
                    raise
            missing = words
            self._tell(step, missing)
            time.sleep(LOOK)
        if missing:
            self._tell(step)
        return done

    def _newest(self, step: int) -> dict[str, float]:
        """What was found about the newest reward, once it is new enough; nothing if the policy has it."""
        self._wait(step)
        return self._take_newest()

    def _wait(self, step: int) -> None:
        self.check()
        needed, until = self._needed(step) if self.gated else -1, time.monotonic() + LONG
        while self._learned() < needed:
            time.sleep(PAUSE)
            self.check()
            if time.monotonic() > until:
                to_stderr(f"the policy has waited {LONG:g} s for answers of the oracle, or for the fit to them")
                until = math.inf

    def _learned(self) -> int:
        """The step whose questions are answered and learned from."""
        return int(live.read(self.run, "learner").get("step", -1))

    def _needed(self, step: int) -> int:
        if self.store.newest() == 0 or step >= self.turns.total:
            return self._offered[0]  # no policy learns from no reward, and the last questions are answered, too
        return step - AHEAD * self.turns.every

    def _take_newest(self) -> dict[str, float]:
        newest = self.store.newest()
        found: dict[str, float] = live.read(self.run, "learner").get("metrics", {})
        if newest == self.version or found.get("reward/version", newest) < newest:  # the learner is about to say more
            return {}
        published = self.store.reward()
        assert published is not None
        self.ensemble.from_bytes(published[1], published[0])
        return found | compare(self.ensemble, self.recent) | {"reward/version": float(self.version)}


def clear(run: Path) -> None:
    """Forgets what processes of an earlier session told each other."""
    for file in (run / live.FOLDER).glob("*"):
        if file != _state_file(run):
            file.unlink()


class Questions(Protocol):
    """Asks about candidates; says whether there was something to do."""

    def __call__(self, candidates: Candidates) -> bool: ...


def asking(run: Path, facts: EnvFacts, objects: dict[str, Any]) -> None:
    """The process that asks: does not return."""
    torch.set_num_threads(1)
    parts = Parts.of(RunFolder.open(run).config, facts, **objects)
    with Store(run, parts.config.store) as store:
        learner, offers = learner_of(parts, store), Offers(run)
        questions: Questions
        if parts.people:
            from prefrl.people import ForPeople  # needs PyAV

            questions = ForPeople(run, learner, parts)
        else:
            questions = ForOracle(run, learner, parts)
        while True:
            candidates = offers.newest()
            if candidates is None or shortage(run) or not questions(candidates):
                time.sleep(PAUSE)


@dataclass
class ForOracle:
    """Lets an oracle answer what is due about every new offer, however long it takes."""

    run: Path
    learner: Learner
    parts: Parts
    _done: int = -1
    _at_once: int = 2**31

    def __post_init__(self) -> None:
        self.asker = Asker(self.learner, self.parts.oracle, self.parts.config.total_timesteps)
        self._attempt = 0
        store = self.learner.store
        waiting = store.unanswered()  # what was asked before the process was killed
        for query in store.queries() if hasattr(self.parts.oracle, "observe") else ():
            if query not in waiting:
                observe(self.parts.oracle, store.segment(query.left), store.segment(query.right))
        self.asker.answer(waiting)

    def __call__(self, candidates: Candidates) -> bool:
        if candidates.step <= self._done:
            return False
        take_newest(self.learner)
        before = self.learner.store.counts().labelled
        due, taken = self.learner.due(candidates.step / self.asker.total), self.asker.seconds
        self.asker(candidates.segments, candidates.step, at_most=self._at_once, first_attempt=self._attempt)
        self._attempt += ATTEMPTS
        stuck = self.learner.store.counts().labelled == before
        if due <= self._at_once or stuck:
            self._done = candidates.step
            live.write(self.run, "asker", step=candidates.step)
        slow = self.asker.seconds - taken > SLOW
        self._at_once = max(min(due, self._at_once) // 2, 1) if slow else self._at_once * 2
        return True


def learning(run: Path, facts: EnvFacts, objects: dict[str, Any]) -> None:
    """The process that fits: does not return."""
    torch.set_num_threads(1)
    parts = Parts.of(RunFolder.open(run).config, facts, **objects)
    with Store(run, parts.config.store) as store:
        fitting, offers = Fitting(run, learner_of(parts, store), parts.people), Offers(run)
        while True:
            if shortage(run) or not fitting(offers.newest()):
                time.sleep(PAUSE)


@dataclass
class Fitting:
    """Fits the reward to whatever new answers there are, and tells how far it has come.

    Goes on from what a learner that was killed had kept, or from the newest reward.
    """

    run: Path
    learner: Learner
    people: bool
    _told: int = -2
    _published: tuple[int, float] = (-2, -math.inf)
    """The offer whose answers the published reward knew, and when that was."""
    _found: dict[str, float] = field(default_factory=dict)
    """Since then."""
    _seconds: float = 0.0
    _metrics: dict[str, float] = field(default_factory=dict)
    _right: deque[float] = field(default_factory=partial(deque[float], maxlen=20))
    _candidates: Candidates | None = None
    _blind: list[Segment] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not _state_file(self.run).exists():
            take_newest(self.learner)
            return
        with reading(_state_file(self.run)):
            state = load_file(_state_file(self.run))
            self.learner.load(state)
            self.learner.seen = int(state["seen"])

    def __call__(self, candidates: Candidates | None) -> bool:
        """Whether there was something to learn; the reward is normalised on `candidates`."""
        # read before the labels: whatever had been answered by then is learned when it is written again
        asked = int(live.read(self.run, "asker").get("step", -1))
        began, found = time.perf_counter(), dict[str, float]()
        if candidates and (self.learner.ensemble.version or self._enough(asked)):
            found = self.learner.train(candidates.step, most=AT_ONCE)
            self._found |= found
        if candidates and self._found and self._worth_publishing(asked):
            self._metrics = self._found | self.learner.publish(self._blinded(candidates), candidates.step)
            self._found, self._published = {}, (asked, time.monotonic())
            found = found or self._metrics
        if found:
            self._seconds += time.perf_counter() - began
            self._right += [found[RIGHT]] if RIGHT in found else []
            self._keep()
        if found or asked != self._told:
            self._told = asked
            right = mean(self._right) if len(self._right) >= FEW else None
            live.write(self.run, "learner", step=asked, seconds=self._seconds, right=right, metrics=self._metrics)
        return bool(found)

    def _worth_publishing(self, asked: int) -> bool:
        """Every fit is; one that goes on all the time, when an offer was answered, or every now and then."""
        answered, at = self._published
        return self.learner.fit.rate is None or asked > answered or time.monotonic() - at > SELDOM

    def _enough(self, asked: int) -> bool:
        """For the first fit: all answers about the untrained policy, or a few of people's."""
        if self.people:
            return self.learner.store.counts().labelled >= min(FIRST, self.learner.budget)
        return asked >= 0

    def _blinded(self, candidates: Candidates) -> list[Segment]:
        if candidates is not self._candidates:
            self._candidates, self._blind = candidates, [segment.blind() for segment in candidates.segments]
        return self._blind

    def _keep(self) -> None:
        state = self.learner.state() | {"seen": torch.tensor(self.learner.seen)}
        with whole(_state_file(self.run)) as file:
            file.write(save(state))


def _state_file(run: Path) -> Path:
    return run / live.FOLDER / "learner.safetensors"

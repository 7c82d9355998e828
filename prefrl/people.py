"""What people are asked: a few pairs ready to be shown, of the newest behaviour, as clips."""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from prefrl import files, live, media
from prefrl.candidates import Candidates
from prefrl.control.camera import Camera
from prefrl.loop import Learner, take_newest
from prefrl.parts import Parts
from prefrl.queries import AnySide
from prefrl.reward.loss import preference
from prefrl.store import Store
from prefrl.types import REPEAT, STALE, Array, Label, Query, Segment

READY, EACH = 4, 4
"""Pairs kept ready: some, and some more for each who labels; a clip takes a part of a second to draw."""
Clips = frozenset[str | None]
DOUBLED = 8
"""How often twice as many pairs are looked at, where all of them were shown before."""


@dataclass
class ForPeople:
    """Keeps a few pairs ready to be shown, of the newest behaviour; withdraws those that say nothing any more."""

    run: Path
    learner: Learner
    parts: Parts

    def __post_init__(self) -> None:
        self._select = self.learner.select
        self.learner.select = AnySide(self._unseen)
        self.camera = Camera(self.parts.config.env)
        self._shown: dict[int, Clips] = {}
        self._idle: object = None
        self._attempt = self.learner.store.counts().asked

    def __call__(self, candidates: Candidates) -> bool:
        store, ready = self.learner.store, self._ready()
        if (now := (store.extent(), candidates.step, ready)) == self._idle:
            return False
        self._remember_pairs()
        unanswered = store.unanswered()
        waiting = [query for query in unanswered if query.why != REPEAT and None not in self._shown[query.id]]
        if take_newest(self.learner) and len(waiting) >= ready:
            self._withdraw(waiting, candidates)
        others = len(unanswered) - len(waiting)  # repeats, and what cannot be shown: nobody may ever answer them
        due = self.learner.due(candidates.step / self.parts.config.total_timesteps) + others
        visible = [segment for segment in candidates.segments if self._visible(segment)]
        if len(visible) < 2 or len(waiting) >= ready or due <= 0:
            self._idle = now
            return False
        self._attempt += 1
        self.learner.ask(visible, 1, candidates.step, self._attempt, self._show)
        live.write(self.run, "asker", step=candidates.step)
        if store.extent()[0] > now[0][0]:
            return True
        self._idle = now  # the strategy wants what was asked already
        return False

    def _remember_pairs(self) -> None:
        """Of every query, the clips that people see."""
        store = self.learner.store
        asked = store.queries(after=max(self._shown, default=0))
        names = store.media(id for query in asked for id in (query.left, query.right))
        self._shown |= {query.id: frozenset((names[query.left], names[query.right])) for query in asked}

    def _unseen(
        self, segments: Sequence[Segment], returns: Array, n: int, rng: np.random.Generator
    ) -> list[tuple[int, int]]:
        """What the strategy prefers among pairs of which nobody has seen the clips: frames are filmed of few."""
        shown = {clips for clips in self._shown.values() if None not in clips}
        for doubled in range(DOUBLED):
            pairs = self._select(segments, returns, n * 2**doubled, rng)
            unseen = [pair for pair in pairs if frozenset(segments[i].media for i in pair) not in shown]
            if unseen:
                return unseen[:n]
        return []

    def _visible(self, segment: Segment) -> bool:
        clip = segment.media and self.run / files.FOLDER / segment.media
        return clip.exists() if clip else segment.state is not None

    def _ready(self) -> int:
        return READY + EACH * max(int(live.read(self.run, "page").get("labellers", 1)), 1)

    def _show(self, segment: Segment) -> Segment:
        if segment.media:
            return segment
        clip = media.encode(self.camera.film(segment), self.parts.facts.fps)
        return replace(segment, media=files.keep(self.run / files.FOLDER, clip, files.CLIP))

    def _withdraw(self, waiting: Sequence[Query], candidates: Candidates) -> None:
        """The pair on which the nets now agree best, if they agree far better than about pairs of today.

        One at a time, and only where the others are ready: drawing takes longer than answering.
        """
        store = self.learner.store
        segments = store.segments(id for query in waiting for id in (query.left, query.right))
        pairs = [(segments[query.left], segments[query.right]) for query in waiting]
        half = len(candidates.segments) // 2
        today = zip(candidates.segments[:half], candidates.segments[half:], strict=False)
        disagreement = self._disagreement(pairs)
        if disagreement.min() < np.median(self._disagreement(list(today))) / 2:
            query = waiting[int(disagreement.argmin())].id
            store.answer([Label(query, None, "", at=time.time(), key=f"{STALE}-{query}", note=STALE)])

    def _disagreement(self, pairs: Sequence[tuple[Segment, Segment]]) -> Array:
        """Variance over the nets of the chance that left is better, (pairs,)."""
        left, right = (torch.as_tensor(self.learner.ensemble.returns([p[i] for p in pairs])) for i in (0, 1))
        spread: Array = preference(left, right).numpy().var(axis=0)
        return spread


@dataclass
class Filmed:
    """Makes clips of frames, where a simulator has no state that could be drawn later.

    Removes those that nobody was asked about, but for the last `kept`: as many as may still be chosen.
    """

    run: Path
    store: Store
    fps: int
    kept: int
    _clips: deque[str] = field(default_factory=deque, init=False)

    def __post_init__(self) -> None:
        earlier = (file.name for file in (self.run / files.FOLDER).glob(f"*{files.CLIP}"))
        self._clips.extend(name for name in earlier if not self.store.shows(name))

    def __call__(self, segment: Segment) -> Segment:
        if segment.state is None or segment.state.dtype != np.uint8:
            return segment
        name = files.keep(self.run / files.FOLDER, media.encode(segment.state, self.fps), files.CLIP)
        self._clips.append(name)
        if len(self._clips) > self.kept:
            old = self._clips.popleft()
            if old not in self._clips and not self.store.shows(old):
                (self.run / files.FOLDER / old).unlink(missing_ok=True)
        return replace(segment, media=name, state=None)

"""The record of a run: four tables that only grow, and the arrays of segments in files beside them."""

import math
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, Self
from uuid import uuid4

import numpy as np
from sqlalchemy import ColumnElement, Connection, Row, Select, Table, func, select, true

from prefrl.files import reading as reading_file
from prefrl.files import sync, unpack, whole
from prefrl.frames import shared, stacks
from prefrl.tables import find, labels, opened, put, queries, reading, rewards, segments, sqlite_file, writing
from prefrl.types import NOTES, UNDONE, Comparison, Label, Query, Segment

EXTENT = (queries, labels, rewards)
SYNCS = 16
"""Files synced at once: a file system commits them together, in a tenth of the time that one by one takes."""
HELD = 1_000
"""Segments kept in memory after they were read: an oracle reads those that the next fit reads again."""


@dataclass(frozen=True)
class Counts:
    """How far a store has come; of several labels of one labeller to one query, the last counts."""

    recorded: int
    """Segments."""
    asked: int
    """Queries."""
    labelled: int
    """Labels with a preference."""
    skipped: int
    """Labels that say "cannot tell"."""
    unanswered: int
    """Queries without an answer, or whose answers were taken back."""


class Version(NamedTuple):
    """A published reward."""

    id: int
    step: int
    """Environment steps of the policy when it was published."""
    labels: int
    """How many labels it was fitted to."""


class Store:
    """Segments, queries, labels and rewards: `record`, `ask`, `answer` and `publish` write them.

    Rows are inserted, never changed, and what is written twice is there once: a run that was killed and repeats its
    last steps finds its rows with the ids they had. Any number of processes and threads may work on one folder, each
    process with a Store of its own. Tables are in `folder/store.db` unless `url` names a PostgreSQL database; arrays
    are in the folder all the same, which machines that work on one run must share.

    Raises ValueError for a file or database that is no store of this version, for rows that name others which are not
    there, and for impossible labels. `upto`: only what was asked until the policy had taken so many steps.
    """

    def __init__(self, folder: Path, url: str | None = None) -> None:
        self.folder, self.url = Path(folder), url
        self.folder.mkdir(parents=True, exist_ok=True)
        self._engine = opened(url or sqlite_file(self.folder / "store.db"))
        self._reading = reading(self._engine)
        self._files = self.folder / "segments"
        self._files.mkdir(exist_ok=True)
        self._read = lru_cache(HELD)(self._read_file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._engine.dispose()

    def record(self, new: Iterable[Segment]) -> list[Segment]:
        """The segments with their ids; one whose arrays are there already comes back as it was first recorded."""
        new = list(new)
        names = [digest(segment) for segment in new]
        media = [None if s.media is None else _text("media", s.media) for s in new]
        self._write(dict(zip(names, new, strict=True)))
        rows = [{"digest": n, "media": m, "step": s.step} for n, m, s in zip(names, media, new, strict=True)]
        with writing(self._engine) as connection:
            found = put(connection, segments, ["digest"], rows)
        return [replace(s, id=row.id, media=row.media, step=row.step) for s, row in zip(new, found, strict=True)]

    def ask(self, new: Iterable[Query]) -> list[Query]:
        """The queries with their ids; the same pair asked at the same step is one query."""
        new = list(new)
        rows = [{"left": q.left, "right": q.right, "step": q.step, "why": _text("why", q.why)} for q in new]
        with writing(self._engine) as connection:
            self._known(connection, segments, (id for query in new for id in (query.left, query.right)))
            return [Query(**row._asdict()) for row in put(connection, queries, ["left", "right", "step"], rows)]

    def answer(self, new: Iterable[Label]) -> list[Label]:
        """The labels with their ids and keys: all of them are kept, or none; the same key twice is one label."""
        new = [checked(label) for label in new]
        with writing(self._engine) as connection:
            self._known(connection, queries, (label.query for label in new))
            rows = [{name: value for name, value in vars(label).items() if name != "id"} for label in new]
            found = [Label(**row._asdict()) for row in put(connection, labels, ["key"], rows)]
            for label, kept in zip(new, found, strict=True):
                if replace(label, id=kept.id, seconds=kept.seconds, at=kept.at) != kept:
                    raise ValueError(f"key {kept.key!r} belongs to another answer: give every label a key of its own")
        return found

    def publish(self, parameters: bytes, *, step: int, labels: int) -> int:
        """The version of this reward, from 1 on; the same parameters at the same step are one version."""
        row = {"step": step, "labels": labels, "digest": sha256(parameters).hexdigest(), "parameters": parameters}
        with writing(self._engine) as connection:
            version: int = put(connection, rewards, ["step", "digest"], [row])[0].id
        return version

    def segment(self, id: int) -> Segment:
        """A segment with its truth."""
        return self.segments([id])[id]

    def segments(self, ids: Iterable[int]) -> dict[int, Segment]:
        """Segments with their truth, by id."""
        rows = self._by_id(segments, ids)
        return {i: replace(self._read(row.digest), media=row.media, id=i, step=row.step) for i, row in rows.items()}

    def media(self, ids: Iterable[int]) -> dict[int, str | None]:
        """What a person sees of segments, by id; their arrays are not read."""
        return {i: row.media for i, row in self._by_id(segments, ids).items()}

    def queries(self, upto: int | None = None, after: int = 0) -> list[Query]:
        """What was asked until the policy had taken `upto` steps, with an id above `after`, in the order of ids."""
        return [Query(**row._asdict()) for row in self._all(_queries(upto).where(queries.c.id > after))]

    def unanswered(self, upto: int | None = None) -> list[Query]:
        """The queries without an answer, or whose answers were all taken back."""
        waiting = _queries(upto).where(queries.c.id.not_in(_answered()))
        return [Query(**row._asdict()) for row in self._all(waiting)]

    def labels(self, after: int = 0, upto: int | None = None) -> list[Label]:
        """All labels with an id above `after`, to queries of the first `upto` steps, superseded ones too."""
        return [Label(**row._asdict()) for row in self._all(_labels(select(labels), after, upto))]

    def comparisons(
        self, after: int = 0, upto: int | None = None, last: int | None = None
    ) -> tuple[list[Comparison], int]:
        """What `labels` gives, as comparisons, or from the `last` preferences on; and the `after` to go on from."""
        both = select(
            labels.c.id, queries.c.left, queries.c.right, labels.c.preference, labels.c.query, labels.c.labeller
        )
        rows = self._all(_labels(both, after, upto))
        told = [i for i, row in enumerate(rows) if row.preference is not None]
        rows = rows[told[-last] :] if last and last < len(told) else rows
        loaded = self.segments(i for row in rows for i in (row.left, row.right))
        blind = {i: segment.blind() for i, segment in loaded.items()}
        fresh = [Comparison(blind[r.left], blind[r.right], r.preference, r.query, r.labeller) for r in rows]
        return fresh, rows[-1].id if rows else after

    def counts(self, upto: int | None = None) -> Counts:
        """How much there is of everything, by the policy's first `upto` steps."""
        chosen = _labels(select(labels.c.preference), 0, upto).where(labels.c.id.in_(_latest()), labels.c.note == "")
        current = chosen.subquery()
        asked = _queries(upto).subquery()
        counted = select(
            select(func.count()).select_from(segments).where(_by(segments, upto)).label("recorded"),
            select(func.count()).select_from(asked).label("asked"),
            select(func.count(current.c.preference)).label("labelled"),
            select(func.count() - func.count(current.c.preference)).select_from(current).label("skipped"),
            select(func.count()).select_from(asked).where(asked.c.id.not_in(_answered())).label("unanswered"),
        )
        return Counts(**self._all(counted)[0]._asdict())

    def reward(self, version: int | None = None) -> tuple[int, bytes] | None:
        """(version, parameters) of the newest reward, or of the one asked for; None if there is none."""
        chosen = true() if version is None else rewards.c.id == version
        newest = select(rewards.c.id, rewards.c.parameters).where(chosen).order_by(rewards.c.id.desc()).limit(1)
        return next(((row.id, row.parameters) for row in self._all(newest)), None)

    def extent(self) -> tuple[int, ...]:
        """The newest query, label and reward: who has seen them has seen all; 0 where there is none."""
        newest = (select(func.coalesce(func.max(table.c.id), 0)).scalar_subquery() for table in EXTENT)
        return tuple(self._all(select(*newest))[0])

    def newest(self) -> int:
        """The version of the newest reward; 0 if there is none."""
        return int(self._all(select(func.coalesce(func.max(rewards.c.id), 0)))[0][0])

    def shows(self, media: str) -> bool:
        """Whether any segment is shown by this clip or text."""
        return bool(self._all(select(segments.c.id).where(segments.c.media == media).limit(1)))

    def versions(self) -> list[Version]:
        """All published rewards, oldest first."""
        published = select(rewards.c.id, rewards.c.step, rewards.c.labels).order_by(rewards.c.id)
        return [Version(**row._asdict()) for row in self._all(published)]

    def _all(self, statement: Select[Any]) -> Sequence[Row[Any]]:
        with self._reading.connect() as connection:
            return connection.execute(statement).all()

    def _by_id(self, table: Table, ids: Iterable[int]) -> dict[int, Row[Any]]:
        with self._reading.connect() as connection:
            return self._known(connection, table, ids)

    def _known(self, connection: Connection, table: Table, ids: Iterable[int]) -> dict[int, Row[Any]]:
        ids = {int(i) for i in ids}
        rows = find(connection, table, ["id"], [(i,) for i in ids if abs(i) < 2**63])  # what a column can hold
        found = {row.id: row for row in rows.values()}
        if unknown := ids - found.keys():
            raise ValueError(f"no row {min(unknown)} in {table.name} of {self.folder}: use the ids that the store gave")
        return found

    def _path(self, name: str) -> Path:
        return self._files / f"{name}.npz"

    def _write(self, new: dict[str, Segment]) -> None:
        """Before the rows, so that a kill leaves files without rows, never rows without files."""
        missing = {path: segment for name, segment in new.items() if not (path := self._path(name)).exists()}
        with ThreadPoolExecutor(SYNCS) as pool:
            list(pool.map(_save, missing, missing.values()))  # raises what a thread raised
        sync(self._files)

    def _read_file(self, name: str) -> Segment:
        path = self._path(name)
        arrays = unpack(path)
        if arrays.keys() >= {"frames", "stack"}:
            with reading_file(path):
                arrays["obs"] = stacks(arrays.pop("frames"), int(arrays.pop("stack")))
        if arrays.keys() - {"truth", "state"} == {"obs", "acts"}:
            segment = Segment(arrays["obs"], arrays["acts"], arrays.get("truth"), state=arrays.get("state"))
            if digest(segment) == name:
                return segment
        raise ValueError(f"{path} is not what was recorded under this name: restore it")


def digest(segment: Segment) -> str:
    """What makes a segment that segment: the SHA-256 of its arrays' names, types, shapes and bytes."""
    arrays = _arrays(segment)
    lengths = {array.shape[:1] for array in arrays.values()}
    if len(lengths) > 1 or () in lengths:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise ValueError(f"a segment needs one row per step in each of its arrays, got {shapes}")
    content = sha256()
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
            raise ValueError(f"{name} of a segment must hold numbers of at most 64 bits, not {array.dtype}")
        content.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        content.update(array.tobytes())
    return content.hexdigest()


def checked(label: Label) -> Label:
    """The label as the store will keep it; an impossible one is refused."""
    if label.preference is not None and not 0 <= label.preference <= 1:
        raise ValueError(f"a preference is a chance in [0, 1] or None, not {label.preference}")
    if label.note not in NOTES or (label.note and label.preference is not None):
        raise ValueError(f"a note is one of {', '.join(NOTES[1:])}, and has no preference beside it: {label.note!r}")
    if not (math.isfinite(label.seconds) and math.isfinite(label.at)):
        raise ValueError(f"the times of a label must be finite, not {label.seconds} and {label.at}")
    if label.confidence is not None and not math.isfinite(label.confidence):
        raise ValueError(f"a confidence is a finite number or None, not {label.confidence}")
    return replace(
        label,
        preference=None if label.preference is None else float(label.preference),
        labeller=_text("labeller", label.labeller),
        seconds=float(label.seconds),
        at=float(label.at),
        confidence=None if label.confidence is None else float(label.confidence),
        key=_text("key", label.key) or str(uuid4()),
    )


def _save(path: Path, segment: Segment) -> None:
    """Frames are kept once, and compressed."""
    arrays = _arrays(segment)
    frames = shared(segment.obs)
    if frames is not None:
        del arrays["obs"]
        arrays |= {"frames": frames, "stack": np.array(segment.obs.shape[1])}
    with whole(path) as file:
        (np.savez_compressed if segment.obs.dtype == np.uint8 else np.savez)(file, allow_pickle=False, **arrays)


def _arrays(segment: Segment) -> dict[str, Any]:
    arrays = {"obs": segment.obs, "acts": segment.acts, "truth": segment.truth, "state": segment.state}
    return {name: array for name, array in arrays.items() if array is not None}


def _by(table: Table, upto: int | None) -> ColumnElement[bool]:
    return true() if upto is None else table.c.step <= upto


def _queries(upto: int | None) -> Select[Any]:
    return select(queries).where(_by(queries, upto)).order_by(queries.c.id)


def _labels(columns: Select[Any], after: int, upto: int | None) -> Select[Any]:
    asked = columns.join_from(labels, queries, labels.c.query == queries.c.id)
    return asked.where(labels.c.id > after, _by(queries, upto)).order_by(labels.c.id)


def _latest() -> Select[Any]:
    """Of every labeller's labels to a query, the last."""
    return select(func.max(labels.c.id)).group_by(labels.c.query, labels.c.labeller)


def _answered() -> Select[Any]:
    return select(labels.c.query).where(labels.c.id.in_(_latest()), labels.c.note != UNDONE)


def _text(name: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} {value!r} is not valid text: leave out lone surrogates") from None
    if "\0" in value:
        raise ValueError(f"{name} {value!r} is not valid text: leave out NUL")
    return value

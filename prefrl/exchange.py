"""Queries, segments and labels in files of other tools, and from them.

| format    | what a file holds                                                                                    |
|-----------|------------------------------------------------------------------------------------------------------|
| jsonl     | a query per line, `{"left", "right", "step", "why", "labels"}`, with both segments; arrays are       |
|           | `{"dtype", "shape", "values"}`, values nested lists, in which "nan", "inf" and "-inf" are texts      |
| parquet   | the same in a row; arrays are `{"dtype", "shape", "data"}`: `np.frombuffer(data, dtype)`, reshaped    |
| imitation | an npz with `obs` (n, 2, T + 1, *obs), `acts` (n, 2, T, *act), `rews` (n, 2, T) and `preferences`    |
|           | (n,): chance that the first is better. The last observation is repeated, rewards may be NaN          |
| b-pref    | an npz with `sa_t_1` and `sa_t_2` (n, T, obs + act), `obs_size`, and `labels` (n, 1): 0 if the first |
|           | is better, 1 if the second is, -1 for a tie                                                          |

jsonl and parquet give back every query with its segments and the whole history of its labels; of clips, only the names.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from prefrl.store import Store, checked, digest, unpack, whole
from prefrl.types import Array, Label, Query, Segment

BATCH = 256
"""Pairs in memory at once: 0.4 GB of Atari's."""
B_PREF = {1.0: 0, 0.0: 1, 0.5: -1}


@dataclass(frozen=True)
class Report:
    """What became of the labels."""

    written: int
    """Labels that the target now has."""
    ties: int
    """Those of them with preference 0.5."""
    skipped: int
    """Those of them that say "cannot tell"."""
    dropped: dict[str, int]
    """What the target cannot hold, and how many of it."""


class Pair(NamedTuple):
    """A query with what its ids stand for; the labels have the ids that they had in the store they come from."""

    left: Segment
    right: Segment
    query: Query
    labels: list[Label]


class Format(NamedTuple):
    """How to write a file of a store, and what to read in one."""

    write: Callable[[Store, IO[bytes]], Report]
    read: Callable[[Path], Iterator[Pair]]


def export(store: Store, path: Path, format: str) -> Report:
    """Writes a new file; one that exists is left alone."""
    write = _format(format).write
    if path.exists():
        raise FileExistsError(f"{path} exists: choose another name, or move it away")
    with whole(path) as file:
        return write(store, file)


def load(store: Store, path: Path, format: str) -> Report:
    """Adds a file's queries and labels to the store; those that it has already are there once."""
    pairs = _format(format).read(path)
    asked: list[Query] = []
    answers: list[list[Label]] = []
    while batch := list(islice(pairs, BATCH)):
        recorded = store.record(segment for pair in batch for segment in (pair.left, pair.right))
        for pair, left, right in zip(batch, recorded[::2], recorded[1::2], strict=True):
            asked.append(replace(pair.query, left=left.id, right=right.id))
            answers.append(pair.labels)
    # asked when the whole file was read: half a file would leave questions whose answers are in the other half
    queries = store.ask(asked)
    labels = [replace(label, query=q.id) for q, own in zip(queries, answers, strict=True) for label in own]
    return _report(store.answer(_with_free_keys(store, sorted(labels, key=lambda label: label.id))), Counter())


def _with_free_keys(store: Store, labels: list[Label]) -> list[Label]:
    """Two runs may have given one key to different answers."""
    taken = {label.key: (label.query, label.preference, label.labeller) for label in store.labels()}
    return [
        label
        if taken.get(label.key) in (None, (label.query, label.preference, label.labeller))
        else replace(label, key=f"{label.key}@{label.query}")
        for label in labels
    ]


def _report(written: list[Label], dropped: Counter[str]) -> Report:
    preferences = [label.preference for label in written]
    return Report(
        len(written), preferences.count(0.5), preferences.count(None), {k: n for k, n in dropped.items() if n}
    )


def _format(name: str) -> Format:
    if name not in FORMATS:
        raise ValueError(f"unknown format {name!r}: choose one of {', '.join(FORMATS)}")
    return FORMATS[name]


def _write_jsonl(store: Store, file: IO[bytes]) -> Report:
    for entry in _entries(store, _lists):
        file.write(json.dumps(entry, allow_nan=False).encode() + b"\n")
    return _report(store.labels(), _left_behind(store))


def _read_jsonl(path: Path) -> Iterator[Pair]:
    with path.open("rb") as file:
        yield from _parsed(path, file, lambda line: _pair(json.loads(line), _from_lists))


def _write_parquet(store: Store, file: IO[bytes]) -> Report:
    pa, parquet = _pyarrow()
    array = pa.struct({"dtype": pa.string(), "shape": pa.list_(pa.int64()), "data": pa.large_binary()})
    segment = pa.struct({"obs": array, "acts": array, "truth": array, "media": pa.string(), "step": pa.int64()})
    texts = {name: pa.string() for name in ("labeller", "key")}
    label = pa.struct({"id": pa.int64(), **{name: pa.float64() for name in ("preference", "seconds", "at")}, **texts})
    row = {"left": segment, "right": segment, "step": pa.int64(), "why": pa.string(), "labels": pa.list_(label)}
    entries = _entries(store, _bytes)
    with parquet.ParquetWriter(file, schema := pa.schema(row)) as writer:
        while batch := list(islice(entries, BATCH)):
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))
    return _report(store.labels(), _left_behind(store))


def _read_parquet(path: Path) -> Iterator[Pair]:
    _, parquet = _pyarrow()
    with parquet.ParquetFile(path) as file:
        rows = (row for batch in file.iter_batches(batch_size=BATCH) for row in batch.to_pylist())
        yield from _parsed(path, rows, lambda row: _pair(row, _from_bytes))


def _pyarrow() -> tuple[Any, Any]:
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ModuleNotFoundError:
        raise ModuleNotFoundError("parquet files need pyarrow: pip install pyarrow") from None


def _write_imitation(store: Store, file: IO[bytes]) -> Report:
    dropped: Counter[str] = Counter()
    pairs = _decided(store, dropped)
    np.savez(
        file,
        allow_pickle=False,
        obs=np.stack([[np.concatenate([s.obs, s.obs[-1:]]) for s in pair[:2]] for pair in pairs]),
        acts=np.stack([[s.acts for s in pair[:2]] for pair in pairs]),
        rews=np.stack([[np.full(len(s), np.nan) if s.truth is None else s.truth for s in pair[:2]] for pair in pairs]),
        preferences=np.array([label.preference for _, _, label in pairs], dtype=np.float32),
    )
    return _report([label for _, _, label in pairs], dropped)


def _read_imitation(path: Path) -> Iterator[Pair]:
    obs, acts, preferences, rews = _columns(path, "obs", "acts", "preferences", "rews")
    sides = [
        [Segment(o[:-1], a, None if np.isnan(r).all() else r) for o, a, r in zip(*arrays, strict=True)]
        for arrays in ((obs[:, i], acts[:, i], rews[:, i]) for i in (0, 1))
    ]
    return _labelled(path, "imitation", *sides, preferences.tolist())


def _write_b_pref(store: Store, file: IO[bytes]) -> Report:
    dropped: Counter[str] = Counter()
    decided = _decided(store, dropped)
    pairs = [pair for pair in decided if pair[2].preference in B_PREF]
    dropped["preferences other than 0, 0.5 and 1"] = len(decided) - len(pairs)
    obs, acts = decided[0][0].obs, decided[0][0].acts
    if obs.ndim != 2 or acts.ndim != 2:
        raise ValueError(f"b-pref holds vectors: not observations {obs.shape} and actions {acts.shape} of a segment")
    sides = [np.array([np.concatenate([pair[i].obs, pair[i].acts], axis=1) for pair in pairs]) for i in (0, 1)]
    marks = np.array([[B_PREF[label.preference]] for _, _, label in pairs if label.preference is not None])
    np.savez(file, allow_pickle=False, sa_t_1=sides[0], sa_t_2=sides[1], labels=marks, obs_size=obs.shape[1])
    return _report([label for _, _, label in pairs], dropped)


def _read_b_pref(path: Path) -> Iterator[Pair]:
    left, right, marks, obs_size = _columns(path, "sa_t_1", "sa_t_2", "labels", "obs_size")
    meaning = {mark: preference for preference, mark in B_PREF.items()}
    if unknown := set(marks.ravel().tolist()) - meaning.keys():
        raise ValueError(f"labels in {path} must be 0 (first), 1 (second) or -1 (tie), not {unknown.pop()}")
    sides = [[Segment(*np.split(sa, [int(obs_size)], axis=1)) for sa in side] for side in (left, right)]
    return _labelled(path, "b-pref", *sides, [meaning[mark] for mark in marks.ravel().tolist()])


def _decided(store: Store, dropped: Counter[str]) -> list[tuple[Segment, Segment, Label]]:
    """The labels that count, with segments that go into one array; what they leave out is counted."""
    history, asked = store.labels(), {query.id: query for query in store.queries()}
    current = list({(label.query, label.labeller): label for label in history}.values())
    decided = [label for label in current if label.preference is not None]
    pairs = [(store.segment(asked[x.query].left), store.segment(asked[x.query].right), x) for x in decided]
    kept = [pair for pair in pairs if _layout(pair[0]) == _layout(pair[1]) == _layout(pairs[0][0])]
    dropped["superseded labels"] = len(history) - len(current)
    dropped['labels "cannot tell"'] = len(current) - len(decided)
    dropped["queries without labels"] = len(store.unanswered())
    dropped["pairs of another shape or type than the first"] = len(pairs) - len(kept)
    if not kept:
        raise ValueError(f"{store.folder} has no preference between segments of one shape: nothing to export")
    return kept


def _layout(segment: Segment) -> tuple[Any, ...]:
    return segment.obs.shape, segment.obs.dtype, segment.acts.shape, segment.acts.dtype


def _columns(path: Path, *names: str) -> list[Array]:
    arrays = unpack(path)
    if missing := set(names) - arrays.keys():
        raise ValueError(f"{path} lacks the arrays {', '.join(sorted(missing))}")
    if len({len(arrays[name]) for name in names if arrays[name].ndim}) > 1:
        raise ValueError(f"{path} holds arrays of different lengths")
    return [arrays[name] for name in names]


def _labelled(
    path: Path, format: str, left: list[Segment], right: list[Segment], preferences: list[float]
) -> Iterator[Pair]:
    """One query a row; when a pair comes back, another labeller answered, as far as one can know."""
    source, times = sha256(path.read_bytes()).hexdigest(), Counter[tuple[str, str]]()
    for n, (one, other, preference) in enumerate(zip(left, right, preferences, strict=True)):
        times[pair := (digest(one), digest(other))] += 1
        label = Label(0, preference, f"{format} {source[:8]} {times[pair]}", key=f"{source}:{n}", id=n)
        yield Pair(one, other, Query(0, 0, why=format), [checked(label)])


def _left_behind(store: Store) -> Counter[str]:
    shown = {segment for query in store.queries() for segment in (query.left, query.right)}
    return Counter(
        {
            "segments that no query asks about": store.counts().recorded - len(shown),
            "rewards": len(store.versions()),
        }
    )


def _entries(store: Store, encode: Callable[[Array], object]) -> Iterator[dict[str, Any]]:
    """A query as plain data, after another."""
    answers: dict[int, list[Label]] = {}
    for label in store.labels():
        answers.setdefault(label.query, []).append(label)
    for query in store.queries():
        own = [{name: value for name, value in vars(x).items() if name != "query"} for x in answers.get(query.id, ())]
        sides = {side: _plain(store.segment(id), encode) for side, id in (("left", query.left), ("right", query.right))}
        yield {**sides, "step": query.step, "why": query.why, "labels": own}


def _plain(segment: Segment, encode: Callable[[Array], object]) -> dict[str, object]:
    truth = None if segment.truth is None else encode(segment.truth)
    arrays = {"obs": encode(segment.obs), "acts": encode(segment.acts), "truth": truth}
    return {**arrays, "media": segment.media, "step": segment.step}


def _parsed[T](path: Path, entries: Iterable[T], parse: Callable[[T], Pair]) -> Iterator[Pair]:
    for n, entry in enumerate(entries, 1):
        try:
            pair = parse(entry)
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            raise ValueError(f"query {n} in {path} cannot be read: {error!r}") from error
        yield pair


def _pair(entry: dict[str, Any], decode: Callable[[dict[str, Any]], Array]) -> Pair:
    """What `_entries` gave, back."""
    left, right = (_segment(entry[side], decode) for side in ("left", "right"))
    labels = [checked(Label(query=0, **label)) for label in entry["labels"]]
    return Pair(left, right, Query(0, 0, step=entry["step"], why=entry["why"]), labels)


def _segment(plain: dict[str, Any], decode: Callable[[dict[str, Any]], Array]) -> Segment:
    truth = None if plain["truth"] is None else decode(plain["truth"])
    return Segment(decode(plain["obs"]), decode(plain["acts"]), truth, media=plain["media"], step=plain["step"])


def _lists(array: Array) -> dict[str, object]:
    finite = np.isfinite(array).all()
    values = (
        array.tolist() if finite else np.where(np.isfinite(array), array.astype(object), array.astype(str)).tolist()
    )
    return {"dtype": array.dtype.str, "shape": array.shape, "values": values}


def _from_lists(plain: dict[str, Any]) -> Array:
    return np.array(plain["values"], dtype=plain["dtype"]).reshape(plain["shape"])


def _bytes(array: Array) -> dict[str, object]:
    return {"dtype": array.dtype.str, "shape": array.shape, "data": array.tobytes()}


def _from_bytes(plain: dict[str, Any]) -> Array:
    return np.frombuffer(plain["data"], dtype=plain["dtype"]).reshape(plain["shape"])


FORMATS = {
    "jsonl": Format(_write_jsonl, _read_jsonl),
    "parquet": Format(_write_parquet, _read_parquet),
    "imitation": Format(_write_imitation, _read_imitation),
    "b-pref": Format(_write_b_pref, _read_b_pref),
}
"""What `export` and `load` know."""

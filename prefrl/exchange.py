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
All but b-pref hold the truth too, where there is any.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from importlib import import_module
from itertools import compress, count, islice
from operator import index
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from prefrl.files import unpack, whole
from prefrl.store import Store, checked, digest
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
    known: int | None = None
    """Those of `written` that a store had already; None for a file, which is new."""

    def __str__(self) -> str:
        left_out = ", ".join(f"{count} {what}" for what, count in self.dropped.items()) or "nothing"
        new = "" if self.known is None else f", {self.written - self.known} new and {self.known} there already"
        told = f"{self.written} labels{new} ({self.ties} ties, {self.skipped} cannot tell)"
        return f"{told}; not in this format: {left_out}"


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
    read = _format(format).read
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file")
    pairs = read(path)
    asked: list[Query] = []
    answers: list[list[Label]] = []
    known = next((store.segment(query.left) for query in store.queries()), None)
    while batch := list(islice(pairs, BATCH)):
        known = known or batch[0].left
        for segment in (side for pair in batch for side in (pair.left, pair.right)):
            _check_like(known, segment, path)
        recorded = store.record(segment for pair in batch for segment in (pair.left, pair.right))
        for pair, left, right in zip(batch, recorded[::2], recorded[1::2], strict=True):
            asked.append(replace(pair.query, left=left.id, right=right.id))
            answers.append(pair.labels)
    # asked when the whole file was read: half a file would leave questions whose answers are in the other half
    queries = store.ask(asked)
    _, newest, _ = store.extent()
    labels = [replace(label, query=q.id) for q, own in zip(queries, answers, strict=True) for label in own]
    written = store.answer(_with_free_keys(store, sorted(labels, key=lambda label: label.id)))
    return replace(_report(written, Counter()), known=sum(label.id <= newest for label in written))


def _check_like(known: Segment, segment: Segment, path: Path) -> None:
    """Segments of other shapes could never be compared, and rows are never taken back."""
    shapes = [(s.obs.shape, s.acts.shape) for s in (known, segment)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"{path} has segments of obs and acts {shapes[1]}, this store of {shapes[0]}: nothing was added"
        )


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
    preferences = [label.preference for label in written if not label.note]
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
        yield from _parsed(
            path, (json.loads(line) for line in file if line.strip()), partial(_pair, decode=_from_lists)
        )


def _write_parquet(store: Store, file: IO[bytes]) -> Report:
    pa, parquet = _pyarrow()
    array = pa.struct({"dtype": pa.string(), "shape": pa.list_(pa.int64()), "data": pa.large_binary()})
    arrays = dict.fromkeys(("obs", "acts", "truth", "state"), array)
    segment = pa.struct({**arrays, "media": pa.string(), "step": pa.int64()})
    texts = {name: pa.string() for name in ("labeller", "key", "note")}
    label = pa.struct(
        {"id": pa.int64(), **dict.fromkeys(("preference", "seconds", "at", "confidence"), pa.float64()), **texts}
    )
    row = {"left": segment, "right": segment, "step": pa.int64(), "why": pa.string(), "labels": pa.list_(label)}
    entries = _entries(store, _bytes)
    with parquet.ParquetWriter(file, schema := pa.schema(row)) as writer:
        while batch := list(islice(entries, BATCH)):
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))
    return _report(store.labels(), _left_behind(store))


def _read_parquet(path: Path) -> Iterator[Pair]:
    _, parquet = _pyarrow()

    def rows() -> Iterator[dict[str, Any]]:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=BATCH):
                yield from batch.to_pylist()

    return _parsed(path, rows(), partial(_pair, decode=_from_bytes))


def _pyarrow() -> tuple[Any, Any]:
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ModuleNotFoundError:
        raise ValueError('parquet files need pyarrow: pip install "prefrl[parquet]"') from None


def _write_imitation(store: Store, file: IO[bytes]) -> Report:
    pairs, labels, dropped = _decided(store, lambda preference: True)
    np.savez(
        file,
        allow_pickle=False,
        obs=np.array([[np.concatenate([s.obs, s.obs[-1:]]) for s in pair] for pair in pairs]),
        acts=np.array([[s.acts for s in pair] for pair in pairs]),
        rews=np.array([[np.full(len(s), np.nan) if s.truth is None else s.truth for s in pair] for pair in pairs]),
        preferences=np.array([label.preference for label in labels], dtype=np.float32),
    )
    return _report(labels, dropped)


def _read_imitation(path: Path) -> Iterator[Pair]:
    arrays, pair = _unpack(path, "obs", "acts", "rews", "preferences"), _importer(path, "imitation")

    def parse(row: tuple[Array, Array, Array, float]) -> Pair:
        obs, acts, rews, preference = row
        truths = [None if np.isnan(truth).all() else truth for truth in rews]
        left, right = (Segment(o[:-1], a, truth) for o, a, truth in zip(obs, acts, truths, strict=True))
        return pair(left, right, float(preference))

    return _parsed(path, zip(*arrays, strict=True), parse)


def _write_b_pref(store: Store, file: IO[bytes]) -> Report:
    pairs, labels, dropped = _decided(store, B_PREF.__contains__)
    obs, acts = pairs[0][0].obs, pairs[0][0].acts
    if obs.ndim != 2 or acts.ndim != 2:
        raise ValueError(
            f"b-pref holds vectors, not the observations {obs.shape} and actions {acts.shape} of a segment"
        )
    left, right = (np.array([np.concatenate([pair[i].obs, pair[i].acts], axis=1) for pair in pairs]) for i in (0, 1))
    marks = np.array([[B_PREF[label.preference]] for label in labels if label.preference is not None])
    np.savez(file, allow_pickle=False, sa_t_1=left, sa_t_2=right, labels=marks, obs_size=obs.shape[1])
    return _report(labels, dropped)


def _read_b_pref(path: Path) -> Iterator[Pair]:
    *arrays, obs_size = _unpack(path, "sa_t_1", "sa_t_2", "labels", "obs_size")
    meaning, pair = {mark: preference for preference, mark in B_PREF.items()}, _importer(path, "b-pref")

    def parse(row: tuple[Array, Array, Array]) -> Pair:
        mark, width = row[2].item(), obs_size.item()
        if mark not in meaning:
            raise ValueError(f"a label is 0 (first), 1 (second) or -1 (tie), not {mark}")
        left, right = (Segment(side[:, :width], side[:, width:]) for side in row[:2])
        return pair(left, right, meaning[mark])

    return _parsed(path, zip(*arrays, strict=True), parse)


def _decided(
    store: Store, holds: Callable[[float], bool]
) -> tuple[list[tuple[Segment, Segment]], list[Label], Counter[str]]:
    """Pairs of segments that go into one array, the labels that count, and how many had to be left out."""
    history, asked = store.labels(), {query.id: query for query in store.queries()}
    current = list({(label.query, label.labeller): label for label in history}.values())
    decided = [label for label in current if label.preference is not None]
    held = [label for label in decided if label.preference is not None and holds(label.preference)]
    pairs = [(store.segment(asked[label.query].left), store.segment(asked[label.query].right)) for label in held]
    alike = [{_layout(left), _layout(right)} == {_layout(pairs[0][0])} for left, right in pairs]
    dropped = Counter(
        {
            "superseded labels": len(history) - len(current),
            "labels without a preference": len(current) - len(decided),
            "preferences between 0, 0.5 and 1": len(decided) - len(held),
            "pairs of another shape or type": len(alike) - sum(alike),
            "confidences": sum(label.confidence is not None for label in compress(held, alike)),
            "queries without labels": store.counts().unanswered,
        }
    )
    if not any(alike):
        raise ValueError(f"{store.folder} has no preference that this format can hold: {dict(+dropped)}")
    return list(compress(pairs, alike)), list(compress(held, alike)), dropped


def _layout(segment: Segment) -> tuple[Any, ...]:
    return segment.obs.shape, segment.obs.dtype, segment.acts.shape, segment.acts.dtype


def _unpack(path: Path, *names: str) -> list[Array]:
    arrays = unpack(path)
    if missing := [name for name in names if name not in arrays]:
        raise ValueError(f"{path} lacks {', '.join(missing)}: see prefrl.exchange for what it should hold")
    return [arrays[name] for name in names]


def _importer(path: Path, format: str) -> Callable[[Segment, Segment, float], Pair]:
    """Names for the labels of a nameless file; who answered a pair again is somebody else, for all one can know."""
    source, times = sha256(path.read_bytes()).hexdigest(), Counter[tuple[str, str]]()

    def pair(left: Segment, right: Segment, preference: float) -> Pair:
        times[both := (digest(left), digest(right))] += 1
        n = times.total()
        label = Label(0, preference, f"{format} {source[:8]} {times[both]}", key=f"{source}:{n}", id=n)
        return Pair(left, right, Query(0, 0, why=format), [checked(label)])

    return pair


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
    arrays = {name: getattr(segment, name) for name in ("obs", "acts", "truth", "state")}
    encoded = {name: None if array is None else encode(array) for name, array in arrays.items()}
    return {**encoded, "media": segment.media, "step": segment.step}


def _parsed(path: Path, entries: Iterable[Any], parse: Callable[[Any], Pair]) -> Iterator[Pair]:
    pairs = map(parse, entries)
    for n in count(1):
        try:
            pair = next(pairs)
        except StopIteration:
            return
        except (ArithmeticError, AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError) as error:
            raise ValueError(f"{path} cannot be read at query {n}: {error!r}") from error
        yield pair


def _pair(entry: dict[str, Any], decode: Callable[[dict[str, Any]], Array]) -> Pair:
    """What `_entries` gave, back."""
    left, right = (_segment(entry[side], decode) for side in ("left", "right"))
    labels = [checked(Label(query=0, **{**label, "id": index(label["id"])})) for label in entry["labels"]]
    return Pair(left, right, Query(0, 0, step=index(entry["step"]), why=str(entry["why"])), labels)


def _segment(plain: dict[str, Any], decode: Callable[[dict[str, Any]], Array]) -> Segment:
    truth, state = (plain.get(name) for name in ("truth", "state"))
    segment = Segment(
        decode(plain["obs"]),
        decode(plain["acts"]),
        None if truth is None else decode(truth),
        None if plain["media"] is None else str(plain["media"]),
        step=index(plain["step"]),
        state=None if state is None else decode(state),
    )
    digest(segment)  # refuses what no store keeps
    return segment


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

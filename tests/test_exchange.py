"""What other tools read of our labels, and what comes back from their files."""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import prefrl.exchange
from prefrl.exchange import Report, export, load
from prefrl.store import Store
from prefrl.types import Label, Query, Segment

LOSSLESS = ["jsonl", "parquet"]
ARRAYS = ["imitation", "b-pref"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "run") as store:
        yield store


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "empty") as store:
        yield store


def segments(n: int, truth: bool = True) -> list[Segment]:
    """Three steps each, in an environment of two observations and one action; the first are the same for every n."""
    return [
        Segment(rng.normal(size=(3, 2)).astype("f4"), rng.normal(size=(3, 1)).astype("f4"), rng.normal(size=3), step=9)
        if truth
        else Segment(np.full((3, 2), k, "f4"), np.full((3, 1), k, "f4"), step=9)
        for k, rng in enumerate(map(np.random.default_rng, range(n)))
    ]


def label(store: Store, *preferences: float | None) -> list[Label]:
    """A query of its own for each preference."""
    kept = store.record(segments(2 * len(preferences)))
    pairs = zip(kept[::2], kept[1::2], strict=True)
    queries = store.ask([Query(left.id, right.id, step=10, why="uniform") for left, right in pairs])
    answers = [
        Label(query.id, p, "me", 1.5, 1e9 + 0.1, f"k{query.id}") for query, p in zip(queries, preferences, strict=True)
    ]
    return store.answer(answers)


def told(store: Store) -> list[tuple[object, ...]]:
    """All that was asked and answered, without the ids of the store."""
    asked = {query.id: query for query in store.queries()}

    def content(query: Query) -> tuple[object, ...]:
        both = [store.segment(id) for id in (query.left, query.right)]
        parts = [(s.obs, s.acts, np.empty(0) if s.truth is None else s.truth) for s in both]
        raw = [(a.dtype.str, a.shape, a.tobytes()) for arrays in parts for a in arrays]
        return raw, [(s.media, s.step) for s in both], query.step, query.why

    return [*map(content, asked.values()), *((content(asked[x.query]), replace(x, query=0)) for x in store.labels())]


@pytest.mark.parametrize(
    ("preference", "imitation", "b_pref"),
    [(1.0, 1.0, 0), (0.0, 0.0, 1), (0.5, 0.5, -1)],
    ids=["first", "second", "tie"],
)
def test_polarity_is_that_of_the_other_tool(store, empty, tmp_path, preference, imitation, b_pref):
    label(store, preference)
    for format in ARRAYS:
        export(store, tmp_path / f"{format}.npz", format)
        load(empty, tmp_path / f"{format}.npz", format)
    with np.load(tmp_path / "imitation.npz") as file:
        assert file["preferences"].tolist() == [imitation] and file["preferences"].dtype == np.float32
    with np.load(tmp_path / "b-pref.npz") as file:
        assert file["labels"].tolist() == [[b_pref]]
    assert [x.preference for x in empty.labels()] == [preference, preference]


def test_imitation_gets_one_observation_more_than_actions_and_the_truth(store, tmp_path):
    label(store, 1.0, 0.0)
    export(store, tmp_path / "file.npz", "imitation")
    left = store.segment(3)
    with np.load(tmp_path / "file.npz") as file:
        assert {name: file[name].shape for name in file.files} == {
            "obs": (2, 2, 4, 2),
            "acts": (2, 2, 3, 1),
            "rews": (2, 2, 3),
            "preferences": (2,),
        }
        assert (file["obs"][1, 0, :3] == left.obs).all() and (file["obs"][1, 0, 3] == left.obs[-1]).all()
        assert (file["rews"][1, 0] == left.truth).all()


def test_b_pref_gets_observation_and_action_side_by_side(store, tmp_path):
    label(store, 1.0, 0.0)
    export(store, tmp_path / "file.npz", "b-pref")
    right = store.segment(4)
    with np.load(tmp_path / "file.npz") as file:
        assert (file["sa_t_2"][1] == np.hstack([right.obs, right.acts])).all()


@pytest.mark.parametrize("format", LOSSLESS)
def test_nothing_that_was_asked_or_answered_is_lost(store, empty, tmp_path, format):
    first, *_ = label(store, 1.0, 0.5, None, 0.3)
    store.answer(
        [Label(first.query, None, "me", key="withdrawn"), Label(first.query, 0.1, "you", key="second opinion")]
    )
    bare, clip = store.record(
        [replace(segments(1, truth=False)[0], media="clip"), replace(segments(9)[8], media="ü\n")]
    )
    store.ask([Query(bare.id, clip.id, step=11), Query(clip.id, bare.id, step=11, why="mine")])
    assert export(store, tmp_path / "file", format) == Report(6, ties=1, skipped=2, dropped={})
    assert load(empty, tmp_path / "file", format) == Report(6, ties=1, skipped=2, dropped={}, known=0)
    assert told(empty) == told(store)
    export(empty, tmp_path / "again", format)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "file").read_bytes()


@pytest.mark.parametrize("format", LOSSLESS)
def test_how_sure_a_labeller_was_is_kept(store, empty, tmp_path, format):
    first, second = label(store, 1.0, 0.5)
    store.answer([Label(first.query, 0.0, "you", confidence=8), Label(second.query, None, "you", confidence=1.5)])
    export(store, tmp_path / "file", format)
    load(empty, tmp_path / "file", format)
    assert [x.confidence for x in empty.labels()] == [None, None, 8.0, 1.5]


@pytest.mark.parametrize("format", ARRAYS)
def test_how_sure_a_labeller_was_is_counted_where_it_is_lost(store, tmp_path, format):
    [first] = label(store, 1.0)
    store.answer([Label(first.query, 0.0, "you", confidence=8)])
    assert export(store, tmp_path / "file", format).dropped == {"confidences": 1}


floats, others = ["<f4", ">f8", "<f2"], ["u1", "<i8", "<u8", "?"]


@settings(max_examples=5, deadline=None)
@given(
    st.tuples(
        *(hnp.arrays(dtype, (2, 2), elements={"allow_nan": False}) for dtype in floats),
        *(hnp.arrays(dtype, (2, 2)) for dtype in others),
        hnp.arrays("<f8", (2, 2), elements=st.sampled_from([0.1, -0.0, 5e-324, np.nan, np.inf, -np.inf])),
    )
)
def test_every_number_keeps_its_type_and_bits(arrays):
    with tempfile.TemporaryDirectory() as name, Store(Path(name, "run")) as store:
        kept = store.record([Segment(array, np.ones(2), np.zeros(2)) for array in arrays])
        store.ask([Query(s.id, s.id) for s in kept])
        for format in LOSSLESS:
            export(store, Path(name, format), format)
            with Store(Path(name, f"from-{format}")) as empty:
                load(empty, Path(name, format), format)
                assert told(empty) == told(store)


def test_a_line_is_strict_json(store, tmp_path):
    [kept] = store.record([replace(segments(1)[0], truth=np.array([np.nan, np.inf, 1.0]))])
    store.ask([Query(kept.id, kept.id)])
    export(store, tmp_path / "file", "jsonl")
    [line] = (tmp_path / "file").read_text().splitlines()
    assert json.loads(line, parse_constant=pytest.fail)["left"]["truth"]["values"] == ["nan", "inf", 1.0]


@pytest.mark.parametrize("format", LOSSLESS + ARRAYS)
def test_loading_twice_is_loading_once(store, empty, tmp_path, format):
    label(store, 1.0, 0.5)
    export(store, tmp_path / "file", format)
    reports = [load(empty, tmp_path / "file", format) for _ in range(2)]
    assert [(report.written, report.known) for report in reports] == [(2, 0), (2, 2)]
    assert str(reports[1]).startswith("2 labels, 0 new and 2 there already (")
    assert empty.counts().asked == empty.counts().labelled == len(empty.labels()) == 2


def test_two_runs_with_the_same_keys_go_into_one_store(store, tmp_path):
    label(store, 1.0)
    with Store(tmp_path / "other") as other:
        other.record(segments(3)[2:])
        label(other, 0.0)
        export(other, tmp_path / "file", "jsonl")
    for _ in range(2):
        load(store, tmp_path / "file", "jsonl")
    assert [(x.key, x.preference) for x in store.labels()] == [("k1", 1.0), ("k1@1", 0.0)]


@pytest.mark.parametrize(
    ("format", "written", "between"), [("imitation", 3, {}), ("b-pref", 2, {"preferences between 0, 0.5 and 1": 1})]
)
def test_what_a_format_cannot_hold_is_counted(store, tmp_path, format, written, between):
    first, *_ = label(store, 1.0, 0.5, None, 0.3)
    store.answer([Label(first.query, 0.0, "me")])
    short = [replace(s, obs=s.obs[:2], acts=s.acts[:2], truth=None) for s in segments(2)]
    left, right = store.record(short)
    [odd, _] = store.ask([Query(left.id, right.id), Query(right.id, left.id)])
    store.answer([Label(odd.id, 1.0, "me")])
    rest = {
        "superseded labels": 1,
        "labels without a preference": 1,
        "pairs of another shape or type": 1,
        "queries without labels": 1,
    }
    assert export(store, tmp_path / "file", format) == Report(written, ties=1, skipped=0, dropped={**rest, **between})


@pytest.mark.parametrize("format", LOSSLESS)
def test_what_was_never_asked_stays_behind_and_is_counted(store, tmp_path, format):
    label(store, 1.0)
    store.record(segments(5))  # of which two were asked about
    store.publish(b"reward", step=0, labels=1)
    dropped = {"segments that no query asks about": 3, "rewards": 1}
    assert export(store, tmp_path / "file", format).dropped == dropped


def test_a_pair_that_comes_back_was_answered_by_another_labeller(store, empty, tmp_path):
    [first] = label(store, 1.0)
    store.answer([Label(first.query, 0.0, "you")])
    export(store, tmp_path / "file", "imitation")
    load(empty, tmp_path / "file", "imitation")
    assert empty.counts().asked == 1 and empty.counts().labelled == 2


def test_segments_without_truth_come_back_without(store, empty, tmp_path):
    left, right = store.record([segments(1, truth=False)[0], segments(2)[1]])
    [query] = store.ask([Query(left.id, right.id)])
    store.answer([Label(query.id, 1.0, "me")])
    export(store, tmp_path / "file", "imitation")
    load(empty, tmp_path / "file", "imitation")
    assert empty.segment(1).truth is None
    assert (empty.segment(2).truth == right.truth).all()


@pytest.mark.parametrize("format", LOSSLESS + ARRAYS)
def test_an_existing_file_is_left_alone(store, tmp_path, format):
    label(store, 1.0)
    (tmp_path / "file").write_text("precious")
    with pytest.raises(FileExistsError, match="exists: choose another name"):
        export(store, tmp_path / "file", format)
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize("format", LOSSLESS + ARRAYS)
def test_an_export_that_fails_leaves_no_file(store, tmp_path, format):
    label(store, 1.0)
    for path in (tmp_path / "run" / "segments").iterdir():
        path.unlink()
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match="cannot be read"):
        export(store, tmp_path / "out" / "file", format)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("format", ARRAYS)
def test_a_store_without_a_preference_has_nothing_to_export(store, tmp_path, format):
    label(store, None)
    with pytest.raises(ValueError, match="no preference that this format can hold"):
        export(store, tmp_path / "file", format)


def test_b_pref_refuses_pictures(store, tmp_path):
    left, right = store.record([Segment(np.zeros((3, 8, 8), np.uint8), np.array([0, 1, k])) for k in range(2)])
    [query] = store.ask([Query(left.id, right.id)])
    store.answer([Label(query.id, 1.0, "me")])
    with pytest.raises(ValueError, match=r"not the observations \(3, 8, 8\)"):
        export(store, tmp_path / "file", "b-pref")


def test_an_unknown_format_is_answered_with_the_known_ones(store, tmp_path):
    for verb in (export, load):
        with pytest.raises(ValueError, match="choose one of jsonl, parquet, imitation, b-pref"):
            verb(store, tmp_path / "file", "csv")


def test_without_pyarrow_the_package_is_named_and_nothing_written(store, tmp_path, monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(prefrl.exchange, "import_module", missing)
    with pytest.raises(ValueError, match="pyarrow"):
        export(store, tmp_path / "file", "parquet")
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda line: line[:-20],
        lambda line: line.replace(b'"why"', b'"whence"'),
        lambda line: line.replace(b'"<f4"', b'"O"'),
        lambda line: line.replace(b"[3, 2]", b"[2, 2]"),
        lambda line: line.replace(b'"preference": 0.0', b'"preference": 7'),
        lambda line: line.replace(b'"me"', b'"\\ud800"'),
        lambda line: line.replace(b'"id": 2', b'"id": "2"'),
        lambda line: b"[" * 100_000,
    ],
    ids=["cut", "no why", "objects", "shape", "preference", "surrogate", "id", "deep"],
)
def test_a_broken_line_is_named_and_nothing_is_asked(store, empty, tmp_path, spoil):
    label(store, 1.0, 0.0)
    export(store, tmp_path / "file", "jsonl")
    good, bad = (tmp_path / "file").read_bytes().splitlines()
    (tmp_path / "file").write_bytes(good + b"\n" + spoil(bad))
    with pytest.raises(ValueError, match="file cannot be read at query 2"):
        load(empty, tmp_path / "file", "jsonl")
    assert empty.queries() == empty.labels() == []


@pytest.mark.parametrize("format", LOSSLESS + ARRAYS)
def test_a_file_of_another_kind_is_refused_by_name(empty, tmp_path, format):
    (tmp_path / "file").write_bytes(b"something else entirely")
    with pytest.raises(ValueError, match="file cannot be read"):
        load(empty, tmp_path / "file", format)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load(empty, tmp_path / "nowhere", format)


def test_an_npz_with_objects_runs_no_code(empty, tmp_path):
    class Bomb:
        def __reduce__(self):
            return Path.touch, (tmp_path / "bomb",)

    with (tmp_path / "file").open("wb") as file:
        np.savez(file, obs=np.array([Bomb()], dtype=object), acts=np.ones(1), rews=np.ones(1), preferences=np.ones(1))
    with pytest.raises(ValueError, match="Object arrays cannot be loaded"):
        load(empty, tmp_path / "file", "imitation")
    assert not (tmp_path / "bomb").exists()


def test_a_b_pref_file_with_another_label_or_no_width_is_refused(empty, tmp_path):
    pair = {"sa_t_1": np.zeros((1, 3, 3)), "sa_t_2": np.ones((1, 3, 3)), "labels": np.array([[2]])}
    np.savez(tmp_path / "bare.npz", **pair)
    np.savez(tmp_path / "odd.npz", **pair, obs_size=2)
    with pytest.raises(ValueError, match="lacks obs_size"):
        load(empty, tmp_path / "bare.npz", "b-pref")
    with pytest.raises(ValueError, match=r"0 \(first\), 1 \(second\) or -1 \(tie\), not 2"):
        load(empty, tmp_path / "odd.npz", "b-pref")


def test_segments_of_another_shape_are_refused_whole(tmp_path):
    """They could never be compared with those that are there, and rows are never taken back."""
    with Store(tmp_path / "long") as long, Store(tmp_path / "short") as short:
        for store, steps in ((long, 8), (short, 5)):
            left, right = store.record(
                [Segment(np.full((steps, 2), side), np.zeros((steps, 1))) for side in (1.0, 2.0)]
            )
            (query,) = store.ask([Query(left.id, right.id, step=1)])
            store.answer([Label(query.id, 1.0, "me")])
        export(long, tmp_path / "long.jsonl", "jsonl")
        with pytest.raises(ValueError, match="nothing was added"):
            load(short, tmp_path / "long.jsonl", "jsonl")
        assert short.counts().asked == 1

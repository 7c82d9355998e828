"""The four verbs of the store, what they leave behind, and what they refuse."""

import pickle
import sqlite3
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import Engine, event

import prefrl.store
import prefrl.tables
from prefrl.store import Counts, Store, Version
from prefrl.types import Comparison, Label, Query, Segment


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path) as store:
        yield store


def segment(fill: float = 0.0, step: int = 0, truth: bool = True) -> Segment:
    """Three steps of an environment with two observations and one action."""
    obs = np.arange(6, dtype=np.float32).reshape(3, 2) + np.float32(fill)
    return Segment(obs, np.ones((3, 1), np.float32), np.full(3, fill) if truth else None, step=step)


def ask(store: Store, step: int = 0) -> Query:
    left, right = store.record([segment(1), segment(2)])
    return store.ask([Query(left.id, right.id, step=step)])[0]


def same(one: Segment, other: Segment) -> bool:
    if (one.media, one.id, one.step, one.truth is None) != (other.media, other.id, other.step, other.truth is None):
        return False
    pairs = [(one.obs, other.obs), (one.acts, other.acts), (one.truth, other.truth)]
    return all(a is b or (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes()) for a, b in pairs)


def rows(folder: Path) -> list[int]:
    with closing(sqlite3.connect(folder / "store.db")) as connection:
        tables = ("segments", "queries", "labels", "rewards")
        return [connection.execute(f"select count(*) from {table}").fetchone()[0] for table in tables]


arrays = hnp.arrays(
    st.sampled_from(["<f4", ">f8", "<f2", "u1", "<i8", "<u8", "?"]),
    hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3).map(lambda shape: (4, *shape)),
)


@settings(max_examples=20, deadline=None)
@given(arrays, arrays, st.none() | arrays)
def test_a_segment_comes_back_bit_by_bit(obs, acts, truth):
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder)) as store:
        [kept] = store.record([Segment(obs, acts, truth, media="clip", step=7)])
        assert same(kept, store.segment(kept.id))
        assert same(kept, Segment(obs, acts, truth, media="clip", id=1, step=7))


def test_arrays_in_another_memory_order_are_the_same_segment(store):
    first = segment()
    again = replace(first, obs=np.asfortranarray(first.obs), acts=np.repeat(first.acts, 2, axis=0)[::2])
    assert [kept.id for kept in store.record([first, again])] == [1, 1]


@pytest.mark.parametrize(
    "other", [segment(1), segment(truth=False), replace(segment(), obs=segment().obs.astype("f8"))]
)
def test_other_content_type_or_truth_is_another_segment(store, other):
    assert [kept.id for kept in store.record([segment(), other])] == [1, 2]


def test_a_segment_recorded_again_keeps_its_first_step_and_clip(store):
    store.record([replace(segment(step=3), media="first")])
    [again] = store.record([replace(segment(step=9), media="second")])
    assert (again.id, again.step, again.media) == (1, 3, "first")


def test_verbs_repeated_after_a_kill_find_their_rows(tmp_path):
    def run() -> list[object]:
        with Store(tmp_path) as store:
            query = ask(store, step=10)
            labels = store.answer([Label(query.id, 0.5, "me", key="a"), Label(query.id, None, "you", key="b")])
            return [query, labels, store.publish(b"reward", step=10, labels=2)]

    assert run() == run()
    assert rows(tmp_path) == [2, 1, 2, 1]


def test_an_answer_repeated_later_keeps_its_first_time(store):
    query = ask(store)
    [first] = store.answer([Label(query.id, 1.0, "me", seconds=2.0, at=100.0, key="a")])
    assert store.answer([Label(query.id, 1.0, "me", seconds=9.0, at=900.0, key="a")]) == [first]


def test_labels_without_a_key_get_one_each(store):
    query = ask(store)
    one, other = store.answer([Label(query.id, 1.0, "me"), Label(query.id, 1.0, "me")])
    assert one.key != other.key and len(store.labels()) == 2


def test_a_later_label_supersedes_and_none_withdraws(store):
    query = ask(store)
    store.answer([Label(query.id, 1.0, "me"), Label(query.id, 1.0, "you")])
    store.answer([Label(query.id, 0.0, "me")])
    assert store.counts() == Counts(recorded=2, asked=1, labelled=2, skipped=0, unanswered=0)
    store.answer([Label(query.id, None, "me")])
    assert store.counts() == Counts(recorded=2, asked=1, labelled=1, skipped=1, unanswered=0)
    fresh, _ = store.comparisons()
    assert [(c.labeller, c.preference) for c in fresh] == [("me", 1.0), ("you", 1.0), ("me", 0.0), ("me", None)]


def test_comparisons_hold_no_truth_and_go_on_where_they_ended(store):
    query = ask(store)
    store.answer([Label(query.id, 0.25, "me")])
    fresh, seen = store.comparisons()
    assert [(c.left.id, c.right.id, c.preference, c.query) for c in fresh] == [(1, 2, 0.25, 1)]
    assert fresh[0].left.truth is None and fresh[0].right.truth is None
    assert store.comparisons(seen) == ([], seen)
    assert store.segment(1).truth is not None


def test_reading_up_to_a_step_leaves_out_what_came_later(store):
    early, late = ask(store, step=10), ask(store, step=20)
    store.answer([Label(early.id, 1.0, "me"), Label(late.id, 1.0, "me")])
    open_one = ask(store, step=15)
    assert store.queries(upto=15) == [early, open_one]
    assert store.unanswered(upto=14) == [] and store.unanswered() == [open_one]
    assert [label.query for label in store.labels(upto=19)] == [early.id]
    assert store.comparisons(upto=19)[1] == 1
    assert store.counts(upto=15) == Counts(recorded=2, asked=2, labelled=1, skipped=0, unanswered=1)


def test_versions_count_up_from_one_and_the_same_reward_is_one(store):
    assert store.reward() is None
    assert [store.publish(p, step=s, labels=5) for p, s in [(b"a", 1), (b"b", 1), (b"a", 1), (b"a", 2)]] == [1, 2, 1, 3]
    assert store.reward() == (3, b"a") and store.reward(2) == (2, b"b") and store.reward(9) is None
    assert store.versions() == [Version(1, 1, 5), Version(2, 1, 5), Version(3, 2, 5)]


def test_the_numbers_of_numpy_are_numbers(store):
    store.record([segment(1), replace(segment(2), step=np.int64(4))])
    [query] = store.ask([Query(np.int64(1), np.int32(2), step=np.int64(5))])
    [label] = store.answer([Label(np.int64(1), np.float32(0.25), "me", key="a")])
    assert query == Query(1, 2, id=1, step=5) and label == Label(1, 0.25, "me", key="a", id=1)
    assert store.segment(np.int64(2)).step == 4 and store.labels(after=np.int64(1)) == []


def test_another_store_on_the_folder_sees_all(store, tmp_path):
    with Store(tmp_path) as other:
        query = ask(store)
        other.answer([Label(query.id, 1.0, "me")])
        version = store.publish(b"reward", step=0, labels=1)
        assert other.reward() == (version, b"reward")
        assert store.labels() == other.labels() != []
        assert same(store.segment(1), other.segment(1))


def test_many_writers_lose_and_double_nothing(tmp_path):
    def work(_: int) -> None:
        with Store(tmp_path / "run") as store:
            for n in range(3):
                query = ask(store, step=n)
                store.answer([Label(query.id, 1.0, "me", key=f"{n}")])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert rows(tmp_path / "run") == [2, 3, 3, 0]


def test_tables_are_only_read_and_added_to(tmp_path):
    verbs = set()

    @event.listens_for(Engine, "before_cursor_execute")
    def note(connection, cursor, statement, *_):
        verbs.add(statement.split()[0].lower())

    try:
        for _ in range(2):
            with Store(tmp_path) as store:
                query = ask(store)
                store.answer([Label(query.id, 1.0, "me"), Label(query.id, None, "me")])
                store.publish(b"reward", step=0, labels=1)
                store.comparisons(), store.counts(), store.unanswered()
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert verbs - {"pragma", "begin"} == {"create", "insert", "select"}


def test_a_kill_before_the_row_leaves_a_file_that_is_used_later(store, tmp_path, monkeypatch):
    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(prefrl.store, "put", die)
    with pytest.raises(KeyboardInterrupt):
        store.record([segment()])
    monkeypatch.undo()
    assert rows(tmp_path)[0] == 0 and len(list((tmp_path / "segments").iterdir())) == 1
    [kept] = store.record([segment()])
    assert same(store.segment(kept.id), kept)


def test_a_full_disk_leaves_no_row_and_no_half_a_file(store, tmp_path, monkeypatch):
    def full(file, **_):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space"):
        store.record([segment()])
    assert rows(tmp_path)[0] == 0 and list((tmp_path / "segments").iterdir()) == []


class Bomb:
    def __reduce__(self):
        return Path.touch, (Path(tempfile.gettempdir()) / "prefrl-bomb",)


@pytest.mark.parametrize(
    "plant",
    [
        lambda path: np.savez(path, obs=np.array([Bomb()], dtype=object), acts=np.ones(1)),
        lambda path: path.write_bytes(pickle.dumps(Bomb())),
        lambda path: path.write_bytes(path.read_bytes()[:-40]),
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
        lambda path: np.savez(path, obs=np.ones((1, 1)), acts=np.ones((1, 1))),
        lambda path: np.savez(path, obs=np.ones((1, 1))),
    ],
    ids=["pickle inside", "pickle", "cut short", "empty", "gone", "another segment", "no segment"],
)
def test_a_hostile_or_broken_file_runs_no_code_and_is_named(store, tmp_path, plant):
    bomb = Path(tempfile.gettempdir()) / "prefrl-bomb"
    store.record([segment()])
    [path] = (tmp_path / "segments").iterdir()
    plant(path)
    with pytest.raises(ValueError, match=path.name):
        store.segment(1)
    assert not bomb.exists()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda store: store.ask([Query(1, 3)]), "no row 3 in segments"),
        (lambda store: store.ask([Query(1, 2**70)]), "no row 1180591620717411303424 in segments"),
        (lambda store: store.segment(0), "no row 0 in segments"),
        (lambda store: store.answer([Label(1, 1.0, "me"), Label(2, 1.0, "me")]), "no row 2 in queries"),
        (lambda store: store.answer([Label(1, 1.0, "me"), Label(1, 1.1, "me")]), r"in \[0, 1\] or None, not 1.1"),
        (lambda store: store.answer([Label(1, float("nan"), "me")]), "not nan"),
        (lambda store: store.answer([Label(1, 1.0, "me", seconds=float("inf"))]), "must be finite"),
        (lambda store: store.answer([Label(1, 1.0, "me"), Label(1, 1.0, "\ud800")]), "labeller .* lone surrogates"),
        (lambda store: store.answer([Label(1, 1.0, "me", key="\ud800")]), "key .* lone surrogates"),
        (lambda store: store.answer([Label(1, 1.0, "a\0")]), "leave out NUL"),
        (lambda store: store.answer([Label(1, 1.0, "a", key="k"), Label(1, 0.0, "a", key="k")]), "another answer"),
        (lambda store: store.ask([Query(1, 2, why="\ud800")]), "why .* lone surrogates"),
        (lambda store: store.record([replace(segment(5), media="\ud800")]), "media .* lone surrogates"),
        (lambda store: store.record([replace(segment(5), acts=np.ones((2, 1)))]), r"one row per step .* acts \(2, 1\)"),
        (lambda store: store.record([replace(segment(5), truth=np.array(1.0))]), r"one row per step .* truth \(\)"),
        (lambda store: store.record([replace(segment(5), obs=np.array([1, "a", None]))]), "must hold numbers"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing_behind(store, tmp_path, bad, message):
    query = ask(store)
    before = rows(tmp_path)
    with pytest.raises(ValueError, match=message):
        bad(store)
    assert rows(tmp_path) == before
    assert len(store.answer([Label(query.id, 1.0, "me")])) == 1  # nothing is wedged


def test_a_foreign_file_is_no_store(tmp_path):
    (tmp_path / "store.db").write_bytes(b"something else entirely")
    with pytest.raises(ValueError, match="not a prefrl store"):
        Store(tmp_path)


def test_a_foreign_database_is_no_store(tmp_path):
    with closing(sqlite3.connect(tmp_path / "store.db")) as connection:
        connection.execute("create table segments (id)")
    with pytest.raises(ValueError, match="not a prefrl store"):
        Store(tmp_path)


def test_a_store_of_a_later_version_is_refused(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(prefrl.tables, "SCHEMA", prefrl.tables.SCHEMA + 1)
        Store(tmp_path).close()
    with pytest.raises(ValueError, match=f"version {prefrl.tables.SCHEMA + 1}"):
        Store(tmp_path)


steps = st.integers(0, 3)


class Verbs(RuleBasedStateMachine):
    """A store against lists in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = Store(Path(self.folder.name))
        self.contents: list[tuple[int, bool]] = []
        self.queries: list[Query] = []
        self.labels: list[Label] = []
        self.rewards: list[tuple[bytes, int, int]] = []

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    @rule(new=st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=4), step=steps)
    def record(self, new: list[tuple[int, bool]], step: int) -> None:
        self.contents += [content for content in dict.fromkeys(new) if content not in self.contents]
        kept = self.store.record([segment(fill, step, truth) for fill, truth in new])
        assert [s.id for s in kept] == [self.contents.index(content) + 1 for content in new]

    @precondition(lambda self: self.contents)
    @rule(data=st.data(), step=steps)
    def ask(self, data: st.DataObject, step: int) -> None:
        ids = st.integers(1, len(self.contents))
        kept = []
        new = data.draw(st.lists(st.builds(Query, ids, ids, step=st.just(step)), max_size=4))
        for query in new:
            if (known := [q for q in self.queries if replace(q, id=0) == query]) == []:
                self.queries.append(replace(query, id=len(self.queries) + 1))
            kept.append(known[0] if known else self.queries[-1])
        assert self.store.ask(new) == kept

    @precondition(lambda self: self.queries)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        of = st.integers(1, len(self.queries))
        names, keys = st.sampled_from(["me", "you"]), st.sampled_from("abcdefgh")
        new = data.draw(st.lists(st.builds(Label, of, st.sampled_from([0, 0.5, 1, None]), names, key=keys), max_size=4))
        after = list(self.labels)
        for label in new:
            known = [other for other in after if other.key == label.key]
            if known and replace(known[0], id=0) != label:
                with pytest.raises(ValueError, match="another answer"):
                    self.store.answer(new)
                return
            after += [] if known else [replace(label, id=len(after) + 1)]
        self.labels = after
        assert self.store.answer(new) == [next(x for x in after if x.key == label.key) for label in new]

    @rule(parameters=st.binary(max_size=1), step=steps)
    def publish(self, parameters: bytes, step: int) -> None:
        known = [reward[:2] for reward in self.rewards]
        if (parameters, step) not in known:
            self.rewards.append((parameters, step, len(self.labels)))
            known.append((parameters, step))
        version = self.store.publish(parameters, step=step, labels=len(self.labels))
        assert version == known.index((parameters, step)) + 1

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = Store(Path(self.folder.name))

    @rule(upto=st.none() | steps, after=st.integers(0, 5))
    def read(self, upto: int | None, after: int) -> None:
        asked = [q for q in self.queries if upto is None or q.step <= upto]
        ids = {q.id for q in asked}
        seen = [label for label in self.labels if label.id > after and label.query in ids]
        fresh, last = self.store.comparisons(after, upto)
        assert self.store.queries(upto) == asked
        assert self.store.unanswered(upto) == [q for q in asked if q.id not in {x.query for x in self.labels}]
        assert self.store.labels(after, upto) == seen
        assert last == (seen[-1].id if seen else after)
        assert [key(c) for c in fresh] == [
            (self.queries[x.query - 1].left, self.queries[x.query - 1].right, x.preference, x.query, x.labeller)
            for x in seen
        ]
        current = {(x.query, x.labeller): x.preference for x in self.labels if x.query in ids}.values()
        counts = self.store.counts(upto)
        assert (counts.labelled + counts.skipped, counts.skipped) == (len(current), list(current).count(None))

    @invariant()
    def rows_are_those_of_the_model(self) -> None:
        model = [len(part) for part in (self.contents, self.queries, self.labels, self.rewards)]
        assert rows(Path(self.folder.name)) == model
        assert self.store.versions() == [Version(n, step, k) for n, (_, step, k) in enumerate(self.rewards, 1)]


def key(comparison: Comparison) -> tuple[object, ...]:
    return comparison.left.id, comparison.right.id, comparison.preference, comparison.query, comparison.labeller


Verbs.TestCase.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)
test_verbs_do_what_lists_in_memory_would = Verbs.TestCase


def test_an_answer_taken_back_leaves_the_query_open(store):
    query = ask(store)
    store.answer([Label(query.id, 1.0, "me"), Label(query.id, None, "me", note="undone")])
    assert store.unanswered() == [query]
    assert store.counts() == Counts(recorded=2, asked=1, labelled=0, skipped=0, unanswered=1)
    store.answer([Label(query.id, 0.0, "me")])
    assert store.unanswered() == [] and store.counts().labelled == 1


def test_what_one_takes_back_another_has_still_answered(store):
    query = ask(store)
    store.answer([Label(query.id, 1.0, "me"), Label(query.id, 1.0, "you"), Label(query.id, None, "me", note="undone")])
    assert store.unanswered() == [] and store.counts().labelled == 1


@pytest.mark.parametrize("note", ["stale", "broken"])
def test_a_query_without_sense_is_closed_and_charged_to_nobody(store, note):
    query = ask(store)
    store.answer([Label(query.id, None, "", note=note)])
    assert store.counts() == Counts(recorded=2, asked=1, labelled=0, skipped=0, unanswered=0)


@pytest.mark.parametrize(("preference", "note"), [(1.0, "undone"), (None, "forgotten")])
def test_a_note_explains_why_there_is_no_preference(store, preference, note):
    query = ask(store)
    with pytest.raises(ValueError, match="a note is one of undone, broken, stale"):
        store.answer([Label(query.id, preference, "me", note=note)])


def test_the_state_of_the_simulator_is_kept_with_the_segment(store):
    [kept] = store.record([Segment(np.zeros((2, 1)), np.zeros((2, 1)), state=np.arange(6.0).reshape(2, 3))])
    with Store(store.folder, store.url) as other:
        assert np.array_equal(other.segment(kept.id).state, kept.state)


def test_queries_and_media_are_read_without_the_arrays(store):
    query = ask(store)
    assert store.queries(after=query.id - 1) == [query] and store.queries(after=query.id) == []
    assert store.media([query.left]) == {query.left: None}


def of_version(version, folder, *columns_since):
    """A store as an earlier version wrote it, with a label."""
    with Store(folder) as store:
        query = ask(store)
        store.answer([Label(query.id, 1.0, "me", key="a")])
    with closing(sqlite3.connect(folder / "store.db")) as connection:
        for column in columns_since:
            connection.execute(f"alter table labels drop column {column}")
        connection.execute(f"update prefrl set schema = {version}")
        connection.commit()
    return query


def test_a_store_of_version_1_goes_on_with_its_labels(tmp_path):
    query = of_version(1, tmp_path, "note", "confidence")
    with Store(tmp_path) as store:
        assert store.labels() == [Label(query.id, 1.0, "me", key="a", id=1)]
        store.answer([Label(query.id, None, "me", note="undone")])


def test_a_store_of_version_2_learns_how_sure_labellers_are(tmp_path):
    query = of_version(2, tmp_path, "confidence")
    with Store(tmp_path) as store:
        store.answer([Label(query.id, 0.0, "you", confidence=7)])
        assert [label.confidence for label in store.labels()] == [None, 7.0]


def test_a_confidence_that_is_no_number_is_refused(store):
    query = ask(store)
    with pytest.raises(ValueError, match="a confidence is a finite number or None"):
        store.answer([Label(query.id, 1.0, "me", confidence=float("nan"))])

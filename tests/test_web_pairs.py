"""Who gets which pair: leases, overlap, repeats, undo."""

import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from threading import Event
from uuid import uuid4

import numpy as np
import pytest

from prefrl import files, live
from prefrl.store import Store
from prefrl.types import BROKEN, STALE, UNDONE, Label, Query, Segment
from prefrl.web.board import GAP, chosen
from prefrl.web.leases import LASTS
from prefrl.web.options import PageOptions
from prefrl.web.pairs import Pairs, showable
from tests.web_pages import Clock, ask, browsing, until


@pytest.fixture
def store(run):
    with Store(run) as store:
        yield store


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def page(run, store, clock):
    with browsing(run, store, clock=clock) as page:
        yield page


def labels(store):
    return [(label.query, label.preference, label.labeller, label.note) for label in store.labels()]


def test_two_labellers_never_have_the_same_pair(store, page):
    ask(store, 6)
    assert page.next("Ann") == [1, 2, 3]
    assert page.next("Bob") == [4, 5, 6]
    assert page.next("Cem") == []


def test_asking_again_gives_the_same_pairs_first(store, page):
    ask(store, 6)
    assert page.next("Ann", 2) == [1, 2]
    assert page.next("Ann", 3) == [1, 2, 3]
    assert page.next("Ann", 1) == [1]


def test_an_answer_is_a_row_with_all_that_was_said(store, page):
    ask(store, 2)
    id = str(uuid4()).upper()
    before = time.time()
    reply = page.answer(1, 0.5, id=id, seconds=3.25)
    assert (reply.status_code, reply.json()) == (200, {"id": id, "query": 1})
    [label] = store.labels()
    assert before <= label.at <= time.time()
    assert label == Label(1, 0.5, "Ann", 3.25, label.at, id.lower(), 1)


@pytest.mark.parametrize("preference", [1, 0, 0.5, None])
def test_all_four_answers_are_kept(store, page, preference):
    ask(store, 1)
    page.answer(1, preference)
    assert labels(store) == [(1, preference, "Ann", "")]


def test_what_was_answered_is_asked_of_nobody_again(store, page):
    ask(store, 3)
    page.answer(1, None)
    page.answer(2)
    assert page.next("Bob") == [3]


def test_late_answers_and_those_to_other_peoples_pairs_are_used(store, page):
    ask(store, 1)
    assert page.next("Ann") == [1]
    assert page.answer(1, 1, "Bob").status_code == 200
    assert page.next("Ann", holding="1") == []  # answered meanwhile
    assert page.answer(1, 0, "Ann").status_code == 200
    assert labels(store) == [(1, 1, "Bob", ""), (1, 0, "Ann", "")]


def test_the_same_id_twice_is_one_answer_and_another_content_a_conflict(store, page):
    ask(store, 2)
    id = str(uuid4())
    replies = [page.answer(1, 1, id=id), page.answer(1, 1, id=id, seconds=9), page.answer(1, 0, id=id)]
    replies += [page.answer(2, 1, id=id), page.answer(1, 1, "Bob", id=id), page.undo(id=id)]
    assert [reply.status_code for reply in replies] == [200, 200, 409, 409, 409, 409]
    assert replies[0].json() == replies[1].json()
    assert labels(store) == [(1, 1, "Ann", "")]


def test_an_unknown_query_is_not_found(page):
    assert page.answer(1).status_code == page.answer(2**63 - 1).status_code == 404


def test_a_query_asked_after_the_start_is_served_and_can_be_answered(store, page):
    assert page.next() == []
    ask(store, 2)
    assert page.answer(2).status_code == 200
    assert page.next() == [1]


def test_queries_without_anything_to_see_are_not_served_but_can_be_answered(store, page):
    ask(store, 1, media=False)
    ask(store, 1, first=1)
    assert page.next() == [2]
    assert page.answer(1).status_code == 200
    assert page.undo().json() == {"undone": {"query": 1, "left": {}, "right": {}, "prompt": None}}


def test_a_lease_that_is_not_renewed_goes_to_somebody_else(store, page, clock):
    ask(store, 2)
    page.next("Ann", 1)
    clock.now += LASTS - 1
    assert page.next("Bob") == [2]
    clock.now += 1
    assert page.next("Bob") == [2, 1]
    assert page.next("Ann") == []


def test_asking_renews_all_that_one_holds(store, page, clock):
    ask(store, 3)
    page.next("Ann", 3)
    for _ in range(5):
        clock.now += LASTS - 1
        assert page.next("Ann", 1) == [1]
    assert page.next("Bob") == []


def test_wall_clock_steps_change_no_lease(store, run, monkeypatch):
    ask(store, 1)
    with browsing(run, store) as page:
        assert page.next("Ann") == [1]
        now = time.time()
        for hours in (1, -1, 0):
            monkeypatch.setattr("time.time", lambda hours=hours: now + 3600 * hours)
            assert page.next("Bob") == []
            assert page.next("Ann") == [1]


def test_a_page_takes_up_its_pairs_after_a_restart_of_the_server(store, run, clock):
    ask(store, 6)
    with browsing(run, store, clock=clock) as page:
        assert page.next("Ann") == [1, 2, 3]
        page.answer(1)
    with browsing(run, store, clock=clock) as page:
        assert page.next("Bob", 1) == [2]  # faster than Ann
        assert page.next("Ann", holding="1,2,3") == [3, 4, 5]


def test_nobody_adopts_what_is_not_there_or_closed(store, page):
    ask(store, 3)
    store.answer([Label(1, None, "", note=STALE)])
    assert page.next(holding="1,3,99,0,9223372036854775808") == [3, 2]


@pytest.mark.parametrize("note", [BROKEN, STALE])
def test_broken_and_stale_queries_are_closed_for_all(store, page, note):
    ask(store, 2)
    assert page.next("Ann", 1) == [1]
    store.answer([Label(1, None, "Bob" if note == BROKEN else "", note=note)])
    until(lambda: page.next("Ann", holding="1") == [2])
    assert page.next("Cem") == []


def test_a_broken_clip_is_an_answer_and_the_next_pair(store, page):
    ask(store, 2)
    assert page.next("Ann", 1) == [1]
    assert page.answer(1, None, broken=True).status_code == 200
    assert labels(store) == [(1, None, "Ann", BROKEN)]
    assert page.next("Ann", 1) == [2]
    assert page.undo().json() == {"undone": None}  # else undo would never get past it


def test_overlap_asks_two_labellers_and_no_third(run, store):
    ask(store, 4)
    with browsing(run, store, PageOptions(overlap=1.0)) as page:
        assert page.next("Ann", 2) == page.next("Bob", 2) == [1, 2]
        assert page.next("Cem") == [3, 4]
        page.answer(1, 1, "Ann")
        page.answer(1, 0, "Bob")
        assert page.next("Dan", 4) == [3, 4]
        assert page.next("Ann", 4) == [2]
        page.answer(2, 1, "Ann")
        assert page.next("Ann", 4) == []
        assert page.next("Bob", 4) == [2]


def test_when_a_third_answers_what_two_hold_only_the_first_of_them_is_still_asked(run, store, clock):
    ask(store, 2)
    with browsing(run, store, PageOptions(overlap=1.0), clock=clock) as page:
        assert page.next("Ann", 1) == page.next("Cem", 1) == [1]
        page.answer(1, 1, "Bob")
        assert page.next("Cem", 3, holding="1") == [2]
        assert page.next("Ann", 1, holding="1") == [1]
        clock.now += LASTS
        assert page.next("Cem", 3, holding="2") == [2, 1]  # Ann went away


def test_who_went_away_is_not_kept_before_who_is_still_looking(run, store, clock):
    ask(store, 2)
    with browsing(run, store, PageOptions(overlap=1.0), clock=clock) as page:
        assert page.next("Ann", 1) == [1]
        clock.now += LASTS - 1
        assert page.next("Cem", 1) == [1]
        clock.now += 1
        page.answer(1, 1, "Bob")
        assert page.next("Dan", 1) == [2]
        assert page.next("Cem", 1) == [1]


def test_a_share_of_queries_overlaps_always_the_same_ones(run, store):
    ask(store, 200)
    with browsing(run, store, PageOptions(overlap=0.25)) as page:
        for labeller in ("Ann", "Bob"):
            while pairs := page.next(labeller, 10):
                for query in pairs:
                    page.answer(query, 1, labeller)
    twice = {query for query, n in Counter(label.query for label in store.labels()).items() if n == 2}
    assert twice == {query for query in range(1, 201) if chosen(f"overlap {query}", 0.25)}
    assert 30 < len(twice) < 70  # 50 on average, sd 6


def test_a_chosen_share_is_a_share():
    found = sum(chosen(str(i), 0.3) for i in range(10_000))
    assert abs(found - 3000) < 230  # 5 sd
    assert not any(chosen(str(i), 0.0) for i in range(100))
    assert all(chosen(str(i), 1.0) for i in range(100))


def test_a_repeat_comes_later_with_its_sides_swapped_and_only_to_the_same_labeller(run, store):
    ask(store, 30)
    with browsing(run, store, PageOptions(repeats=1.0)) as page:
        first = page.get("/api/next?labeller=Ann&n=1").json()["pairs"][0]
        page.answer(1)
        repeat = store.queries(after=30)
        asked = store.queries()[0]
        assert repeat == [Query(asked.right, asked.left, 31, asked.step, "repeat")]
        seen = []
        for _ in range(GAP):
            [query] = page.next("Ann", 1)
            seen.append(query)
            assert 31 not in page.next("Bob", 10)
            page.answer(query)
        assert 31 not in seen
        [again] = page.get("/api/next?labeller=Ann&n=1").json()["pairs"]
        assert again == {"query": 31, "left": first["right"], "right": first["left"], "prompt": None}
        page.answer(31, 0)
        assert len(store.queries()) == 30 + 1 + GAP  # a repeat is not repeated


def test_repeats_come_back_after_a_restart(run, store):
    ask(store, 20)
    with browsing(run, store, PageOptions(repeats=1.0)) as page:
        for query in range(1, 10):
            page.answer(query)
    with browsing(run, store) as page:
        page.next("Bob", 1)
        assert page.next("Ann", 1) == [11]  # 10 is Bob's; the repeat is not due
        page.answer(11)
        page.answer(12)
        assert page.next("Ann", 1) == [21]


def test_without_repeats_nothing_is_asked_again(store, page):
    ask(store, 3)
    page.answer(1)
    assert len(store.queries()) == 3


def test_an_undo_gives_the_pair_back_to_the_same_labeller(store, page):
    ask(store, 3)
    [first, _] = page.get("/api/next?labeller=Ann&n=2").json()["pairs"]
    page.answer(1)
    assert page.undo().json() == {"undone": first}
    assert labels(store) == [(1, 1, "Ann", ""), (1, None, "Ann", UNDONE)]
    assert page.next("Bob", 10) == [3]
    assert page.next("Ann", 10) == [2, 1]


def test_undo_goes_back_any_number_of_answers_over_restarts(run, store):
    ask(store, 4)
    with browsing(run, store) as page:
        for query in (1, 2, 3):
            page.answer(query)
        page.answer(4, 1, "Bob")
        page.answer(1, 0)  # changed: on top again
        assert page.undo().json()["undone"]["query"] == 1
    with browsing(run, store) as page:
        assert [page.undo().json()["undone"] for _ in range(3)][2] is None
        assert [label.query for label in store.labels() if label.note == UNDONE] == [1, 3, 2]
        page.answer(2, 0)
        assert page.undo().json()["undone"]["query"] == 2
        assert page.undo().json() == {"undone": None}


def test_the_same_undo_twice_takes_back_one_answer(run, store):
    ask(store, 3)
    id = str(uuid4())
    with browsing(run, store) as page:
        page.answer(1)
        page.answer(2)
        once = page.undo(id=id)
        assert page.undo(id=id).json() == once.json()
    with browsing(run, store) as page:
        assert page.undo(id=id).json() == once.json()
        assert page.undo("Bob", id=id).status_code == 409
    assert [label.note for label in store.labels()] == ["", "", UNDONE]


def test_an_undo_of_nothing_stays_one(store, page):
    ask(store, 1)
    id = str(uuid4())
    assert page.undo(id=id).json() == {"undone": None}
    page.answer(1)
    assert page.undo(id=id).json() == {"undone": None}
    assert page.undo().json()["undone"]["query"] == 1


def test_an_answer_in_flight_is_what_an_undo_takes_back(run, store, monkeypatch):
    ask(store, 3)
    writing, go, answer = Event(), Event(), store.answer

    def slow(labels):
        if labels[0].query == 2:
            writing.set()
            assert go.wait(10)
        return answer(labels)

    monkeypatch.setattr(store, "answer", slow)
    with browsing(run, store) as page, ThreadPoolExecutor(2) as pool:
        page.answer(1)
        said = pool.submit(page.answer, 2)
        assert writing.wait(10)
        undone = pool.submit(page.undo)
        go.set()
        assert said.result().status_code == 200
        assert undone.result().json()["undone"]["query"] == 2


def text(run, content):
    data = json.dumps(content).encode()
    name = f"{sha256(data).hexdigest()}.json"
    (run / "clips" / name).write_bytes(data)
    return name


@contextmanager
def texts(run, store, *contents):
    names = [text(run, content) for content in contents]
    kept = store.record([Segment(np.full((1, 1), i), np.ones((1, 1)), media=name) for i, name in enumerate(names)])
    store.ask([Query(kept[0].id, kept[1].id)])
    with browsing(run, store) as page:
        yield page


def test_text_pairs_come_with_their_prompt(run, store):
    with texts(run, store, {"prompt": "Sum up", "text": "<b>one"}, {"prompt": "Sum up", "text": "two"}) as page:
        [pair] = page.get("/api/next?labeller=Ann").json()["pairs"]
    assert pair == {"query": 1, "left": {"text": "<b>one"}, "right": {"text": "two"}, "prompt": "Sum up"}


@pytest.mark.parametrize("broken", [{"prompt": 1}, ["text"], {"prompt": "", "text": "\ud800"}, "x" * 2_000_000])
def test_a_text_that_cannot_be_read_is_withdrawn_by_the_server_itself(run, store, broken):
    with texts(run, store, {"prompt": "", "text": "one"}, broken) as page:
        ask(store, 1, first=5)
        assert page.next() == [2]
        assert page.get("/api/admin").json()["labellers"] == []  # nobody is blamed
    assert labels(store) == [(1, None, "", BROKEN)]


def test_what_a_run_keeps_is_what_a_page_shows(tmp_path):
    for suffix in (files.CLIP, files.TEXT):
        assert showable(files.keep(tmp_path / files.FOLDER, b"something", suffix))
    assert not showable(files.keep(tmp_path / files.FOLDER, b"something", ".exe"))
    assert Pairs(tmp_path).folder == tmp_path / files.FOLDER


def test_a_reply_betrays_neither_reason_nor_step_nor_reward(run, store):
    ask(store, 12)
    live.write(run, "learner", metrics={"reward/version": 3.0, "reward/std": 7.25, "labels/learned": 9.0})
    live.write(run, "policy", step=123456, reward=7.25)
    with browsing(run, store, PageOptions(repeats=1.0)) as page:
        for _ in range(GAP + 2):
            reply = page.get("/api/next?labeller=Ann&n=1")
            [pair] = reply.json()["pairs"]
            assert set(reply.json()) == {"pairs", "state", "message"}
            assert set(pair) == {"query", "left", "right", "prompt"}
            assert set(pair["left"]) == set(pair["right"]) == {"clip"}
            page.answer(pair["query"])
        progress = page.get("/api/progress?labeller=Ann").text
    assert "7.25" not in progress and "123456" not in progress

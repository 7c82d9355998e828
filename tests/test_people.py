"""People find pairs to look at: a few, of what the policy does now, and only such as can be seen."""

from dataclasses import replace

import numpy as np
import pytest

from prefrl import files, live, media
from prefrl.candidates import Candidates
from prefrl.people import EACH, READY, Filmed, ForPeople
from prefrl.queries import Disagreement
from prefrl.store import Store
from prefrl.types import BROKEN, REPEAT, STALE, Query, Segment
from tests.tiny_learner import TOTAL, answer, learner, parts, publish, segments

USUAL = READY + EACH
"""Pairs that are ready for one who labels."""


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path) as store:
        yield store


def seen(given):
    """The same segments, with frames that differ from each other."""
    return [replace(s, state=np.full((len(s), 8, 8, 3), i, np.uint8)) for i, s in enumerate(given)]


def now(step=10, count=12):
    return Candidates(seen(segments(step, count)), step)


def for_people(store, budget=400, **more):
    """Asks people; 100 questions are due at the start."""
    return ForPeople(store.folder, learner(store, budget, **more), parts(people=True, fps=10))


def ask_all(asks, candidates):
    """Asks more often than there is something to ask; how much is open then."""
    for _ in range(30):
        asks(candidates)
    return asks.learner.store.counts().unanswered


def clips(store):
    return {file.name for file in (store.folder / files.FOLDER).glob("*")}


# how much is asked


def test_a_few_pairs_are_ready_and_no_more(store):
    assert ask_all(for_people(store), now()) == USUAL == 8


def test_pairs_are_asked_one_by_one_so_that_the_first_is_there_soon(store):
    asks = for_people(store)
    assert asks(now()) and store.counts().unanswered == 1


@pytest.mark.parametrize(("labellers", "ready"), [(0, USUAL), (1, USUAL), (3, READY + 3 * EACH)])
def test_some_more_are_ready_for_each_who_labels(store, labellers, ready):
    live.write(store.folder, "page", labellers=labellers)
    assert ask_all(for_people(store), now()) == ready


@pytest.mark.parametrize("given", [{"preference": 1.0}, {"preference": None}, {"preference": None, "note": BROKEN}])
def test_for_every_answer_there_is_another_pair(store, given):
    asks, candidates = for_people(store), now()
    ask_all(asks, candidates)
    answer(store, given.pop("preference"), queries=store.unanswered()[:3], **given)
    assert ask_all(asks, candidates) == USUAL
    assert store.counts().asked == USUAL + 3


def test_pairs_that_one_is_asked_about_twice_come_on_top(store):
    asks, candidates = for_people(store), now()
    ask_all(asks, candidates)
    twice = [Query(query.right, query.left, step=query.step, why=REPEAT) for query in store.unanswered()[:2]]
    answer(store, 1.0, queries=store.unanswered()[:2])
    store.ask(twice)
    assert ask_all(asks, candidates) == USUAL + 2


def test_no_more_is_asked_than_is_due(store):
    asks = for_people(store, budget=20)
    assert ask_all(asks, now(0)) == 5  # a quarter at the start
    answer(store, 1.0)
    assert ask_all(asks, now(TOTAL // 2)) == 7
    answer(store, 1.0)
    assert ask_all(asks, now(TOTAL)) == 8
    answer(store, 1.0)
    assert ask_all(asks, now(TOTAL)) == 0


def test_the_step_of_what_was_asked_is_told(store):
    ask_all(for_people(store), now(30))
    assert live.read(store.folder, "asker")["step"] == 30
    assert {query.step for query in store.queries()} == {30}


def test_who_asks_again_after_a_kill_asks_about_other_pairs(store):
    ask_all(for_people(store), now())
    ask_all(for_people(store), now())
    assert store.counts().asked == USUAL
    answer(store, 1.0)
    assert ask_all(for_people(store), now()) == USUAL


# what is asked


def test_both_sides_of_every_pair_can_be_seen(store):
    ask_all(for_people(store), now())
    shown = store.media(id for query in store.queries() for id in (query.left, query.right))
    assert set(shown.values()) == clips(store)
    for id, name in shown.items():
        frames = media.decode((store.folder / files.FOLDER / name).read_bytes())
        assert frames.shape == (5, 8, 8, 3)
        assert np.abs(frames.astype(int) - store.segment(id).state).max() <= 2


def test_only_what_is_asked_about_is_drawn(store):
    asks, drawn = for_people(store), []
    film = asks.camera.film
    asks.camera.film = lambda segment: drawn.append(segment) or film(segment)
    ask_all(asks, now(count=200))
    assert len(drawn) == 2 * USUAL and len(clips(store)) <= 2 * USUAL
    asks(now(count=200))
    assert len(drawn) == 2 * USUAL


def test_what_has_a_clip_is_not_drawn_again(store):
    asks = for_people(store)
    name = files.keep(store.folder / files.FOLDER, b"a clip", files.CLIP)
    ask_all(asks, Candidates([replace(s, media=name) for s in segments(10)], 10))
    assert clips(store) == {name} == set(store.media(s for q in store.queries() for s in (q.left, q.right)).values())


@pytest.mark.parametrize("count", [0, 1])
def test_where_there_is_no_pair_to_be_seen_nothing_is_asked(store, count):
    asks = for_people(store)
    assert not asks(Candidates(seen(segments(10, count)) + segments(20), 20))
    assert store.counts().recorded == 0


def test_only_what_can_be_seen_is_asked_about(store):
    ask_all(for_people(store), Candidates(seen(segments(10)) + segments(20, count=200), 20))
    asked = [store.segment(id) for query in store.queries() for id in (query.left, query.right)]
    assert {segment.step for segment in asked} == {10}


def oldest_left(segments, returns, n, rng):
    return [(0, 1)]


def test_sides_are_at_random(store):
    """Whatever the strategy puts left: all the same with a chance of 10^-12."""
    live.write(store.folder, "page", labellers=20)
    asks = for_people(store, select=oldest_left)
    for step in range(40):
        asks(now(step))
    numbers = [[store.segment(id).state[0, 0, 0, 0] for id in (query.left, query.right)] for query in store.queries()]
    assert sorted({tuple(each) for each in numbers}) == [(0, 1), (1, 0)]


def test_a_pair_that_comes_up_again_is_nothing_new(store):
    """Else the process would draw it again and again."""
    asks = for_people(store, select=oldest_left)
    ask_all(asks, now())
    assert not asks(now())
    assert store.counts().asked <= 2  # once with either side left


def clipped(run, given):
    """The same segments, with the clips that were made of their frames."""
    (run / "clips").mkdir(exist_ok=True)
    named = [replace(s, media=f"{s.step}-{i}.webm") for i, s in enumerate(given)]
    for s in named:
        (run / "clips" / s.media).touch()
    return named


def test_nobody_is_asked_about_the_same_two_clips_again(store):
    """Where frames are filmed now and then there are few; the strategy would go on and on about the best two."""
    asks = for_people(store, select=Disagreement(pool=100))
    for step in range(10):
        candidates = Candidates(clipped(store.folder, segments(10, count=4)), step)
        ask_all(asks, candidates)
        answer(store, 1.0)
    names = store.media(id for query in store.queries() for id in (query.left, query.right))
    pairs = [frozenset((names[query.left], names[query.right])) for query in store.queries()]
    assert len(pairs) == len(set(pairs)) == 6


def test_nor_after_a_restart(store):
    candidates = Candidates(clipped(store.folder, segments(10, count=3)), 10)
    ask_all(for_people(store), candidates)
    answer(store, 1.0)
    assert ask_all(for_people(store), replace(candidates, step=20)) == 0


def test_strategies_see_no_truth(store):
    def select(segments, returns, n, rng):
        assert all(segment.truth is None for segment in segments)
        return Disagreement()(segments, returns, n, rng)

    assert ask_all(for_people(store, select=select), now()) > 0


def test_questions_do_not_depend_on_the_truth(tmp_path):
    asked = []
    for name, poison in (("clean", 1.0), ("poisoned", np.nan)):
        with Store(tmp_path / name) as store:
            shown = [replace(s, truth=s.truth * poison) for s in now().segments]
            asks = for_people(store, select=Disagreement())
            ask_all(asks, Candidates(shown, 10))
            publish(store)
            asks(Candidates(shown, 10))
            asked.append((store.queries(), [(label.query, label.note) for label in store.labels()]))
    assert asked[0] == asked[1]


# what is withdrawn


def twins(step=10):
    """Candidates of which the first two look the same to every net: they agree that neither is better."""
    first, second, *others = now(step).segments
    return Candidates([first, replace(second, obs=first.obs, acts=first.acts), *others], step)


class TwinsFirst:
    """Asks about the first two once, then about the others."""

    def __init__(self):
        self.calls = 0

    def __call__(self, segments, returns, n, rng):
        self.calls += 1
        return [(0, 1) if self.calls == 1 else (2, 2 + self.calls)]


@pytest.fixture
def ready(store):
    """All that is to be ready is, one of it a pair on which the nets will agree."""
    asks = for_people(store, select=TwinsFirst())
    assert ask_all(asks, twins()) == USUAL
    return asks


def withdrawn(store):
    return [(label.query, label.labeller, label.preference) for label in store.labels() if label.note == STALE]


def test_a_pair_on_which_the_nets_agree_now_is_withdrawn(store, ready):
    publish(store)
    ready(twins())
    assert withdrawn(store) == [(1, "", None)]


def test_another_takes_its_place(store, ready):
    publish(store)
    assert ask_all(ready, now(20)) == USUAL
    assert {query.step for query in store.unanswered()} == {10, 20}


def test_without_a_new_reward_nothing_is_withdrawn(store, ready):
    publish(store)
    ready(twins())
    ask_all(ready, now(20))
    assert len(withdrawn(store)) == 1


def test_nothing_is_withdrawn_that_somebody_may_be_waiting_for(store, ready):
    answer(store, 1.0, queries=store.unanswered()[-1:])
    publish(store)
    ready(twins())
    assert withdrawn(store) == []


def test_pairs_on_which_the_nets_disagree_as_they_do_today_stay(store):
    asks = for_people(store)
    candidates = now()
    ask_all(asks, candidates)
    asks._disagreement = lambda pairs: np.full(len(pairs), 0.1)
    publish(store)
    asks(candidates)
    assert withdrawn(store) == []


def test_a_late_answer_to_what_was_withdrawn_counts(store, ready):
    publish(store)
    ready(twins())
    answer(store, 1.0, queries=store.queries()[:1])
    assert store.counts().labelled == 1
    comparisons, _ = store.comparisons()
    assert [(c.query, c.preference) for c in comparisons if c.preference is not None] == [(1, 1.0)]


# clips of frames


@pytest.fixture
def filmed(store):
    return Filmed(store.folder, store, fps=10, kept=3)


def frames(number):
    return Segment(np.zeros((5, 2)), np.zeros((5, 2)), state=np.full((5, 8, 8, 3), 10 * number, np.uint8), step=number)


def test_of_frames_there_is_a_clip_in_their_place(store, filmed):
    shown = filmed(frames(3))
    assert shown.state is None and (shown.step, len(shown)) == (3, 5)
    kept = media.decode((store.folder / files.FOLDER / shown.media).read_bytes())
    assert kept.shape == (5, 8, 8, 3) and np.abs(kept.astype(int) - 30).max() <= 2


@pytest.mark.parametrize("state", [None, np.zeros((5, 9))])
def test_what_is_not_filmed_stays_as_it_is(store, filmed, state):
    segment = replace(frames(1), state=state)
    assert filmed(segment) is segment
    assert clips(store) == set()


def test_clips_that_nobody_can_be_asked_about_any_more_are_removed(store, filmed):
    names = [filmed(frames(number)).media for number in range(6)]
    assert clips(store) == set(names[-3:])


def test_clips_that_somebody_was_asked_about_stay(store, filmed):
    shown = [filmed(frames(number)) for number in range(2)]
    store.record(shown[:1])
    names = [shown[0].media, *(filmed(frames(number)).media for number in range(2, 6))]
    assert clips(store) == {names[0], *names[-3:]}


def test_a_clip_of_which_there_is_a_newer_segment_stays(store, filmed):
    """What does not move looks the same again and again."""
    name = filmed(frames(0)).media
    filmed(frames(1))
    assert filmed(frames(0)).media == name
    filmed(frames(2))
    assert name in clips(store)


def test_what_cannot_be_shown_keeps_nobody_from_being_asked(store):
    """Imported questions have no clips, and nobody will ever answer them here."""
    left, right, *_ = store.record([replace(s, state=None) for s in now().segments])
    imported = store.ask([Query(left.id, right.id, step=step) for step in range(2 * USUAL)])
    ask_all(for_people(store), now())
    assert len(store.unanswered()) == len(imported) + USUAL


def test_a_segment_whose_clip_is_gone_is_not_asked_about(store):
    gone = clipped(store.folder, now().segments)
    for segment in gone:
        (store.folder / "clips" / segment.media).unlink()
    assert ask_all(for_people(store), Candidates(gone, 10)) == 0


def test_nothing_is_looked_up_where_nothing_is_new(store, monkeypatch):
    asks = for_people(store)
    ask_all(asks, offered := now())
    monkeypatch.delattr(Store, "unanswered")
    assert not asks(offered)


def test_clips_that_an_earlier_session_left_are_removed_in_their_turn(store):
    clipped(store.folder, now().segments[:3])
    films = Filmed(store.folder, store, 10, kept=2)
    films(now().segments[0])
    films(now().segments[1])
    assert len(list((store.folder / "clips").iterdir())) <= 4

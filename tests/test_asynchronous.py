"""The policy offers what it did and takes what was learned, and waits for neither more than it must."""

import errno
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from prefrl import live
from prefrl.asynchronous import Asynchronous, Fitting, clear
from prefrl.candidates import Candidates, Offers
from prefrl.loop import Turns
from prefrl.recent import Recent
from prefrl.room import RESERVE
from prefrl.store import Store
from tests.tiny_learner import TOTAL, answer, learner, make, publish, segments


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path) as store:
        yield store


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr("prefrl.asynchronous.PAUSE", 0)


def driver(store, gated=True, **more):
    return Asynchronous(store.folder, store, make(), Recent(24), Turns(4, TOTAL), gated, **more)


def learned(store, step, **metrics):
    """The learner says that it has learned what was answered about `step`."""
    live.write(store.folder, "learner", step=step, metrics=metrics)


class Clock:
    """Takes the place of `check`, which the gate calls whenever it looks: does one thing after the other."""

    def __init__(self, *things):
        self.things = [*things]

    def __call__(self):
        self.things.pop(0)()


def nothing():
    pass


def test_segments_are_offered_at_turns(store):
    drive, offers = driver(store), Offers(store.folder)
    learned(store, TOTAL)
    offered = []
    for step in (10, 20, 30, 40, 50):
        drive(segments(step), step)
        offered.append(offers.newest().step)
    assert offered == [10, 10, 30, 30, 50]


def test_what_is_offered_are_the_newest_with_their_truth(store):
    drive = driver(store, gated=False)
    for step in (10, 30, 60):
        drive(segments(step), step)
    found = Offers(store.folder).newest().segments
    assert [segment.step for segment in found] == [30] * 12 + [60] * 12
    assert np.array_equal(found[-1].truth, segments(60)[-1].truth)


def test_nothing_is_offered_before_there_is_a_pair(store):
    drive = driver(store)
    assert drive([], 10) == drive(segments(11, count=1), 11) == {}
    assert Offers(store.folder).newest() is None


@pytest.mark.parametrize(("seconds", "offered"), [(-1, 20), (1e9, 10)])
def test_people_are_offered_what_is_hardly_old(store, monkeypatch, seconds, offered):
    monkeypatch.setattr("prefrl.asynchronous.OFFER_SECONDS", seconds)
    monkeypatch.setattr("prefrl.asynchronous.OFFER_SHARE", float("inf"))
    drive = driver(store, gated=False)
    for step in (10, 20):
        drive(segments(step), step)
    assert Offers(store.folder).newest().step == offered


def test_clips_are_made_of_frames_once(store):
    shown = []
    drive = driver(store, gated=False, show=lambda segment: shown.append(segment) or replace(segment, media="a.webm"))
    drive(segments(10), 10)
    drive(segments(30), 30)
    assert len(shown) == 24
    assert {segment.media for segment in Offers(store.folder).newest().segments} == {"a.webm"}


def test_the_policy_waits_for_its_first_reward(store):
    """What was offered must be learned from; the reward is there a moment before the learner says so."""
    waits = [lambda step=step: learned(store, step) for step in (-1, 9)]
    tells = partial(learned, store, 10, **{"reward/version": 1.0, "reward/std": 0.5})
    drive = driver(store, check=Clock(nothing, *waits, partial(publish, store), tells))
    metrics = drive(segments(10), 10)
    assert drive.check.things == []
    assert (metrics["reward/version"], metrics["reward/std"]) == (1, 0.5)


def test_the_policy_does_not_wait_for_a_reward_from_answers_that_there_are_not(store):
    drive = driver(store, check=Clock(nothing, partial(learned, store, 10)))
    assert drive(segments(10), 10) == {}


@pytest.mark.parametrize(("step", "needed"), [(50, 0), (60, 10), (99, 49), (100, 100), (110, 110)])
def test_the_policy_is_two_turns_ahead_of_its_reward_at_most_and_at_the_end_not_at_all(store, step, needed):
    publish(store)
    behind = [partial(learned, store, needed - 1)] if needed else []
    drive = driver(store, check=Clock(*behind, partial(learned, store, needed)))
    if not behind:
        learned(store, 0)
    drive(segments(step), step)
    assert drive.check.things == []


def test_nobody_waits_for_people(store):
    drive = driver(store, gated=False, check=Clock(*[nothing] * 3))
    for step in (10, 60, TOTAL):
        assert drive(segments(step), step) == {}


@pytest.mark.parametrize("gated", [True, False])
def test_a_process_that_is_gone_for_good_ends_the_run(store, gated):
    def fail():
        raise RuntimeError("the learner process died")

    with pytest.raises(RuntimeError, match="the learner process died"):
        driver(store, gated, check=fail)(segments(10), 10)


def test_a_process_that_is_gone_while_the_policy_waits_ends_the_run(store):
    def fail():
        raise RuntimeError("the asker process died")

    with pytest.raises(RuntimeError, match="the asker process died"):
        driver(store, check=Clock(nothing, nothing, fail))(segments(10), 10)


def test_a_reward_is_taken_once_and_what_the_learner_found_is_told(store):
    drive = driver(store, gated=False)
    drive(segments(10), 10)
    learned(store, 10, **{"reward/version": float(publish(store)), "reward/train_loss": 0.4})
    first, second = drive(segments(11), 11), drive(segments(12), 12)
    assert first.keys() == {"reward/version", "reward/train_loss", "reward/pearson"}
    assert (first["reward/version"], first["reward/train_loss"]) == (1, 0.4)
    assert second == {}
    assert live.read(store.folder, "policy")["version"] == 1


def test_the_newest_of_several_rewards_is_taken(store):
    drive = driver(store, gated=False)
    for seed in (1, 2, 3):
        publish(store, seed)
    assert drive(segments(10), 10)["reward/version"] == 3
    assert drive.ensemble.to_bytes() == make(3).to_bytes()


def test_a_reward_is_taken_when_the_learner_has_said_what_it_found(store):
    """Between the two it would be logged with what was found about the one before."""
    drive = driver(store, gated=False)
    learned(store, 10, **{"reward/version": float(publish(store)), "reward/std": 1.0})
    assert drive(segments(10), 10)["reward/std"] == 1
    newest = publish(store, 2)
    assert drive(segments(11), 11) == {}
    learned(store, 10, **{"reward/version": float(newest), "reward/std": 2.0})
    assert drive(segments(12), 12)["reward/std"] == 2


def test_the_reward_stays_as_it_is_between_two_turns(store):
    """So that it is constant within a rollout, whenever it is published."""
    drive = driver(store, gated=False)
    before = drive.ensemble.to_bytes()
    publish(store)
    assert (drive.version, drive.ensemble.to_bytes()) == (0, before)
    drive(segments(10), 10)
    assert (drive.version, drive.ensemble.to_bytes()) == (1, make(1).to_bytes())


def test_a_run_without_room_says_so_and_goes_on(store, monkeypatch):
    told, left = [], [0, 0, RESERVE]
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=left.pop(0) if left[1:] else left[0]))
    monkeypatch.setattr("prefrl.room.time.sleep", lambda _: told.append(live.read(store.folder, "policy")["paused"]))
    driver(store, gated=False)(segments(10), 10)
    assert {words[:27] for words in told} == {"the disk is almost full (0 "}
    assert live.read(store.folder, "policy")["paused"] is None


def test_a_disk_that_is_full_all_at_once_pauses_the_run_too(store, monkeypatch):
    """A quota, or a file larger than what was left: nothing says so before."""
    told, failures = [], iter([OSError(errno.ENOSPC, "No space left on device")] * 2)

    def offered(*_):
        if failure := next(failures, None):
            raise failure

    monkeypatch.setattr("prefrl.asynchronous.offer", offered)
    monkeypatch.setattr("prefrl.asynchronous.time.sleep", lambda _: told.append(paused(store)))
    driver(store, gated=False)(segments(10), 10)
    assert told == ["the disk is full: make room, and the run goes on by itself"] * 2
    assert paused(store) is None


def paused(store):
    return live.read(store.folder, "policy")["paused"]


def test_a_run_goes_on_with_the_newest_reward_and_offers_at_once(store, tmp_path):
    first = driver(store, gated=False)
    first(segments(10), 10)
    first.save(tmp_path)
    publish(store)
    clear(store.folder)
    second = driver(store, gated=False)
    second.load(tmp_path, step=30)
    assert (second.version, second.seconds) == (1, first.seconds)
    found = Offers(store.folder).newest()
    assert (found.step, [segment.step for segment in found.segments]) == (30, [10] * 12)
    assert not second.turns(49) and second.turns(50)


def test_a_session_begins_with_what_the_last_one_learned_only(store):
    fitting = Fitting(store.folder, learner(store), people=False)
    fitting.learner.ask(segments(10), 6, step=10)
    answer(store, 1.0)
    live.write(store.folder, "asker", step=10)
    assert fitting(Candidates(segments(10), 10))
    driver(store, gated=False)(segments(10), 10)
    (store.folder / live.FOLDER / "learner.error").write_text("what it died of")
    clear(store.folder)
    assert [file.name for file in (store.folder / live.FOLDER).iterdir()] == ["learner.safetensors"]


def test_there_may_be_nothing_to_forget(tmp_path):
    clear(tmp_path)

"""What the policy offers comes back as it was, whole, and is read once."""

import threading
from unittest import mock

import numpy as np
import pytest

from prefrl.candidates import Offers, offer, packed, unpacked
from prefrl.frames import stacks
from prefrl.recent import Recent
from prefrl.types import Segment
from tests.tiny_pixels import memory
from tests.waiting import soon

ARRAYS = ("obs", "acts", "truth", "state")
KINDS = {
    "states": {"state": np.arange(12.0).reshape(4, 3)},
    "frames": {"state": np.arange(4 * 2 * 2 * 3, dtype=np.uint8).reshape(4, 2, 2, 3)},
    "clips": {"media": "0" * 64 + ".webm"},
    "blind": {"truth": None},
    "nothing to see": {},
    "stacks": {"obs": stacks(np.arange(6 * 2 * 2, dtype=np.uint8).reshape(6, 2, 2), 3)},
    "pixels": {"obs": np.random.default_rng(0).integers(256, size=(4, 3, 2, 2), dtype=np.uint8)},
}


def segment(number, **more):
    """Of 4 steps; everything in it says its number."""
    obs, acts = np.full((4, 2), number, np.float32), np.full(4, number % 3)
    return Segment(more.pop("obs", obs), acts, **{"truth": np.full(4, float(number)), "step": 10 * number, **more})


def same(one, other):
    arrays = [(getattr(one, name), getattr(other, name)) for name in ARRAYS]
    equal = [a is b if a is None else a.dtype == b.dtype and np.array_equal(a, b) for a, b in arrays]
    return all(equal) and (one.media, one.step) == (other.media, other.step)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_what_is_offered_comes_back(kind, tmp_path):
    given = [segment(number, **kind) for number in range(3)]
    offer(tmp_path, given, step=40)
    found = Offers(tmp_path).newest()
    assert found.step == 40
    assert all(same(*pair) for pair in zip(given, found.segments, strict=True))


def filmed(number):
    """A segment as a game's, 25 steps of four frames."""
    frames = np.random.default_rng(number).integers(256, size=(28, 20, 20), dtype=np.uint8)
    return Segment(stacks(frames, 4), np.zeros(25, int), np.zeros(25), step=number)


@pytest.mark.parametrize("keep", ["offer", "recent"])
def test_frames_are_written_once_and_read_as_what_they_share(keep, tmp_path):
    given = [filmed(number) for number in range(8)]
    if keep == "offer":
        offer(tmp_path, given, step=40)
        found, file = Offers(tmp_path).newest().segments, tmp_path / "live" / "candidates.npz"
    else:
        recent, other, file = Recent(8), Recent(8), tmp_path / "recent.npz"
        recent.add(given)
        recent.save(file)
        other.load(file)
        found = list(other.segments)
    assert all(same(*pair) for pair in zip(given, found, strict=True))
    assert file.stat().st_size < 8 * (28 * 20 * 20 + 1_000)
    assert memory(found[0].obs) == 8 * 28 * 20 * 20  # of all of them


def test_where_not_all_are_stacks_all_are_written_out(tmp_path):
    frames = np.random.default_rng(0).integers(256, size=(25, 4, 20, 20), dtype=np.uint8)
    given = [filmed(1), Segment(frames, np.zeros(25, int), np.zeros(25))]
    offer(tmp_path, given, step=40)
    assert all(same(*pair) for pair in zip(given, Offers(tmp_path).newest().segments, strict=True))


def test_an_offer_of_nothing_comes_back(tmp_path):
    assert unpacked({name: np.array(column) for name, column in packed([]).items()}) == []


def test_of_some_segments_there_is_a_clip(tmp_path):
    offer(tmp_path, [segment(1), segment(2, media="a.webm")], step=40)
    assert [found.media for found in Offers(tmp_path).newest().segments] == [None, "a.webm"]


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_recent_segments_come_back_with_what_people_see(kind, tmp_path):
    recent, other = Recent(3), Recent(3)
    recent.add(segment(number, **kind) for number in range(3))
    recent.save(tmp_path / "recent.npz")
    other.load(tmp_path / "recent.npz")
    assert all(same(*pair) for pair in zip(recent.segments, other.segments, strict=True))


def test_before_the_first_offer_there_is_none(tmp_path):
    assert Offers(tmp_path).newest() is None


def test_an_offer_takes_the_place_of_the_last(tmp_path):
    offers = Offers(tmp_path)
    for step in (1, 2):
        offer(tmp_path, [segment(step)], step)
        assert offers.newest().step == step
    assert offers.newest().segments[0].obs[0, 0] == 2


def test_an_offer_is_read_once(tmp_path):
    offers = Offers(tmp_path)
    offer(tmp_path, [segment(1)], 1)
    with mock.patch("prefrl.candidates.unpack", side_effect=AssertionError) as unpack:
        with pytest.raises(ValueError):
            offers.newest()
        assert unpack.called
    first = offers.newest()
    with mock.patch("prefrl.candidates.unpack", side_effect=AssertionError):
        assert offers.newest() is first


def test_a_reader_never_sees_half_an_offer(tmp_path):
    """What is in an offer says its step, in every step of every segment."""
    stop, offers = threading.Event(), Offers(tmp_path)

    def write():
        number = 1
        while not stop.is_set():
            offer(tmp_path, [segment(number)] * 20, 10 * number)
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = set()

        def seen_often():
            if found := offers.newest():
                numbers = {float(s.obs[i, j]) for s in found.segments for i in range(4) for j in range(2)}
                assert numbers == {found.step / 10} and len(found.segments) == 20
                seen.add(found.step)
            return len(seen) >= 50

        soon(seen_often)
    finally:
        stop.set()
        writer.join()


def test_what_is_no_offer_is_named(tmp_path):
    offer(tmp_path, [segment(1)], 1)
    (tmp_path / "live" / "candidates.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"candidates\.npz cannot be read"):
        Offers(tmp_path).newest()

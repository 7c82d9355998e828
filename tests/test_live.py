"""What processes tell each other is whole, whoever reads it when."""

import os
import threading

import pytest

from prefrl import live


def test_what_was_written_is_read(tmp_path):
    live.write(tmp_path, "learner", step=7, metrics={"reward/version": 3.0}, paused=None)
    found = live.read(tmp_path, "learner")
    assert (found["step"], found["metrics"], found["paused"]) == (7, {"reward/version": 3.0}, None)


def test_it_says_who_wrote_and_when(tmp_path, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 12.5)
    live.write(tmp_path, "policy")
    assert live.read(tmp_path, "policy") == {"pid": os.getpid(), "at": 12.5}


def test_before_the_first_word_there_is_nothing(tmp_path):
    assert live.read(tmp_path, "learner") == {}
    live.write(tmp_path, "policy", step=1)
    assert live.read(tmp_path, "learner") == {}


def test_the_last_word_counts(tmp_path):
    for step in (1, 2):
        live.write(tmp_path, "policy", step=step)
    assert live.read(tmp_path, "policy")["step"] == 2


def test_what_is_no_status_is_named(tmp_path):
    live.write(tmp_path, "policy")
    file = tmp_path / "live" / "policy.json"
    file.write_text("{")
    with pytest.raises(ValueError, match=r"live/policy\.json cannot be read: JSONDecodeError"):
        live.read(tmp_path, "policy")


def test_a_reader_sees_a_whole_status_or_none(tmp_path):
    """Also while one is written for the first time: a writer removes and writes it again and again."""
    done = threading.Event()

    def write():
        for step in range(500):
            live.write(tmp_path, "policy", step=step, metrics={f"{i}": i for i in range(100)})
            if step % 2:
                (tmp_path / "live" / "policy.json").unlink()
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    sizes = set()
    while not done.is_set():
        sizes.add(len(live.read(tmp_path, "policy").get("metrics", {})))
    writer.join()
    assert sizes == {0, 100}

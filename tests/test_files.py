"""Files that people are shown, and folders that are whole."""

import json
from hashlib import sha256
from pathlib import Path

import pytest

from prefrl.files import CLIP, TEXT, keep, keep_all, text, whole_folder


def test_a_file_is_named_by_what_it_holds_and_written_once(tmp_path):
    folder = tmp_path / "clips"
    name = keep(folder, b"what is seen", CLIP)
    assert name == sha256(b"what is seen").hexdigest() + ".webm"
    written = (folder / name).stat()
    assert keep(folder, b"what is seen", CLIP) == name
    assert (folder / name).stat() == written
    assert [(file.name, file.read_bytes()) for file in folder.iterdir()] == [(name, b"what is seen")]


def test_many_files_are_kept_as_one_by_one_would_be(tmp_path):
    datas = [b"one", b"two", b"one", b"three"]
    keep(tmp_path, b"two", TEXT)
    assert keep_all(tmp_path, datas, TEXT) == [keep(tmp_path, data, TEXT) for data in datas]
    assert sorted(file.read_bytes() for file in tmp_path.iterdir()) == sorted({*datas})
    assert keep_all(tmp_path, [], TEXT) == []


def test_text_is_kept_as_json_whatever_it_holds():
    assert json.loads(text("Say \x00 and \ud800", '</script>"\n')) == {
        "prompt": "Say \x00 and \ud800",
        "text": '</script>"\n',
    }


def fill(path, words):
    with whole_folder(path) as draft:
        (draft / "inner").mkdir()
        (draft / "inner" / "a").write_text(words)


def test_a_folder_is_there_when_all_of_it_is(tmp_path):
    fill(tmp_path / "made", "old")
    fill(tmp_path / "made", "new")
    assert (tmp_path / "made" / "inner" / "a").read_text() == "new"
    assert [*tmp_path.iterdir()] == [tmp_path / "made"]


def test_a_folder_that_cannot_be_filled_leaves_the_older_one(tmp_path):
    fill(tmp_path / "made", "old")
    with pytest.raises(ZeroDivisionError), whole_folder(tmp_path / "made") as draft:
        (draft / "a").write_text(str(1 / 0))
    assert (tmp_path / "made" / "inner" / "a").read_text() == "old"
    assert [*tmp_path.iterdir()] == [tmp_path / "made"]


def test_an_interruption_between_the_older_folder_and_the_new_one_loses_neither(tmp_path, monkeypatch):
    fill(tmp_path / "made", "old")
    rename, calls = Path.rename, []

    def interrupted(path, target):
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path / "made", "new")
    assert [path.read_text() for path in tmp_path.rglob("a")] == ["old"]

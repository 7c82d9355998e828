"""Files that people are shown."""

import json
from hashlib import sha256

from prefrl.files import CLIP, TEXT, keep, keep_all, text


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

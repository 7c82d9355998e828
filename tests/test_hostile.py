"""Files of strangers: what was made to run code runs none, and is refused in one line that names it."""

import base64
import io
import json
import pickle
import shutil
import sqlite3
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from prefrl.cli import main
from prefrl.evaluate import evaluate
from prefrl.runs import RunFolder
from prefrl.train import resume, train
from tests.tiny_runs import OFF_POLICY, tiny


class Trap:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Two runs: all that a run can hold is in the one or the other."""
    folder = tmp_path_factory.mktemp("runs")
    train(tiny(total_timesteps=300), folder / "ppo")
    train(tiny(total_timesteps=300, algo="sac", hyper=OFF_POLICY), folder / "sac")
    return folder


@pytest.fixture
def run(finished, tmp_path):
    """A run to go on with, as somebody might send it."""
    return copied(finished / "ppo", tmp_path)


def copied(path, to):
    run = Path(shutil.copytree(path, to / "run"))
    (run / "summary.json").unlink()
    return run


@pytest.fixture
def mark(tmp_path):
    """What a trap leaves if it works; no test may find it."""
    path = tmp_path / "mark"
    yield path
    assert not path.exists(), "code in the file ran"


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def torch_file(thing):
    file = io.BytesIO()
    torch.save(thing, file)
    return file.getvalue()


def with_members(archive, **contents):
    """The zip with some of its files, given by their name without its end, replaced."""
    ends = {Path(name).stem: name for name in zipfile.ZipFile(archive).namelist()}
    new = {ends.get(stem, f"{stem}.pth"): content for stem, content in contents.items()}
    with zipfile.ZipFile(archive) as old:
        kept = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(archive, "w") as file:
        for name, content in (kept | new).items():
            file.writestr(name, content)


def assert_refused(file, capsys, *command):
    capsys.readouterr()
    code, said = main([str(word) for word in command]), capsys.readouterr()
    assert (code, said.out) == (2, "")
    assert said.err.startswith(f"prefrl: {file} ") and said.err.count("\n") == 1


CONTENTS = {
    "a pickle": lambda mark, _: pickle.dumps(Trap(mark)),
    "a pickle of torch's": lambda mark, _: torch_file({"weights": Trap(mark)}),
    "an array of objects": lambda mark, _: npz(
        **dict.fromkeys(["obs", "acts", "truth", "step", "mean", "episodes", "rewards"], np.array([Trap(mark)]))
    ),
    "half of it": lambda _, whole: whole[: len(whole) // 2],
    "nothing": lambda *_: b"",
    "another file's": lambda *_: b'{"seconds": {}}',
}
FILES = ["policy.zip", "counters.json", "obs_moments.npz", "learner.safetensors", "recent.npz", "driver.json"]
FILES += ["history.json", "episodes.npz"]


def test_a_trap_works(tmp_path):
    pickle.loads(pickle.dumps(Trap(tmp_path / "mark")))
    assert (tmp_path / "mark").exists()


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("name", FILES)
def test_a_checkpoint_is_refused_whose(name, content, run, mark, capsys):
    file = RunFolder(run).checkpoint() / name
    file.write_bytes(CONTENTS[content](mark, file.read_bytes()))
    assert_refused(file, capsys, "resume", run)


@pytest.mark.parametrize("content", CONTENTS)
def test_a_replay_buffer_is_refused_that_is(content, finished, tmp_path, mark, capsys):
    run = copied(finished / "sac", tmp_path)
    file = RunFolder(run).checkpoint() / "replay.npz"
    file.write_bytes(CONTENTS[content](mark, file.read_bytes()))
    assert_refused(file, capsys, "resume", run)


@pytest.mark.parametrize("command", ["resume", "evaluate"])
@pytest.mark.parametrize("member", ["policy", "policy.optimizer", "pytorch_variables"])
@pytest.mark.parametrize("content", ["a pickle", "a pickle of torch's"])
def test_parameters_of_a_policy_are_refused_that_are(content, member, command, run, mark, capsys):
    file = RunFolder(run).checkpoint() / "policy.zip"
    with_members(file, **{member: CONTENTS[content](mark, b"")})
    assert_refused(file, capsys, command, run)


def test_pickled_settings_of_a_policy_are_left_alone(run, mark):
    """SB3's own `load` unpickles them."""
    pickled = base64.b64encode(pickle.dumps(Trap(mark))).decode()
    settings = json.dumps({"policy_class": {":type:": "<class 'type'>", ":serialized:": pickled}})
    with_members(RunFolder(run).checkpoint() / "policy.zip", data=settings)
    assert resume(run).summary
    assert len(evaluate(run, 1).returns) == 1


@pytest.mark.parametrize("content", ["a pickle", "a pickle of torch's", "nothing"])
def test_a_published_reward_is_refused_that_is(content, run, mark, capsys):
    with sqlite3.connect(run / "store.db") as connection:
        connection.execute("update rewards set parameters = ?", [CONTENTS[content](mark, b"")])
    connection.close()
    assert_refused(run / "store.db", capsys, "evaluate", run)


@pytest.mark.parametrize("content", CONTENTS)
def test_a_segment_is_refused_that_is(content, run, mark, capsys):
    file = sorted((run / "segments").iterdir())[0]
    file.write_bytes(CONTENTS[content](mark, file.read_bytes()))
    assert_refused(file, capsys, "fit", run)


@pytest.mark.parametrize("content", CONTENTS)
def test_shapes_are_refused_that_are(content, run, mark, capsys):
    (run / "spaces.json").write_bytes(CONTENTS[content](mark, b'{"obs_shape": [2], "act_sha'))
    assert_refused(run / "spaces.json", capsys, "fit", run)


@pytest.mark.parametrize("content", ["a pickle", "nothing", "another file's"])
def test_metrics_are_refused_that_are(content, run, mark, capsys):
    (run / "metrics.jsonl").write_bytes(CONTENTS[content](mark, b"") + b"\n")
    assert_refused(run / "metrics.jsonl", capsys, "resume", run)


@pytest.mark.parametrize("command", ["resume", "evaluate", "fit", "report"])
@pytest.mark.parametrize("tag", ["python/object/apply:os.mkdir", "python/object/new:os.mkdir"])
def test_settings_that_call_python_are_refused(tag, command, run, mark, capsys):
    (run / "config.yaml").write_text(f"env: !!{tag} [{mark}]\n")
    assert_refused(run / "config.yaml", capsys, command, run)


def test_settings_that_call_python_would_do_so_elsewhere(tmp_path):
    yaml.unsafe_load(f"!!python/object/apply:os.mkdir [{tmp_path / 'mark'}]")
    assert (tmp_path / "mark").exists()


def test_settings_of_a_new_run_that_call_python_are_refused(tmp_path, mark, capsys):
    (tmp_path / "mine.yaml").write_text(f"env: !!python/object/apply:os.mkdir [{mark}]\n")
    assert_refused(tmp_path / "mine.yaml", capsys, "train", "--config", tmp_path / "mine.yaml")

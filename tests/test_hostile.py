"""Files of strangers: a checkpoint, a store or settings that were made to run code run none."""

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

from prefrl.cli import main
from prefrl.runs import RunFolder
from prefrl.train import train
from tests.tiny_runs import OFF_POLICY, tiny


class Trap:
    """Leaves a mark wherever it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return train(tiny(total_timesteps=300), tmp_path_factory.mktemp("runs") / "run").path


@pytest.fixture(scope="module")
def off_policy(tmp_path_factory):
    config = tiny(algo="sac", hyper=OFF_POLICY, total_timesteps=300)
    return train(config, tmp_path_factory.mktemp("runs") / "sac").path


def unfinished(run, tmp_path):
    """A copy that a stranger might have sent, to go on with."""
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / "summary.json").unlink()
    return copy


@pytest.fixture
def run(finished, tmp_path):
    return unfinished(finished, tmp_path)


@pytest.fixture
def mark(tmp_path):
    """What a trap leaves; that it is not there when the test ends is checked here."""
    path = tmp_path / "mark"
    yield path
    assert not path.exists(), "code of the file ran"


@pytest.fixture
def trap(mark):
    return pickle.dumps(Trap(mark))


def zipped(file, **members):
    """Replaces members of a zip; a dot in a name is written `__`."""
    members = {name.replace("__", "."): content for name, content in members.items()}
    with zipfile.ZipFile(file) as archive:
        kept = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in (kept | members).items():
            archive.writestr(name, content)


def saved(thing):
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    return buffer.getvalue()


def refused(capsys, file, *command):
    """The command ends in one line that names the file, and 2."""
    capsys.readouterr()
    code, said = main([str(word) for word in command]), capsys.readouterr()
    assert (code, said.out) == (2, "")
    assert said.err.count("\n") == 1
    assert said.err.startswith(f"prefrl: {file} ")


def test_a_trap_works(tmp_path):
    pickle.loads(pickle.dumps(Trap(tmp_path / "mark")))
    assert (tmp_path / "mark").exists()


def test_settings_pickled_in_a_policy_are_left_alone(run, trap, mark):
    """Where SB3 itself unpickles them, and with that runs their code."""
    settings = {name: {":type:": "", ":serialized:": base64.b64encode(trap).decode()} for name in ("gamma", "seed")}
    zipped(RunFolder(run).checkpoint() / "policy.zip", data=json.dumps(settings))
    assert main(["resume", str(run)]) == 0
    assert main(["evaluate", str(run), "--episodes", "1"]) == 0


@pytest.mark.parametrize("command", ["resume", "evaluate"])
@pytest.mark.parametrize("member", ["policy__pth", "policy__optimizer__pth", "pytorch_variables__pth"])
@pytest.mark.parametrize("form", ["pickle", "torch"])
def test_parameters_that_are_a_pickle_are_refused(form, member, command, run, trap, mark, capsys):
    file = RunFolder(run).checkpoint() / "policy.zip"
    zipped(file, **{member: trap if form == "pickle" else saved({"weights": Trap(mark)})})
    refused(capsys, file, command, run)


def npz(trap):
    return arrays(obs=np.array([pickle.loads], dtype=object))


def arrays(**content):
    buffer = io.BytesIO()
    np.savez(buffer, **content)
    return buffer.getvalue()


class Objects:
    """An array that holds a trap."""

    def __init__(self, mark):
        self.content = np.array([Trap(mark)], dtype=object)

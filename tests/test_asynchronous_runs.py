"""Whole runs of several processes: they end with all their answers, whoever is killed on the way."""

import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr
from importlib import import_module
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from prefrl import beside, live
from prefrl.control.guard import Watch
from prefrl.parts import Parts
from prefrl.runs import RunConfig, RunFolder
from prefrl.train import resume, train, watching
from prefrl.web.options import PageOptions
from tests.test_train import KEYS
from tests.tiny_runs import rows, tiny
from tests.waiting import soon

ROOT = Path(__file__).parents[1]
THINKS = {"asynchronous": True, "oracle": "tests.tiny_runs:thinks", "turns": 8}
OTHERS = ("asker", "learner")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run in which every environment crashes once, and what it told about that."""
    crashes = {"env": "tests.tiny_envs:RaisesLater-v0", "total_timesteps": 1_600}
    with redirect_stderr(StringIO()) as words:
        folder = train(tiny(**crashes, asynchronous=True), tmp_path_factory.mktemp("runs") / "run")
    return folder, words.getvalue()


@pytest.fixture
def ended(whole):
    return whole[0]


def pids(run):
    """Of the processes beside the policy's, once each of them has had something to say."""
    return {name: soon(lambda name=name: live.read(run, name).get("pid")) for name in OTHERS}


def gone(pid):
    """Whether a process has ended, also if nobody took notice yet."""
    stat = Path("/proc") / str(pid) / "stat"
    try:
        return stat.read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def learned(run):
    """The answers, once some of them are learned from and others not yet given."""
    soon(lambda: live.read(run, "learner").get("metrics"), within=60)
    return rows(run)


def test_a_run_gets_its_budget_of_answers(ended):
    assert ended.summary["labels"] == len(rows(ended.path)) == 24


def test_a_run_ends_with_a_whole_summary(ended):
    assert ended.summary.keys() >= KEYS
    assert ended.summary["reward_version"] >= 4 and ended.summary["steps"] >= 1_600
    assert 0 < ended.summary["reward_seconds"] < ended.summary["wall_seconds"]


def test_what_the_learner_found_is_logged_with_every_reward(ended):
    lines = [line for line in ended.read_metrics() if "reward/version" in line]
    assert all({"labels/learned", "reward/pearson", "reward/std"} <= line.keys() for line in lines)
    assert lines[-1]["labels/learned"] == 24


def test_no_process_is_left(ended):
    assert multiprocessing.active_children() == []
    assert all(gone(pid) for pid in pids(ended.path).values())


def test_a_folder_of_several_processes_is_read_as_any_other(ended):
    assert ended.config.asynchronous
    assert ended.checkpoint(best=True).is_dir()


def test_what_an_environment_raised_is_told_and_the_run_goes_on(whole):
    _, words = whole
    for index in range(4):
        assert f"environment {index} was cut off and made anew, 1 times of 10:\nTraceback" in words
    assert words.count("RuntimeError: the simulator is gone") == 4


def test_what_other_processes_cannot_be_given_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"other processes cannot be given this oracle: define it at the top level of"):
        train(tiny(asynchronous=True), tmp_path / "run", oracle=lambda left, right: 1.0)
    assert not (tmp_path / "run").exists()


def test_what_a_notebook_defines_is_refused_where_other_processes_need_it(tmp_path):
    """They would look for it in vain."""
    code = "def oracle(left, right):\n    return 1.0\n\n"
    code += "from pathlib import Path; from prefrl.train import train; from tests.tiny_runs import tiny\n"
    code += "train(tiny(asynchronous=True), Path('run'), oracle=oracle)\n"
    command, where = [sys.executable, "-c", code], os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(command, cwd=tmp_path, env=where, capture_output=True, text=True)
    words = "ValueError: other processes cannot be given this oracle: define it at the top level of a module"
    assert ended.stderr.splitlines()[-1].startswith(words)
    assert not (tmp_path / "run").exists()


SCRIPT = """
from prefrl.train import train
from tests.tiny_runs import tiny
train(tiny(asynchronous=True))
"""


@pytest.mark.slow
def test_a_script_that_the_other_processes_import_makes_one_run(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    command, where = [sys.executable, "script.py"], os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(command, cwd=tmp_path, env=where, capture_output=True, text=True)
    hint = 'put the call under `if __name__ == "__main__":`: the other processes of the run import this script'
    assert ended.returncode == 1
    assert f"\nRuntimeError: {hint}\n" in ended.stderr
    died = r"RuntimeError: the (asker|learner) process died: exit status 1; if the lines above speak of __main__, "
    assert re.match(f"{died}{re.escape(hint)} \\(3 times", ended.stderr.splitlines()[-1])
    assert len([*(tmp_path / "runs").iterdir()]) == 1


@pytest.mark.parametrize("failing", ["run_logger", "Asynchronous"])
def test_a_run_that_cannot_begin_leaves_no_process(failing, tmp_path, monkeypatch):
    """A notebook lives on."""
    monkeypatch.setattr(sys.modules["prefrl.train"], failing, Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        train(tiny(asynchronous=True), tmp_path / "run")
    assert multiprocessing.active_children() == []


def test_what_mujoco_simulates_is_not_shown_where_nothing_draws_it(tmp_path, monkeypatch):
    monkeypatch.setattr("prefrl.control.camera.working_gl", lambda: None)
    with pytest.raises(ValueError, match="MuJoCo cannot draw"):
        train(RunConfig(env="prefrl/HalfCheetah-v0", oracle="human"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_page_that_cannot_be_served_is_refused_before_anything_is_written(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        page = PageOptions(port=taken.getsockname()[1], open_browser=False)
        with pytest.raises(ValueError, match="cannot listen at"):
            train(tiny(oracle="human"), tmp_path / "run", page=page)
    assert not (tmp_path / "run").exists()


def test_what_renders_by_itself_needs_nothing_to_draw_with(monkeypatch):
    monkeypatch.setattr("prefrl.control.camera.working_gl", lambda: None)
    beside.check(Parts.of(tiny(oracle="human")), {})


@pytest.mark.parametrize(
    ("package", "importers"), [("av", ["prefrl.people", "prefrl.media"]), ("uvicorn", ["prefrl.web.serve"])]
)
def test_people_need_packages_before_anything_is_written(package, importers, tmp_path, monkeypatch):
    for module in importers:
        monkeypatch.delitem(sys.modules, module, raising=False)
        parent, _, name = module.rpartition(".")
        monkeypatch.delattr(import_module(parent), name, raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=r'need .*: pip install "prefrl\[web\]"'):
        train(tiny(oracle="human"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_outside_of_the_main_thread_nobody_is_watched():
    """Signals arrive in the main thread only."""

    def alarm():
        with watching(SimpleNamespace(watch=Watch())):
            return signal.getitimer(signal.ITIMER_REAL)

    with ThreadPoolExecutor() as pool:
        assert pool.submit(alarm).result() == (0, 0)
    assert alarm() > (0, 0)


@pytest.mark.slow
def test_a_run_goes_on_when_learner_and_asker_are_killed(tmp_path, capfd):
    run = tmp_path / "run"

    def kill():
        answers = [learned(run)]
        for name in OTHERS:
            os.kill(pids(run)[name], signal.SIGKILL)
            answers.append(rows(run))
        return answers

    with ThreadPoolExecutor() as pool:
        killed = pool.submit(kill)
        folder = train(tiny(**THINKS), run)
    words, whole = capfd.readouterr().err, rows(run)
    for name in OTHERS:
        assert f"the {name} process died: killed by SIGKILL\nit is begun again" in words
    for before in killed.result():
        assert 0 < len(before) < 24 and whole[: len(before)] == before
    assert folder.summary["labels"] == len(whole) == 24


def begin(run):
    """A run in a group of processes of its own."""
    command = [sys.executable, "-m", "tests.test_asynchronous_runs", str(run)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_without_a_lost_answer(tmp_path):
    with begin(tmp_path / "run") as parent:
        before = learned(tmp_path / "run")
        others = pids(tmp_path / "run")
        parent.kill()
        soon(lambda: all(map(gone, others.values())), within=3)
    folder = resume(tmp_path / "run")
    whole = rows(tmp_path / "run")
    assert 0 < len(before) < 24 and whole[: len(before)] == before
    assert folder.summary["labels"] == len(whole) == 24


@pytest.mark.slow
def test_ctrl_c_ends_all_processes_and_tells_how_to_go_on(tmp_path):
    run = tmp_path / "run"
    with begin(run) as parent:
        learned(run)
        others = pids(run)
        os.killpg(parent.pid, signal.SIGINT)
        _, words = parent.communicate(timeout=30)
    assert parent.returncode == 130
    assert words == f"prefrl: interrupted; go on with `prefrl resume {run}`\n"
    assert all(map(gone, others.values()))
    assert RunFolder(run).summary is None


if __name__ == "__main__":
    from prefrl.cli import main

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    flags = ["--env", "tests.tiny_envs:Dot-v0", "--asynchronous", "--oracle", "tests.tiny_runs:thinks", "--turns", "8"]
    size = ["--total-timesteps", "1000", "--labels", "24", "--n-envs", "4", "--checkpoint-every", "300"]
    hyper = ["--hyper", "n_steps=32", "batch_size=64", "policy_kwargs={net_arch: [8]}"]
    sys.exit(main(["train", *flags, *size, "--eval-episodes", "2", *hyper, "--out", sys.argv[1]]))

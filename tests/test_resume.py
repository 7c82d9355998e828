"""A run that was killed ends as the run that was not."""

import multiprocessing
import os
import pkgutil
import random
import shutil
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path
from unittest import mock

import pytest

from prefrl.runs import RunFolder
from prefrl.train import resume, train
from tests.tiny_runs import OFF_POLICY, Outcome, outcome, rows, tiny

ROOT = Path(__file__).parents[1]

RUNS = {
    "ppo": tiny(),
    "sac": tiny(algo="sac", n_envs=1, hyper=OFF_POLICY, total_timesteps=500, checkpoint_every=150),
    "dqn": tiny(
        algo="stable_baselines3:DQN",
        env="tests.tiny_envs:DiscreteDot-v0",
        hyper=OFF_POLICY | {"target_update_interval": 150, "exploration_final_eps": 0.5},
    ),
    "true": tiny(reward="true"),
    # An oracle that judges by all that it was asked before.
    "history": tiny(oracle="skipping(equal(stochastic, chance=0.5), chance=0.5)"),
}

STEP = "prefrl.control.vec_env.Recorder.step_wait"
MOMENTS = {
    "before the first answers are written": ("ppo", "prefrl.store.Store.answer", 1),
    "before any checkpoint": ("ppo", STEP, 60),
    "right after a checkpoint": ("ppo", "prefrl.runs.RunFolder.prune", 1),
    "between two checkpoints": ("ppo", STEP, 150),
    "before a turn's answers are written": ("ppo", "prefrl.store.Store.answer", 4),
    "after a turn's answers are written": ("ppo", "prefrl.store.Store.publish", 4),
    "in the middle of a checkpoint": ("ppo", "prefrl.history.History.save", 2),
    "after the last checkpoint": ("ppo", "prefrl.train.measure", 1),
    "with a replay buffer": ("sac", STEP, 400),
    "with a schedule of exploration": ("dqn", STEP, 190),
    "without any labels": ("true", STEP, 150),
    "after answers that an oracle remembers": ("history", "prefrl.store.Store.publish", 3),
}
"""When a run is killed: in which run, and just before which call of which function."""

children = multiprocessing.get_context("forkserver")  # torch is imported once for all of them
children.set_forkserver_preload(["prefrl.train", "tests.tiny_runs"])


def kill_before(function, call):
    """From now on, the process kills itself (SIGKILL: nothing is flushed or closed) before a call of the function."""
    original = pkgutil.resolve_name(function)
    left = call

    def killing(*args, **kwargs):
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    mock.patch(function, killing).start()


def begin(name, path, function, call):
    kill_before(function, call)
    train(RUNS[name], path)


def go_on(path, function, call):
    kill_before(function, call)
    resume(path)


def killed(target, *args):
    child = children.Process(target=target, args=args)
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL


@pytest.fixture(scope="module")
def unharmed(tmp_path_factory):
    """What the runs come to that nobody kills."""
    found: dict[str, Outcome] = {}

    def unharmed(name):
        if name not in found:
            found[name] = outcome(train(RUNS[name], tmp_path_factory.mktemp("unharmed") / name).path)
        return found[name]

    return unharmed


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """A run that was killed between two checkpoints."""
    path = tmp_path_factory.mktemp("killed") / "run"
    killed(begin, "ppo", path, STEP, 150)
    return path


@pytest.fixture
def run(half, tmp_path):
    """A copy of it, to go on with."""
    return Path(shutil.copytree(half, tmp_path / "run"))


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_killed(moment, unharmed, tmp_path):
    name, function, call = MOMENTS[moment]
    killed(begin, name, tmp_path / "run", function, call)
    assert outcome(resume(tmp_path / "run").path) == unharmed(name)


def test_a_run_killed_twice(unharmed, tmp_path):
    killed(begin, "ppo", tmp_path / "run", STEP, 150)
    killed(go_on, tmp_path / "run", "prefrl.store.Store.publish", 1)
    assert outcome(resume(tmp_path / "run").path) == unharmed("ppo")


def test_a_killed_run_has_no_summary(half):
    assert RunFolder(half).summary is None


def test_a_killed_run_loses_no_row(half, run):
    before = rows(half)
    assert before
    assert rows(resume(run).path)[: len(before)] == before


def test_going_on_does_not_repeat_what_the_checkpoint_holds(run):
    step = int(RunFolder(run).checkpoint().name.removeprefix("step_"))
    with mock.patch("prefrl.train._Run.begin", side_effect=AssertionError("began anew")):
        folder = resume(run)
    steps = [line["time/total_timesteps"] for line in folder.read_metrics()]
    assert step in steps and steps == sorted(set(steps))


def test_a_torn_last_line_of_metrics_is_dropped(run, unharmed):
    with (run / "metrics.jsonl").open("a") as metrics:
        metrics.write('{"rollout/ep_rew_mean": 0.5, "time/total_ti')
    assert outcome(resume(run).path) == unharmed("ppo")


def test_metrics_logged_after_the_checkpoint_are_logged_once(run, unharmed):
    with (run / "metrics.jsonl").open("a") as metrics:
        metrics.write('{"reward/version": 99.0, "time/total_timesteps": 999.0}\n')
    assert outcome(resume(run).path) == unharmed("ppo")


@pytest.mark.parametrize("files", [[], ["counters.json", "policy.zip"]])
def test_a_half_written_checkpoint_is_ignored(files, run, unharmed):
    half_written = run / "checkpoints" / "step_900.half"
    half_written.mkdir()
    for name in files:
        (half_written / name).write_bytes((RunFolder(run).checkpoint() / name).read_bytes()[:100])
    assert outcome(resume(run).path) == unharmed("ppo")


def test_a_run_of_parts_given_as_objects_goes_on_with_them(run):
    asked = []

    def oracle(left, right):
        asked.append((left, right))
        return 0.5

    resume(run, oracle=oracle)
    assert asked and [preference for *_, preference, _ in rows(run)][-len(asked) :] == [0.5] * len(asked)


def test_a_finished_run_is_not_resumed(run):
    resume(run)
    files = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    with pytest.raises(ValueError, match=f"{run} is finished: see {run}/summary.json"):
        resume(run)
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == files


def test_what_is_no_run_is_not_resumed(tmp_path):
    with pytest.raises(ValueError, match="is no run: it has no config"):
        resume(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_a_run_killed_by_another_process_at_any_moment(seed, unharmed, tmp_path):
    rng, run = random.Random(seed), tmp_path / "run"
    for attempt in count(1):
        verb = "resume" if (run / "config.yaml").exists() else "begin"
        with subprocess.Popen([sys.executable, "-m", "tests.test_resume", verb, str(run)], cwd=ROOT) as child:
            try:
                child.wait(rng.uniform(0, 2 * attempt))  # more each time, so that it ends on any machine
            except subprocess.TimeoutExpired:
                child.kill()
        if RunFolder(run).summary:
            break
    assert outcome(run) == unharmed("ppo")


if __name__ == "__main__":
    if sys.argv[1] == "resume":
        resume(Path(sys.argv[2]))
    else:
        shutil.rmtree(sys.argv[2], ignore_errors=True)  # killed before there was anything to resume
        train(RUNS["ppo"], Path(sys.argv[2]))

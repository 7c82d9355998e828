"""Whole runs on frames, with ends of episodes that the policy does not see."""

import math

import numpy as np
import pytest
from safetensors.torch import load_file

from prefrl.control.policy import recorded
from prefrl.evaluate import evaluate
from prefrl.refit import refit
from prefrl.runs import RunConfig, RunFolder
from prefrl.train import resume, train
from tests.tiny_pixels import SETTINGS, memory
from tests.tiny_runs import outcome, rows


def small(**changes):
    return RunConfig(**SETTINGS | changes)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(small(), tmp_path_factory.mktemp("runs") / "pixels")


def stored(folder):
    with folder.open_store() as store:
        return [store.segment(id) for query in store.queries() for id in (query.left, query.right)]


def test_a_run_gets_its_labels_and_is_evaluated(run):
    summary = run.summary
    assert (summary["labels"], summary["reward_version"]) == (20, 5)
    assert all(math.isfinite(summary[name]) for name in ("eval_return_mean", "best_eval_return_mean", "pearson"))


def test_returns_are_made_of_scores(run):
    """Tens, of 8 to 12 steps; the rewards that the oracle judges are ones, and less at an end."""
    assert run.summary["eval_return_mean"] * 3 % 10 == pytest.approx(0, abs=1e-6)
    returns = evaluate(run.path, 4).returns
    assert (returns % 10 == 0).all() and returns.any()


def test_no_segment_crosses_an_end_that_is_hidden(run):
    """After a start the older frame is black, so it may be in no step but a segment's first."""
    segments = stored(run)
    assert len(segments) == 40
    for segment in segments:
        assert segment.obs.shape == (5, 2, 43, 43)
        assert segment.obs[1:, 0].any((1, 2)).all()


def test_segments_are_kept_as_frames(run):
    assert all(memory(segment.obs) == 6 * 43 * 43 for segment in stored(run))
    files = [file.stat().st_size for file in (run.path / "segments").rglob("*.npz")]
    assert files and max(files) < 3_000


def test_what_the_oracle_judged_is_clipped_and_penalised(run):
    truth = np.concatenate([segment.truth for segment in stored(run)])
    assert set(truth) <= {-2.0, -1.0, 0.0, 1.0}


def test_as_much_is_fitted_as_the_rate_says(run):
    checkpoint = load_file(run.checkpoint() / "learner.safetensors")
    assert checkpoint["trained"].item() == run.summary["steps"]


def test_all_that_is_logged_is_finite(run):
    lines = run.read_metrics()
    assert len(lines) >= 5
    assert all(math.isfinite(value) for line in lines for name, value in line.items() if "loss" not in name)


def test_a_run_is_repeated_by_its_seed(run, tmp_path):
    assert outcome(train(small(), tmp_path / "again").path) == outcome(run.path)


class Interrupted(BaseException):
    pass


@pytest.mark.parametrize("changes", [{}, {"reward": "true"}, {"fit": "frames(first_passes=1, rate=0.5, keep=6)"}])
def test_a_run_that_was_interrupted_ends_as_if_it_had_not_been(changes, tmp_path, monkeypatch):
    config = small(oracle="skipping(synthetic, chance=0.3)", **changes)
    whole = train(config, tmp_path / "whole")
    step, left = "prefrl.control.vec_env.Recorder.step_wait", iter(range(90))
    original = type(recorded(config.env, 1, continuing=True)).step_wait

    def interrupting(self):
        if next(left, None) is None:
            raise Interrupted
        return original(self)

    monkeypatch.setattr(step, interrupting)
    with pytest.raises(Interrupted):
        train(config, tmp_path / "run")
    monkeypatch.undo()
    assert RunFolder(tmp_path / "run").checkpoints()
    assert outcome(resume(tmp_path / "run").path) == outcome(whole.path)


def test_a_run_on_the_true_reward_is_paid_it_in_small(tmp_path):
    """A standard deviation of 0.05 (A.2)."""
    folder = train(small(reward="true"), tmp_path / "run")
    assert (folder.summary["labels"], folder.summary["pearson"]) == (0, None)
    assert '"std": 0.05' in (folder.checkpoint() / "driver.json").read_text()


def test_environments_one_by_one_give_the_same_run(run, tmp_path):
    slow = train(small(env="tests.tiny_pixels:Slow-v0"), tmp_path / "run")
    assert rows(slow.path) == rows(run.path)
    assert outcome(slow.path).parameters == outcome(run.path).parameters


@pytest.mark.parametrize("changes", [{"algo": "ppo"}, {"env": "tests.tiny_pixels:Last-v0"}, {"net": "mlp"}])
def test_runs_of_other_kinds_on_frames_end(changes, tmp_path):
    hyper = SETTINGS["hyper"] | ({"n_steps": 20, "batch_size": 20} if "algo" in changes else {})
    folder = train(small(hyper=hyper, total_timesteps=120, labels=6, turns=2, **changes), tmp_path / "run")
    assert folder.summary["labels"] == 6


def test_a_run_beside_its_learner_ends(tmp_path):
    folder = train(small(asynchronous=True, labels=8, turns=2), tmp_path / "run")
    assert folder.summary["labels"] == 8 and folder.summary["reward_version"] >= 2


def test_a_reward_for_frames_is_refitted(tmp_path):
    folder = train(small(total_timesteps=120, labels=6, turns=2, fit=None), tmp_path / "run")
    metrics = refit(folder.path, fit="frames(first_passes=1)")
    assert metrics["labels/learned"] == 6 and math.isfinite(metrics["reward/train_loss"])


def test_a_game_of_pong_is_learned_from_labels(tmp_path):
    """The whole chain, in as few steps as show that all parts fit."""
    pytest.importorskip("ale_py")
    config = RunConfig(
        "prefrl/Pong-v0",
        algo="a2c",
        total_timesteps=20_000,
        labels=40,
        fit="frames(first_passes=1, rate=0.005, judged=10)",
        turns=5,
        members=1,
        eval_episodes=1,
        checkpoint_every=20_000,
    )
    folder = train(config, tmp_path / "run")
    summary = folder.summary
    assert (summary["labels"], summary["steps"] >= 20_000) == (40, True)
    assert -21 <= summary["train_return_mean"] <= -10 and -21 <= summary["eval_return_mean"] <= 21
    assert -1 <= summary["pearson"] <= 1
    losses = [line["reward/train_loss"] for line in folder.read_metrics() if "reward/train_loss" in line]
    assert len(losses) >= 2 and np.isfinite(losses).all()
    segments = stored(folder)
    assert {segment.obs.shape for segment in segments} == {(25, 4, 84, 84)}
    assert all(memory(segment.obs) == 28 * 84 * 84 for segment in segments)

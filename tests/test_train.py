"""Whole runs: what is learned, what is left on disk, and what is refused."""

import re
import sys

import gymnasium as gym
import pytest
from stable_baselines3 import A2C

from prefrl.control.vec_env import EnvFailure
from prefrl.parts import completed
from prefrl.queries import Uniform
from prefrl.reward.fit import Fit
from prefrl.schedules import Upfront
from prefrl.train import resume, train
from tests.tiny_runs import (
    DOT,
    OFF_POLICY,
    PPO,
    SECONDS,
    Linear,
    first_pairs,
    likes_left,
    never_tells,
    outcome,
    parameters,
    rows,
    tiny,
)

LEARNS = {
    "total_timesteps": 2_000,
    "labels": 40,
    "hyper": PPO | {"learning_rate": 0.01},
    "fit": "fit(passes=5, first_passes=30)",
}
"""Steps enough to learn where to go: going there all the time earns 15.5, random steps about 0."""
FILES = {
    ".lock", "checkpoints", "command.txt", "config.yaml", "metrics.jsonl", "objects.json", "preset.json",
    "segments", "spaces.json", "store.db", "summary.json", "system.json", "tb",
}  # fmt: skip
KEYS = {
    "env", "algo", "seed", "steps", "labels", "reward_version", "train_return_mean", "eval_return_mean",
    "eval_return_std", "best_eval_return_mean", "pearson", "wall_seconds", "policy_seconds",
    "reward_seconds", "steps_per_second",
}  # fmt: skip


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A run that learned to go right from labels."""
    return train(tiny(**LEARNS), tmp_path_factory.mktemp("runs") / "learned")


@pytest.fixture(scope="module")
def baseline(tmp_path_factory):
    """The same run on the environment's own reward."""
    return train(tiny(**LEARNS, reward="true"), tmp_path_factory.mktemp("runs") / "true")


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return train(tiny(), tmp_path_factory.mktemp("runs") / "first")


@pytest.fixture
def fail_after(monkeypatch):
    """How many steps each of the environments `...Later` stays sound; an inspection takes 200."""

    def fail_after(steps):
        for name in ("NaNRewardLater-v0", "InfiniteObsLater-v0", "RaisesLater-v0"):
            monkeypatch.setitem(gym.registry[name].kwargs, "steps", steps)

    return fail_after


def test_a_policy_learns_from_labels_alone(learned):
    assert learned.summary["untrained_return"] < 3
    assert learned.summary["eval_return_mean"] > 12
    assert learned.summary["train_return_mean"] > 10


def test_the_learned_reward_is_like_the_true_one(learned):
    assert learned.summary["pearson"] > 0.9


def test_the_baseline_learns_from_the_true_reward(baseline):
    assert baseline.summary["eval_return_mean"] > 12
    assert baseline.summary["labels"] == 0 and baseline.summary["pearson"] is None


def test_the_baseline_begins_as_the_learned_run_does_and_takes_the_same_steps(learned, baseline):
    same = ["env", "algo", "seed", "steps", "untrained_return", "reward_version"]
    assert [learned.summary[key] for key in same] == [baseline.summary[key] for key in same]


def test_every_label_of_the_budget_is_asked(learned):
    assert learned.summary["labels"] == len(rows(learned.path)) == 40


def test_the_summary_holds_what_the_plan_promises(learned, baseline):
    assert learned.summary.keys() >= KEYS
    assert baseline.summary.keys() == learned.summary.keys()


def test_the_summary_is_of_this_run(first):
    config, summary = tiny(), first.summary
    assert (summary["env"], summary["algo"], summary["seed"]) == (DOT, "ppo", 0)
    assert config.total_timesteps <= summary["steps"] < config.total_timesteps + 4 * 32


def test_policy_and_reward_share_the_time_of_the_run(learned):
    wall, policy, reward, speed = (learned.summary[key] for key in SECONDS)
    assert policy + reward == pytest.approx(wall)
    assert min(policy, reward) > 0
    assert speed == pytest.approx(learned.summary["steps"] / wall)


def test_the_folder_holds_what_the_plan_promises(first):
    assert {path.name for path in first.path.iterdir()} - {"store.db-journal"} == FILES  # newer SQLites leave none


def test_the_folder_repeats_the_configuration(first):
    assert first.config == completed(tiny(), frames=False)


def test_metrics_are_logged_at_every_turn(first):
    versions = [line["reward/version"] for line in first.read_metrics() if "reward/version" in line]
    assert versions == [1, 2, 3, 4, 5]  # of the untrained policy, and of four turns


def test_metrics_speak_of_policy_reward_and_labels(first):
    names = {name.split("/")[0] for line in first.read_metrics() for name in line}
    assert names == {"rollout", "train", "time", "reward", "labels"}


def test_the_newest_checkpoints_and_the_best_are_kept(learned):
    newest = [path.name for path in learned.checkpoints()]
    assert f"step_{learned.summary['steps']}" == newest[-1]
    assert f"step_{learned.summary['best_step']}" in newest
    assert 2 <= len(newest) <= 3


def test_the_same_seed_repeats_parameters_rows_and_metrics(first, tmp_path):
    assert outcome(train(tiny(), tmp_path / "again").path) == outcome(first.path)


def test_another_seed_gives_other_parameters_rows_and_metrics(first, tmp_path):
    one, other = outcome(first.path), outcome(train(tiny(seed=1), tmp_path / "other").path)
    assert one.rows != other.rows and one.metrics != other.metrics
    assert not set(one.parameters.values()) & set(other.parameters.values()) - constants(first)


def constants(folder):
    """Digests of what no seed changes: biases that nothing trained, the number of steps, and the like."""
    fixed = ("step", "l2", "version", "trained", "fitted", "reward_mean", "bias")
    return {digest for name, digest in outcome(folder.path).parameters.items() if name.endswith(fixed)}


def test_parts_are_given_as_objects(tmp_path):
    parts = {"oracle": likes_left, "select": Uniform(), "schedule": Upfront(), "fit": Fit(2, 2), "net": Linear}
    folder = train(tiny(hyper={"n_steps": 32}), tmp_path / "run", algo=A2C, **parts)
    assert {name for name in parameters(folder) if name.startswith("ensemble.members.0")} == {
        "ensemble.members.0.weights.weight",
        "ensemble.members.0.weights.bias",
    }
    assert len({step for *_, step in rows(folder.path)}) == 1  # everything was asked upfront


def test_objects_and_their_names_give_the_same_run(tmp_path):
    named = tiny(
        algo="stable_baselines3:A2C",
        oracle="tests.tiny_runs:likes_left",
        select="tests.tiny_runs:first_pairs",
        net="tests.tiny_runs:Linear",
        hyper={"n_steps": 32},
    )
    by_name = outcome(train(named, tmp_path / "named").path)
    given = tiny(algo=named.algo, select=named.select, hyper=named.hyper)  # both are noted in rows and summary
    objects = {"algo": A2C, "oracle": likes_left, "select": first_pairs, "net": Linear}
    assert outcome(train(given, tmp_path / "given", **objects).path) == by_name


def test_the_oracle_decides_what_is_learned(tmp_path):
    folder = train(tiny(**LEARNS, oracle="tests.tiny_runs:likes_left"), tmp_path / "run")
    assert folder.summary["eval_return_mean"] < -10


@pytest.mark.parametrize(
    ("algo", "env", "hyper"),
    [
        ("stable_baselines3:PPO", DOT, PPO),
        ("sb3_contrib:TRPO", DOT, PPO),
        ("stable_baselines3:TD3", DOT, OFF_POLICY),
        ("stable_baselines3:PPO", "tests.tiny_envs:DiscreteDot-v0", PPO),
        ("stable_baselines3:DQN", "tests.tiny_envs:DiscreteDot-v0", OFF_POLICY),
    ],
)
def test_an_algorithm_of_the_user_is_paid_the_learned_reward(algo, env, hyper, tmp_path):
    config = tiny(algo=algo, env=env, hyper=hyper, total_timesteps=600, fit="fit(passes=5, first_passes=30)")
    folder = train(config, tmp_path / "run")
    assert folder.summary["labels"] == 24
    assert folder.summary["pearson"] > 0.5


def test_an_oracle_that_never_tells_ends_the_run_without_a_reward(tmp_path):
    folder = train(tiny(labels=4, turns=2), tmp_path / "run", oracle=never_tells)
    assert (folder.summary["labels"], folder.summary["reward_version"]) == (0, 0)
    assert folder.summary["skipped"] == len(rows(folder.path)) > 4
    assert folder.summary["pearson"] is None


def test_a_policy_is_paid_zero_until_a_reward_was_learned(tmp_path):
    paid = []

    class Watched(A2C):
        def collect_rollouts(self, *args, **kwargs):
            going_on = super().collect_rollouts(*args, **kwargs)
            paid.append(self.rollout_buffer.rewards.any())
            return going_on

    blind = {"n_steps": 32, "gamma": 0.0}  # nothing is added for what comes after an episode's last step
    train(tiny(labels=4, turns=2, hyper=blind), tmp_path / "run", algo=Watched, oracle=never_tells)
    assert paid and not any(paid)


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ("NaNRewardLater", "reward that is not finite, in environment 0, after 804 steps"),
        ("InfiniteObsLater", "observation that is not finite, in environment 0, after 804 steps"),
        ("RaisesLater", "raised RuntimeError('the simulator is gone') after 800 steps"),
    ],
)
def test_an_environment_that_fails_is_named_with_its_step(env, words, fail_after, tmp_path):
    fail_after(200)
    with pytest.raises(EnvFailure, match=f"{env}-v0 .*{re.escape(words)}"):
        train(tiny(env=f"tests.tiny_envs:{env}-v0"), tmp_path / "run")


def test_a_run_goes_on_as_if_its_environment_had_never_failed(first, fail_after, tmp_path):
    fail_after(200)
    with pytest.raises(EnvFailure):
        train(tiny(env="tests.tiny_envs:RaisesLater-v0"), tmp_path / "run")
    asked = rows(tmp_path / "run")
    assert 0 < len(asked) < 24
    fail_after(10_000)
    mended, sound = outcome(resume(tmp_path / "run").path), outcome(first.path)
    assert mended.rows[: len(asked)] == asked
    assert (mended.parameters, mended.rows, mended.metrics) == (sound.parameters, sound.rows, sound.metrics)


def test_a_folder_that_exists_is_left_alone(tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    with pytest.raises(ValueError, match="exists: choose another --out, or go on with `prefrl resume"):
        train(tiny(), tmp_path)
    assert list(tmp_path.iterdir()) == [notes]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": 20_000}, "20000 labels cannot be asked: 1000 steps make 200 segments of 5 steps, and 19900 pairs"),
        ({"labels": 800}, "1000 steps leave none to train in: the labels of the untrained policy take 1000"),
        ({"labels": 200, "schedule": "upfront"}, "leave none to train in"),
        ({"n_envs": 100}, "leave none to train in"),
    ],
)
def test_labels_that_cannot_be_asked_are_refused_before_anything_is_written(changes, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        train(tiny(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_unknown_part_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="no part 'orakle': did you mean 'oracle'"):
        train(tiny(), tmp_path / "run", orakle=likes_left)
    assert not (tmp_path / "run").exists()


def test_tracking_without_its_package_is_refused_before_anything_is_written(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match="tracking needs wandb: pip install"):
        train(tiny(), tmp_path / "run", track=True)
    assert not (tmp_path / "run").exists()

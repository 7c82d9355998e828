"""What is measured of a finished run."""

import json
import shutil
from contextlib import closing
from importlib import import_module

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prefrl.control.vec_env import Episode
from prefrl.evaluate import _first, evaluate, measure
from prefrl.parts import Parts
from prefrl.runs import RunFolder
from prefrl.store import Store
from prefrl.train import train
from tests.tiny_runs import PPO, Linear, likes_left, tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(tiny(), tmp_path_factory.mktemp("runs") / "run").path


@pytest.fixture(scope="module")
def misled(tmp_path_factory):
    """A run whose true return only fell, since its oracle wants the opposite."""
    config = tiny(hyper=PPO | {"learning_rate": 0.01}, fit="fit(passes=5, first_passes=30)", checkpoint_every=200)
    return train(config, tmp_path_factory.mktemp("runs") / "misled", oracle=likes_left).path


def test_the_evaluation_of_a_finished_run_is_repeated(run):
    """As many episodes from the same seed: neither the policy nor its moments nor the reward is another one."""
    summary, found = RunFolder(run).summary, evaluate(run, episodes=2, seed=0).as_dict()
    assert found == {
        "return_mean": summary["eval_return_mean"],
        "return_std": summary["eval_return_std"],
        "episodes": 2,
        "pearson": summary["pearson"],
    }


@pytest.mark.parametrize("episodes", [1, 3, 10, 12])
def test_as_many_episodes_are_played_as_asked_for(episodes, run):
    assert len(evaluate(run, episodes).returns) == episodes


@given(st.integers(1, 4), st.integers(1, 20), st.integers(0, 99))
def test_every_environment_plays_as_many_episodes_as_any_other_or_one_less(envs, episodes, seed):
    """However many more of the short ones are over by then; its first ones count."""
    rng = np.random.default_rng(seed)
    ended = [Episode(step, float(step), int(env)) for step, env in enumerate(rng.integers(envs, size=30 * envs))]
    found = _first(ended, episodes, envs)
    shares = [[total for total in found if ended[int(total)].env == env] for env in range(envs)]
    assert len(found) == episodes and max(map(len, shares)) - min(map(len, shares)) <= 1
    for env, share in enumerate(shares):
        assert share == [each.total for each in ended if each.env == env][: len(share)]


def test_an_evaluation_is_not_over_before_the_slowest_environment_is():
    assert _first([Episode(step, 1.0, 0) for step in range(9)], 2, envs=2) == [1.0]


def test_few_steps_are_kept_at_a_time_and_each_is_judged_once(run, monkeypatch):
    monkeypatch.setattr(import_module("prefrl.evaluate"), "CHUNK", 7)  # prefrl.evaluate is the function
    rollouts, parts = [], Parts.of(tiny())

    def pay(rollout):
        rollouts.append(rollout)
        return rollout.truth

    with closing(parts.recorder()) as recorder:
        found = measure(parts.model(recorder), parts, pay, episodes=12, seed=0)
    assert found.pearson == pytest.approx(1)
    assert [len(rollout) for rollout in rollouts] == [7, 7, 7, 7, 7, 5]  # 40 steps are two episodes
    assert sum(rollout.truth[:, 1].sum() for rollout in rollouts) == pytest.approx(found.returns[2] + found.returns[3])


def test_the_same_seed_gives_the_same_returns(run):
    assert evaluate(run, 3, seed=5).returns.tolist() == evaluate(run, 3, seed=5).returns.tolist()


def test_another_seed_plays_other_episodes(run):
    assert evaluate(run, 3, seed=5).returns.tolist() != evaluate(run, 3, seed=6).returns.tolist()


def test_the_best_policy_is_not_always_the_newest(misled):
    assert evaluate(misled, 4, best=True).returns.mean() > evaluate(misled, 4).returns.mean() + 5


def test_where_no_episode_had_ended_there_is_no_best(run, tmp_path):
    path = shutil.copytree(run, tmp_path / "run")
    history = RunFolder(path).checkpoint() / "history.json"
    history.write_text(json.dumps(json.loads(history.read_text()) | {"best_step": 0}))
    with pytest.raises(ValueError, match="has no best checkpoint, for no episode had ended at any: take the newest"):
        evaluate(path, 1, best=True)


@pytest.mark.parametrize("name", ["run", "misled"])
def test_the_summary_tells_what_the_best_policy_earns(name, request):
    """With the moments of observations that it was trained on."""
    path = request.getfixturevalue(name)
    summary = RunFolder(path).summary
    assert evaluate(path, 2, best=True, seed=0).returns.mean() == summary["best_eval_return_mean"]


def test_the_newest_published_reward_is_compared_with_the_true_one(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    before = evaluate(copy, 2).pearson
    ensemble = Parts.of(tiny()).ensemble()
    with Store(copy) as store:
        version, parameters = store.reward()
        ensemble.from_bytes(parameters, version)
        turn_round(ensemble)
        store.publish(ensemble.to_bytes(), step=10_000, labels=24)
    assert evaluate(copy, 2).pearson == pytest.approx(-before)


def test_a_baseline_has_no_learned_reward_to_compare(tmp_path):
    train(tiny(reward="true", total_timesteps=200), tmp_path / "run")
    assert evaluate(tmp_path / "run", 2).pearson is None


def test_a_net_given_as_an_object_is_given_again(tmp_path):
    summary = train(tiny(total_timesteps=200), tmp_path / "run", net=Linear).summary
    assert evaluate(tmp_path / "run", 2, net=Linear).pearson == summary["pearson"]
    with pytest.raises(ValueError, match=r"store\.db cannot be read: .* state_dict for Ensemble"):
        evaluate(tmp_path / "run", 2)


def test_evaluating_leaves_the_run_as_it_was(run):
    files = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    evaluate(run, 2)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == files


def test_what_cannot_be_evaluated_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is no run"):
        evaluate(tmp_path)
    new = RunFolder.create(tmp_path / "new", tiny()).path
    with pytest.raises(ValueError, match="new has no checkpoint yet"):
        evaluate(new)


def turn_round(ensemble):
    """What was good is bad."""
    with torch.no_grad():
        for member in ensemble.members:
            for parameter in member.layers[-1].parameters():
                parameter.neg_()
        ensemble.reward_mean.neg_()

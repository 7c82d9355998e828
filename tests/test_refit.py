"""A new reward from stored labels."""

import shutil

import gymnasium as gym
import numpy as np
import pytest

from prefrl.parts import Parts
from prefrl.refit import refit
from prefrl.reward.diagnostics import pearson
from prefrl.runs import RunFolder
from prefrl.store import Store
from prefrl.train import train
from prefrl.types import Label
from tests.tiny_runs import never_tells, tiny


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return train(tiny(), tmp_path_factory.mktemp("runs") / "run").path


@pytest.fixture
def run(finished, tmp_path):
    """A copy of it, to publish in."""
    return shutil.copytree(finished, tmp_path / "run")


def versions(run):
    with Store(run) as store:
        return store.versions()


def published(run):
    with Store(run) as store:
        return store.reward()[1]


def likeness(run):
    """Correlation of the newest reward with the true one, over all stored segments."""
    ensemble = Parts.of(RunFolder(run).config).ensemble()
    with Store(run) as store:
        ensemble.from_bytes(*reversed(store.reward()))
        segments = [store.segment(id) for query in store.queries() for id in (query.left, query.right)]
    paid = ensemble.pay(np.stack([s.obs for s in segments]), np.stack([s.acts for s in segments]))
    return pearson(paid, np.stack([s.truth for s in segments]))


def test_a_refit_is_published_as_the_next_version(run):
    before = versions(run)
    metrics = refit(run)
    assert versions(run)[:-1] == before
    assert versions(run)[-1].labels == metrics["labels/learned"] == 24
    assert metrics["reward/version"] == before[-1].id + 1


def test_a_refit_says_how_well_it_fits(run):
    assert {"reward/train_loss", "reward/validation_loss", "reward/spread"} <= refit(run).keys()


def test_a_longer_refit_fits_better(run):
    short, long = (refit(run, fit=f"fit(first_passes={passes})")["reward/train_loss"] for passes in (1, 100))
    assert long < short


def test_a_refit_learns_what_the_labels_say(run):
    refit(run, fit="fit(first_passes=50)")
    assert likeness(run) > 0.9


def test_a_refit_needs_no_environment(run, monkeypatch):
    for name in list(gym.registry):
        monkeypatch.delitem(gym.registry, name)
    assert refit(run)


def test_the_same_seed_gives_the_same_reward_and_no_second_version(run):
    refit(run, seed=3)
    once, parameters = versions(run), published(run)
    refit(run, seed=3)
    assert (versions(run), published(run)) == (once, parameters)


def test_another_seed_gives_another_reward(run):
    refit(run, seed=3)
    parameters = published(run)
    refit(run, seed=4)
    assert published(run) != parameters


def test_a_label_that_supersedes_is_the_one_that_counts(run):
    with Store(run) as store:
        turned = [
            Label(label.query, 1 - label.preference, label.labeller, key=f"again {label.query}")
            for label in store.labels()
        ]
        store.answer(turned)
    refit(run, fit="fit(first_passes=50)")
    assert likeness(run) < -0.9


def test_a_run_without_answers_cannot_be_refitted(tmp_path):
    train(tiny(labels=4, turns=1, total_timesteps=200), tmp_path / "run", oracle=never_tells)
    with pytest.raises(ValueError, match="run has no labels to fit to"):
        refit(tmp_path / "run")


def test_what_is_no_run_cannot_be_refitted(tmp_path):
    with pytest.raises(ValueError, match="is no run"):
        refit(tmp_path)

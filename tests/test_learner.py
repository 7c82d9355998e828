"""A learner that is fitted all the time, as for frames: how much it trains, on what, and how it goes on."""

from dataclasses import dataclass, field
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save

from prefrl import live
from prefrl.asynchronous import AT_ONCE, Fitting
from prefrl.candidates import Candidates
from prefrl.loop import WORTHWHILE, Lockstep, Turns
from prefrl.oracles import Synthetic
from prefrl.recent import Recent
from prefrl.reward.fit import Fit
from prefrl.store import Store
from prefrl.types import UNDONE
from tests.tiny_learner import TOTAL, TURNS, answer, learner, segments


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path) as store:
        yield store


@dataclass(frozen=True)
class Seen(Fit):
    """Keeps what it was called with."""

    batch: int = 1
    calls: list = field(default_factory=list)
    """(queries, passes) of each."""

    def __call__(self, ensemble, optimizer, comparisons, passes, rng):
        self.calls.append(([c.query for c in comparisons], passes))
        return super().__call__(ensemble, optimizer, comparisons, passes, rng)

    @property
    def trained(self):
        """Comparisons, one by one, of all but the first fit."""
        return sum(len(queries) * passes for queries, passes in self.calls[1:])


def taught(store, fit, count=8):
    """A learner after its first fit at step 10, and what it asked."""
    learns = learner(store, fit=fit)
    queries = learns.ask(segments(10), count, step=10)
    answer(store, 1.0, 0.0, queries=queries)
    assert learns.learn(segments(10), 10)
    return learns, queries


# how much


@pytest.mark.parametrize("rate", [0.4, 0.5, 3.0])
def test_in_lockstep_as_many_comparisons_are_trained_as_the_rate_says(rate, store):
    fit = Seen(first_passes=1, rate=rate)
    drive = Lockstep(learner(store, fit=fit), Synthetic(), Recent(24), Turns(len(TURNS) - 1, TOTAL))
    for step in (*TURNS, 110):
        drive(segments(step), step)
    assert len(fit.calls) == len(TURNS)
    assert fit.trained == pytest.approx(rate * (TOTAL - TURNS[0]))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.sampled_from([0.1, 0.3, 1.0, 2.5]))
def test_whenever_a_learner_is_called_it_has_trained_what_is_due(gaps, rate):
    """But for less than a few batches."""
    fit = Seen(first_passes=1, rate=rate)
    learns = learner(mock.Mock(), fit=fit)
    learns.store.comparisons.return_value = ([], 0)
    learns.ensemble.version, learns._comparisons = 1, dict.fromkeys(range(9))
    done, step = 0.0, 0
    for gap in gaps:
        step += gap
        done += 9 * learns._book(False, step, None)
        assert -1e-6 <= rate * step - done < WORTHWHILE * fit.batch + 1e-6


def test_without_new_labels_it_goes_on_training_at_its_rate(store):
    fit = Seen(first_passes=1, rate=0.5)
    learns, _ = taught(store, fit)
    assert learns.learn(segments(30), 30)["reward/version"] == 2
    assert fit.calls[-1][1] == 0.5 * 20 / 8


def test_new_labels_alone_are_no_reason_to_train_beyond_the_rate(store):
    fit = Seen(first_passes=1, rate=0.5)
    learns, _ = taught(store, fit)
    answer(store, 1.0, queries=learns.ask(segments(11), 4, step=11))
    assert learns.learn(segments(11), 11) == {}
    assert learns.learn(segments(30), 30)["labels/learned"] == 12


def test_less_than_a_few_batches_waits(store):
    learns, _ = taught(store, Seen(first_passes=1, rate=0.5))
    assert learns.train(17) == {}
    assert learns.train(18)


def test_where_there_are_fewer_comparisons_than_a_few_batches_they_are_enough(store):
    learns, _ = taught(store, Seen(first_passes=1, rate=0.5), count=2)
    assert learns.train(13) == {}
    assert learns.train(14)


def test_no_more_is_trained_at_once_than_is_allowed_and_nothing_is_lost(store):
    fit = Seen(first_passes=1, rate=1.0)
    learns, _ = taught(store, fit)
    while learns.train(60, most=16):
        pass
    assert [round(len(queries) * passes) for queries, passes in fit.calls[1:]] == [16, 16, 16]
    assert learns.train(62, most=16)  # two were left


def test_a_fit_without_a_rate_waits_for_labels(store):
    fit = Seen(first_passes=4, passes=2)
    learns, _ = taught(store, fit)
    assert learns.learn(segments(90), 90) == {}
    answer(store, 1.0, queries=learns.ask(segments(90), 4, step=90))
    assert learns.learn(segments(90), 90)
    assert [passes for _, passes in fit.calls] == [4, 2]


# on what


def test_only_the_newest_comparisons_are_kept(store):
    fit = Seen(first_passes=1, rate=0.5, keep=5)
    learns, queries = taught(store, fit)
    assert fit.calls[0][0] == [query.id for query in queries[-5:]]
    later = learns.ask(segments(30), 2, step=30)
    answer(store, 1.0, queries=later)
    learns.learn(segments(30), 30)
    assert fit.calls[1][0] == [query.id for query in [*queries[-3:], *later]]


def test_a_corrected_label_is_the_newest(store):
    fit = Seen(first_passes=1, rate=0.5, keep=3)
    learns, queries = taught(store, fit, count=3)
    answer(store, 0.5, queries=queries[:1])
    later = learns.ask(segments(30), 2, step=30)
    answer(store, 1.0, queries=later)
    learns.train(30)
    assert fit.calls[-1][0] == [queries[0].id, later[0].id, later[1].id]


def test_what_was_taken_back_is_not_kept(store):
    fit = Seen(first_passes=1, rate=0.5, keep=5)
    learns, queries = taught(store, fit)
    answer(store, None, queries=queries[-2:], note=UNDONE)
    learns.train(30)
    assert fit.calls[-1][0] == [query.id for query in queries[3:6]]


# after a kill


@pytest.mark.parametrize("skipped", [0, 3])
def test_a_learner_that_keeps_a_few_goes_on_as_if_it_had_not_stopped(store, skipped):
    """Whatever nobody could tell meanwhile."""
    first, _ = taught(store, Seen(first_passes=1, rate=0.5, keep=5))
    answer(store, None, queries=first.ask(segments(30), skipped, step=30))
    first.learn(segments(30), 30)
    second = learner(store, fit=Seen(first_passes=1, rate=0.5, keep=5))
    second.load(load(save(first.state())))
    told = [each.learn(segments(50), 50) for each in (first, second)]
    assert first.fit.calls[-1] == second.fit.calls[-1] and len(first.fit.calls[-1][0]) == 5
    assert told[0] == told[1] | {"reward/version": told[0]["reward/version"]} != {}
    assert first.ensemble.to_bytes() == second.ensemble.to_bytes()


@pytest.mark.parametrize("step", [33, 49_999_987])
def test_how_far_it_has_trained_is_kept_to_the_step(store, step):
    """Also in runs of 50 million steps, which single precision counts in fours."""
    first, second = (learner(store, fit=Seen(rate=0.1)) for _ in range(2))
    first.trained = float(step)
    second.load(load(save(first.state())))
    assert second.trained == step


# in a process of its own


def offered(step):
    return Candidates(segments(step), step)


@pytest.fixture
def fitting(store):
    """At rate 1; asked and answered about step 10."""
    learns = learner(store, fit=Seen(first_passes=1, rate=1.0))
    live.write(store.folder, "asker", step=10)
    answer(store, 1.0, 0.0, queries=learns.ask(segments(10), 8, step=10))
    return Fitting(store.folder, learns, people=False)


def test_beside_the_policy_it_trains_a_little_at_once_and_publishes_once_per_answered_offer(store, fitting):
    assert fitting(offered(10)) and not fitting(offered(10))
    far = offered(10 + 2 * AT_ONCE + 100)
    live.write(store.folder, "asker", step=far.step)
    assert [fitting(far) for _ in range(4)] == [True, True, True, False]
    assert fitting.learner.fit.trained == pytest.approx(2 * AT_ONCE + 100)
    assert [version.step for version in store.versions()] == [10, far.step]


def test_what_was_found_stays_told_when_a_later_fit_published_nothing(store, fitting):
    fitting(offered(10))
    far = offered(10 + 2 * AT_ONCE)
    live.write(store.folder, "asker", step=far.step)
    fitting(far)
    fitting(far)
    metrics = live.read(store.folder, "learner")["metrics"]
    assert metrics["reward/version"] == 2 and metrics["labels/learned"] == 8 and "reward/train_loss" in metrics


def test_answers_are_told_as_learned_though_nothing_is_due(store, fitting):
    """The policy waits for that word."""
    fitting(offered(10))
    live.write(store.folder, "asker", step=11)
    assert not fitting(offered(11))
    assert live.read(store.folder, "learner")["step"] == 11


def test_a_learner_that_was_killed_does_not_train_again_what_it_had_trained(store, fitting):
    fitting(offered(10))
    fitting(offered(60))
    again = Fitting(store.folder, learner(store, fit=Seen(first_passes=1, rate=1.0)), people=False)
    assert not again(offered(60))
    assert again(offered(70)) and again.learner.fit.calls[0][1] == pytest.approx(10 / 8)

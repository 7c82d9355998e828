"""The reward is fitted to whatever answers there are, whenever they come and whoever was killed meanwhile."""

import pytest

from prefrl import live
from prefrl.asynchronous import FEW, FIRST, Fitting
from prefrl.candidates import Candidates
from prefrl.reward.fit import Fit
from prefrl.store import Store
from prefrl.types import BROKEN, STALE, UNDONE
from tests.tiny_learner import answer, learner, segments


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path) as store:
        yield store


@pytest.fixture
def fits():
    """What fits were made to: (query, preference) of every comparison."""
    return []


@pytest.fixture
def fitting(store, fits):
    """Makes a learner in a process of its own, as if the last had been killed."""

    class Seen(Fit):
        def __call__(self, ensemble, optimizer, comparisons, *args):
            fits.append([(each.query, each.preference) for each in comparisons])
            return super().__call__(ensemble, optimizer, comparisons, *args)

    fit = Seen(first_passes=4, passes=2, batch=8)
    return lambda people=False: Fitting(store.folder, learner(store, fit=fit), people)


@pytest.fixture
def asked(store):
    """Questions about the first offer."""
    live.write(store.folder, "asker", step=10)
    return learner(store).ask(segments(10), 8, step=10)


NOW = Candidates(segments(10), 10)


def told(store):
    return live.read(store.folder, "learner")


def test_answers_are_learned_from_as_they_come(store, fitting, asked, fits):
    """Late, and in any order."""
    fit = fitting()
    for query in (asked[5], asked[0], asked[7]):
        answer(store, 1.0, queries=[query])
        assert fit(NOW) and not fit(NOW)
    answer(store, 1.0, 0.0)
    assert fit(Candidates(segments(90), 90))
    assert sorted(query for query, _ in fits[-1]) == [query.id for query in asked]
    assert told(store)["metrics"]["labels/learned"] == 8


def test_a_learner_says_which_answers_it_has_learned_from(store, fitting, asked):
    fit = fitting()
    answer(store, 1.0)
    assert fit(NOW)
    assert told(store)["step"] == 10
    live.write(store.folder, "asker", step=20)
    assert not fit(NOW)  # there was nothing to answer
    assert told(store)["step"] == 20 and told(store)["metrics"]["reward/version"] == 1


def test_before_the_first_question_nothing_is_learned(store, fitting):
    fit = fitting()
    assert not fit(None)
    assert not fit(NOW)
    assert told(store)["step"] == -1


def test_the_first_fit_is_to_all_answers_about_the_untrained_policy(store, fitting):
    learner(store).ask(segments(10), 8, step=10)
    answer(store, 1.0)
    fit = fitting()
    assert not fit(NOW)
    live.write(store.folder, "asker", step=10)
    assert fit(NOW)


def test_the_first_fit_is_to_some_answers_of_people(store, fitting):
    queries = learner(store).ask(segments(10), FIRST, step=10)
    answer(store, 1.0, queries=queries[1:])
    fit = fitting(people=True)
    assert not fit(NOW)
    answer(store, 0.0, queries=queries[:1])
    assert fit(NOW)


def test_where_few_answers_are_wanted_the_first_fit_is_to_those(store):
    queries = learner(store).ask(segments(10), 3, step=10)
    answer(store, 1.0, queries=queries)
    live.write(store.folder, "asker", step=10)
    assert Fitting(store.folder, learner(store, budget=3), people=True)(NOW)


def test_a_learner_that_was_killed_goes_on_with_what_it_had_not_learned(store, fitting, asked, fits):
    answer(store, 1.0, queries=asked[:4])
    fitting()(NOW)
    answer(store, 0.0, queries=asked[4:])
    assert fitting()(NOW)
    assert [query for query, _ in fits[-1]] == [query.id for query in asked]
    assert "reward/prequential_accuracy" in told(store)["metrics"]  # the four are judged before they are learned


def test_a_learner_that_was_killed_has_nothing_to_learn_if_nothing_is_new(store, fitting, asked):
    answer(store, 1.0)
    fitting()(NOW)
    again = fitting()
    assert not again(NOW)
    assert (told(store)["step"], store.newest(), again.learner.ensemble.version) == (10, 1, 1)


def test_a_learner_killed_before_it_kept_its_state_loses_no_answer(store, fitting, asked, fits, monkeypatch):
    class Killed(BaseException):
        pass

    def kill(*_):
        raise Killed

    answer(store, 1.0)
    first = fitting()
    monkeypatch.setattr("prefrl.asynchronous.save", kill)
    with pytest.raises(Killed):
        first(NOW)
    monkeypatch.undo()
    assert fitting()(NOW)
    assert len(fits[-1]) == 8
    assert told(store)["metrics"]["reward/version"] == store.newest() == 2


@pytest.mark.parametrize("note", [UNDONE, STALE, BROKEN, ""])
def test_what_is_no_preference_is_never_fitted(store, fitting, asked, fits, note):
    answer(store, 1.0, queries=asked[:6])
    answer(store, None, queries=asked[4:], note=note)
    fitting()(NOW)
    assert fits == [[(query.id, 1.0) for query in asked[:4]]]


def test_an_answer_that_is_taken_back_is_forgotten(store, fitting, asked, fits):
    fit = fitting()
    answer(store, 1.0)
    fit(NOW)
    answer(store, None, queries=asked[:3], note=UNDONE)
    assert fit(NOW)
    assert [query for query, _ in fits[-1]] == [query.id for query in asked[3:]]


def test_an_answer_that_was_taken_back_while_the_learner_was_dead_is_forgotten(store, fitting, asked, fits):
    answer(store, 1.0)
    fitting()(NOW)
    answer(store, None, queries=asked[:3], note=UNDONE)
    assert fitting()(NOW)
    assert [query for query, _ in fits[-1]] == [query.id for query in asked[3:]]


def test_a_question_that_is_withdrawn_is_no_reason_to_fit(store, fitting, asked, fits):
    """A new reward is a reason to withdraw one: it would go on for ever."""
    fit = fitting()
    answer(store, 1.0, queries=asked[:6])
    fit(NOW)
    answer(store, None, queries=asked[6:], labeller="", note=STALE)
    assert not fit(NOW)
    assert (store.newest(), len(fits)) == (1, 1)


def test_an_answer_to_a_question_that_was_withdrawn_counts(store, fitting, asked, fits):
    answer(store, None, queries=asked[:1], labeller="", note=STALE)
    answer(store, 1.0, queries=asked)
    fitting()(NOW)
    assert (asked[0].id, 1.0) in fits[-1] and len(fits[-1]) == 8


def test_how_well_answers_are_predicted_is_told_when_some_were(store, fitting, asked):
    fit, right = fitting(), []
    live.write(store.folder, "asker", step=10)
    for query in asked:
        answer(store, 1.0, queries=[query])
        fit(NOW)
        right.append(told(store)["right"])
    assert right[:FEW] == [None] * FEW  # nothing judged the first
    assert all(0 <= share <= 1 for share in right[FEW:]) and right[FEW:]

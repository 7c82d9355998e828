"""How reward models of text are fitted, and that the learner of control fits them too."""

import math
from copy import deepcopy
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from prefrl.loop import Learner
from prefrl.queries import Disagreement
from prefrl.reward.ensemble import Ensemble
from prefrl.reward.loss import Margin, bradley_terry, logistic
from prefrl.schedules import Upfront
from prefrl.store import Store
from prefrl.text.fitting import KWise, Texts
from prefrl.text.kept import STATE
from prefrl.text.score import score_net
from prefrl.text.tokens import to_samples
from prefrl.types import Comparison, Label
from tests import tiny_text
from tests.tiny_descent import same, weights

PROMPT, RESPONSE = 64, 24


def members(count=2, seed=0):
    torch.manual_seed(seed)
    net = score_net(tiny_text.model(), tiny_text.tokenizer().pad_token_id)
    return Ensemble((), (), net, count, std=None)


def segments(post, texts):
    samples = to_samples(tiny_text.tokenizer(), [post] * len(texts), texts, PROMPT, RESPONSE)
    return [replace(segment, id=1 + i) for i, segment in enumerate(samples.segments())]


def told(prompts=4, k=3):
    """All pairs of k texts of each prompt; those with more words are better."""
    comparisons = []
    for number, post in enumerate(tiny_text.posts(prompts, sentences=1)):
        post = replace(post, head=f"POST {number}: ")
        texts = [" ".join(post.body.split()[: n + 1]) for n in range(k)]
        for left, right in combinations(segments(post, texts), 2):
            comparisons.append(Comparison(left, right, 0.0, query=1 + len(comparisons)))
    return comparisons


@pytest.fixture
def drawn_once(monkeypatch):
    monkeypatch.setattr(
        "prefrl.reward.fit.bootstrap", lambda names, members, seed: np.ones((members, len(names)), "f4")
    )


@given(st.floats(-80, 80), st.floats(-80, 80), st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_the_logistic_loss_is_bradley_terry_without_lapses(left, right, mu):
    sides = [torch.tensor([side], dtype=torch.float64) for side in (left, right)]
    found = logistic(*sides, torch.tensor([mu], dtype=torch.float64)).item()
    better = math.log1p(math.exp(-abs(left - right))) + max(right - left, 0)  # -log sigmoid(left - right)
    worse = math.log1p(math.exp(-abs(left - right))) + max(left - right, 0)
    assert found == pytest.approx(mu * better + (1 - mu) * worse, abs=1e-9)
    if abs(left - right) < 15:
        assert found == pytest.approx(
            bradley_terry(*sides, torch.tensor([mu], dtype=torch.float64), 0.0).item(), abs=1e-6
        )


def test_a_margin_asks_the_better_side_to_lead_and_nothing_of_a_tie():
    left, right = torch.tensor([3.0, 3.0, 3.0]), torch.tensor([1.0, 1.0, 1.0])
    mu = torch.tensor([1.0, 0.0, 0.5])
    expected = [-functional.logsigmoid(torch.tensor(x)).item() for x in (2 - 0.5, -2 - 0.5)]
    found = Margin(0.5)(left, right, mu)
    assert found[:2].tolist() == pytest.approx(expected)
    assert found[2] == logistic(left, right, mu)[2]


def gradients(ensemble):
    return [parameter.grad.clone() for parameter in ensemble.parameters()]


def kwise_gradients(fit, comparisons, monkeypatch):
    """Gradients of one update over all comparisons, and how many texts were forwarded by each member."""
    ensemble, forwarded, kept = members(1), [], []
    inner = ensemble.members[0].scores
    monkeypatch.setattr(ensemble.members[0], "scores", lambda ids: forwarded.append(len(ids)) or inner(ids))
    optimizer = fit.optimizer(ensemble)
    monkeypatch.setattr(optimizer, "step", lambda: kept.append((sum(forwarded), gradients(ensemble))))
    fit(ensemble, optimizer, comparisons, 1, np.random.default_rng(0))
    return kept


def test_detail_7_the_k_wise_loss_is_the_mean_over_pairs_with_k_forward_passes(drawn_once, monkeypatch):
    comparisons = told(prompts=2, k=4)[:-3]  # all 6 pairs of one prompt, 3 of the other
    [(forwarded, found)] = kwise_gradients(KWise(batch=2), comparisons, monkeypatch)
    assert forwarded == 4 + 4
    ensemble = members(1)
    score = ensemble.members[0].scores
    losses = [
        -functional.logsigmoid(score(torch.from_numpy(c.right.obs)[None]) - score(torch.from_numpy(c.left.obs)[None]))
        for c in comparisons
    ]
    (sum(losses[:6]) / 6 / 2 + sum(losses[6:]) / 3 / 2).backward()
    for ours, expected in zip(found, gradients(ensemble), strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-4)


def test_a_k_wise_batch_holds_whole_prompts(drawn_once, monkeypatch):
    kept = kwise_gradients(KWise(batch=2), told(prompts=5, k=3), monkeypatch)
    assert [forwarded for forwarded, _ in kept] == [6, 12, 15]


def test_in_pairs_a_text_is_forwarded_once_per_batch_too(drawn_once, monkeypatch):
    [(forwarded, _)] = kwise_gradients(Texts(batch=12), told(prompts=4, k=3), monkeypatch)
    assert forwarded == 12


@pytest.mark.parametrize("fit", [Texts(batch=8), KWise(batch=3)])
def test_less_memory_gives_the_same_gradient(drawn_once, monkeypatch, fit):
    [whole, *_] = kwise_gradients(fit, told(), monkeypatch)
    [parts, *_] = kwise_gradients(replace(fit, at_once=2), told(), monkeypatch)
    assert parts[0] >= whole[0]
    for ours, expected in zip(parts[1], whole[1], strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-6, rtol=1e-5)


def test_all_pairs_of_a_prompt_are_drawn_together():
    names, element = KWise().elements(told(prompts=3, k=3))
    assert element.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert len(set(names)) == 3 and names[0] == names[2] == KWise().elements(told(prompts=1, k=3))[0][0]


@pytest.mark.parametrize("fit", [Texts(batch=4, lr=1e-3, first_passes=8), KWise(batch=2, lr=1e-3, first_passes=16)])
def test_fitted_scores_tell_what_they_were_told(fit):
    ensemble, comparisons = members(), told(prompts=8)
    metrics = fit(ensemble, fit.optimizer(ensemble), comparisons, fit.first_passes, np.random.default_rng(0))
    left, right = (ensemble.returns([getattr(c, side) for c in comparisons]) for side in ("left", "right"))
    assert (left < right).mean() > 0.9
    assert metrics["reward/l2"] == 0 and metrics["reward/train_loss"] < math.log(2)


@pytest.mark.parametrize("number", [0, -1])
def test_a_fit_of_nothing_at_once_is_refused(number):
    with pytest.raises(ValueError, match="fit's at_once must be positive"):
        Texts(at_once=number)


def test_the_learner_asks_about_texts_and_learns_from_the_answers(tmp_path):
    posts = tiny_text.posts(12, sentences=1)
    texts = [" ".join(post.body.split()[: 1 + i % 3]) for i, post in enumerate(posts)]
    samples = to_samples(tiny_text.tokenizer(), [posts[0]] * 12, texts, PROMPT, RESPONSE).segments()
    with Store(tmp_path) as store:
        parts = {"select": Disagreement(), "schedule": Upfront(), "fit": Texts(first_passes=10, batch=8, lr=1e-3)}
        learner = Learner(store, members(), 10, **parts)
        queries = learner.ask(samples, learner.due(0.0), 0)
        assert len(queries) == 10
        said = store.segments(id for query in queries for id in (query.left, query.right))
        labels = [
            Label(q.id, float(said[q.left].acts.sum() > said[q.right].acts.sum()), "oracle", confidence=9)
            for q in queries
        ]
        store.answer(labels)
        metrics = learner.learn(samples, 0)
        assert metrics["reward/version"] == 1 and metrics["labels/learned"] == 10
        assert learner.learn(samples, 1) == {}
        paid = learner.ensemble.pay(np.stack([s.obs for s in samples]), np.stack([s.acts for s in samples]))
        assert paid.sum() == pytest.approx(0, abs=1e-4)
        assert np.corrcoef(paid.sum(1), [s.acts.sum() for s in samples])[0, 1] > 0.5
        again = Learner(store, members(seed=1), 10, **parts)
        again.load(learner.state())
        assert again.ensemble.to_bytes() == learner.ensemble.to_bytes()


def test_what_is_published_comes_back(tmp_path):
    with Store(tmp_path) as store:
        ensemble = members()
        ensemble.normalise(tiny_text.written(8).segments())
        version = store.publish(ensemble.to_bytes(), step=0, labels=1)
        other = members(seed=3)
        other.from_bytes(store.reward()[1], version)
        rows = tiny_text.written(8).segments()
        assert np.array_equal(other.returns(rows), ensemble.returns(rows))


class Killed(Exception):
    """The process ends here."""


def kept(folder, passes=3):
    return Texts(first_passes=passes, batch=2, save_every=1, folder=folder)


def fitted(fit, comparisons, ensemble=None, most=None):
    """The weights after a fit; it is killed before another update than the first `most`."""
    ensemble = ensemble or members()
    optimizer = fit.optimizer(ensemble)
    step, left = optimizer.step, iter(range(10**6 if most is None else most))

    def stepping():
        if next(left, None) is None:
            raise Killed
        step()

    optimizer.step = stepping
    fit(ensemble, optimizer, comparisons, fit.first_passes, np.random.default_rng(0))
    return weights(ensemble)


def test_a_fit_that_was_cut_off_goes_on_to_the_same_end(tmp_path):
    whole = fitted(kept(None), told())
    for most in (2, 3):
        with pytest.raises(Killed):
            fitted(kept(tmp_path), told(), most=most)
    assert same(fitted(kept(tmp_path), told()), whole)
    assert same(fitted(kept(tmp_path), told(), most=0), whole)  # it was at its end


def test_a_fit_to_other_answers_from_another_start_or_for_longer_begins_anew(tmp_path):
    fitted(kept(tmp_path), told())
    other = [replace(comparison, preference=1.0) for comparison in told()]
    asked_elsewhere = [replace(comparison, query=comparison.query + 100) for comparison in told()]
    for fit, comparisons, start in (
        (kept(tmp_path), other, members()),
        (kept(tmp_path), asked_elsewhere, members()),
        (kept(tmp_path), told(), members(seed=1)),
        (kept(tmp_path, passes=4), told(), members()),
    ):
        anew = fitted(replace(fit, folder=None), comparisons, deepcopy(start))
        assert same(fitted(fit, comparisons, start), anew)


def test_a_state_that_cannot_be_read_is_made_anew(tmp_path):
    (tmp_path / STATE).write_bytes(b"nothing")
    assert same(fitted(kept(tmp_path), told()), fitted(kept(None), told()))

"""Policies straight from comparisons: the losses as they are written down, and what is learned by them."""

import math
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prefrl.reward.loss import bradley_terry
from prefrl.store import Store
from prefrl.text.direct import DPO, IPO, KTO, Pairs, Thumbs, log_probability, mismatched, pairs_of, samples_of, thumbs
from prefrl.text.models import with_lora
from prefrl.text.samples import cat
from prefrl.text.tokens import to_samples
from prefrl.types import Comparison, Label, Query
from tests.tiny_descent import batch_gradient, same, stopped, weights
from tests.tiny_text import posts, written

METHODS = [DPO(epochs=8, batch=4, lr=3e-3), IPO(epochs=8, batch=4, lr=3e-3), KTO(epochs=8, batch=8, lr=3e-3)]
named = pytest.mark.parametrize("method", METHODS, ids=["dpo", "ipo", "kto"])
numbers = st.floats(-30, 30)


@pytest.mark.parametrize("method", [DPO, IPO, KTO])
def test_a_beta_that_would_turn_preferences_round_is_refused(method):
    with pytest.raises(ValueError, match="beta must be positive, got -1"):
        method(beta=-1)


@pytest.fixture
def pairs(tokenizer):
    """Of twelve posts: continuations about a cat are better than those about a dog; two are ties."""
    sides = [to_samples(tokenizer, posts(12), [f"the {animal} sees"] * 12, 64, 8) for animal in ("cat", "dog")]
    swapped = torch.arange(12) % 2 == 1
    left, right = (torch.where(swapped[:, None], a.responses, b.responses) for a, b in (sides[::-1], sides))
    mu = torch.where(swapped, 0.0, 1.0)
    mu[:2] = 0.5
    return Pairs(replace(sides[0], responses=left), replace(sides[0], responses=right), mu)


def test_dpo_is_the_bradley_terry_loss_of_implicit_rewards():
    left, right, mu = torch.tensor([1.0, -3.0, 2.0]), torch.tensor([0.5, 4.0, 2.0]), torch.tensor([1.0, 0.25, 0.5])
    expected = bradley_terry(0.3 * left, 0.3 * right, mu, lapse=0.0)
    torch.testing.assert_close(DPO(beta=0.3).loss(left, right, mu), expected)


def test_losses_are_those_of_a_hand():
    one = torch.ones(1)
    assert float(DPO(beta=0.5).loss(2 * one, 0 * one, one)) == pytest.approx(math.log(1 + math.exp(-1)))
    assert float(IPO(beta=0.1).loss(0 * one, 0 * one, one)) == pytest.approx(25)
    assert float(IPO(beta=0.1).loss(5 * one, 0 * one, one)) == pytest.approx(0)
    assert float(IPO(beta=0.1).loss(5 * one, 0 * one, 0 * one)) == pytest.approx(100)
    up, down = torch.tensor([True, False])
    kto = KTO(beta=0.5, desirable=2.0)
    assert float(kto.loss(3 * one, up, one)) == pytest.approx(2 / (1 + math.e))
    assert float(kto.loss(3 * one, down, one)) == pytest.approx(math.e / (1 + math.e))


@pytest.mark.parametrize("method", [DPO(beta=0.2), IPO(beta=0.2)], ids=["dpo", "ipo"])
@given(numbers, numbers, st.floats(0, 1))
def test_swapping_the_sides_and_the_label_leaves_the_loss(method, left, right, mu):
    left, right, mu = (torch.tensor([value], dtype=torch.float64) for value in (left, right, mu))
    torch.testing.assert_close(method.loss(left, right, mu), method.loss(right, left, 1 - mu))


@pytest.mark.parametrize("method", [DPO(), IPO()], ids=["dpo", "ipo"])
def test_a_tie_is_best_told_by_no_difference(method):
    differences = torch.linspace(-8, 8, 81)
    losses = method.loss(differences, torch.zeros(81), torch.full((81,), 0.5))
    assert differences[losses.argmin()] == pytest.approx(0.0, abs=1e-5)


@named
def test_the_better_side_becomes_likelier(method, model, pairs):
    before = deepcopy(model)
    found = method(model, pairs)
    with torch.no_grad():
        gained = [
            log_probability(model, side, mean=True) - log_probability(before, side, mean=True)
            for side in (pairs.left, pairs.right)
        ]
    name = type(method).__name__.lower()
    assert found[f"{name}/updates"] == 24
    better = torch.where(pairs.preference > 0.5, gained[0] - gained[1], gained[1] - gained[0])
    assert (better[2:] > 0.3).all()


@pytest.mark.parametrize("method", METHODS[:2], ids=["dpo", "ipo"])
def test_the_order_of_held_out_pairs_is_told(method, model, pairs):
    found = method(model, pairs, pairs)
    name = type(method).__name__.lower()
    assert found[f"{name}/validation_accuracy"] == 1.0
    untrained = float(method.loss(torch.zeros(12), torch.zeros(12), pairs.preference).mean())
    assert found[f"{name}/validation_loss"] < untrained - 0.05


def test_a_model_that_has_not_changed_knows_nothing_of_pairs(model, pairs):
    """Law: the reference is the model as it is given."""
    found = DPO(lr=1e-30)(model, pairs, pairs)
    assert found["dpo/loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert found["dpo/validation_accuracy"] == pytest.approx(0.5)


def test_ipo_takes_the_mean_over_tokens_and_dpo_the_sum(model):
    samples = written(6)
    total, mean = log_probability(model, samples), log_probability(model, samples, mean=True)
    torch.testing.assert_close(mean * samples.lengths, total)
    assert (DPO.mean, IPO.mean) == (False, True)


@named
def test_gradients_are_accumulated_exactly(method, model, pairs):
    whole, parts = (batch_gradient(method, chunks, model, pairs) for chunks in (1, 3))
    torch.testing.assert_close(parts, whole)


@named
def test_a_stopped_training_goes_on_exactly(method, model, pairs, tmp_path):
    short = replace(method, epochs=2, save_every=2)
    never, killed, again = (deepcopy(model) for _ in range(3))
    expected = short(never, pairs)
    stopped(short, 5, killed, pairs, tmp_path)
    assert short(again, pairs, folder=tmp_path) == expected
    assert same(weights(again), weights(never))


def test_adapters_are_enough(model, pairs):
    frozen = weights(model)["transformer.wte.weight"]
    adapted = with_lora(model, rank=4)
    assert replace(METHODS[0], epochs=16)(adapted, pairs, pairs)["dpo/validation_accuracy"] == 1.0
    assert torch.equal(adapted.get_input_embeddings().weight, frozen)


def test_thumbs_point_by_the_better_side_and_ties_have_none(pairs):
    found = thumbs(pairs)
    assert len(found) == 20 and int(found.good.sum()) == 10
    better = torch.where(pairs.preference[2:, None] > 0.5, pairs.left.responses[2:], pairs.right.responses[2:])
    assert sorted(found.samples.responses[found.good].tolist()) == sorted(better.tolist())


def test_kto_learns_from_single_continuations_too(model, pairs):
    given = thumbs(pairs)
    other = deepcopy(model)
    assert METHODS[2](model, Thumbs(given.samples, given.good)) == METHODS[2](other, pairs)


def test_ties_alone_teach_kto_nothing(model, pairs):
    with pytest.raises(ValueError, match="of 12 comparisons all are ties"):
        KTO()(model, replace(pairs, preference=torch.full((12,), 0.5)))


def test_samples_come_back_from_their_segments():
    samples = written(5)
    found = samples_of(samples.segments(), samples.pad, samples.eos)
    assert torch.equal(found.prompts, samples.prompts) and torch.equal(found.responses, samples.responses)


def test_prompts_of_two_widths_are_refused(tokenizer):
    short, long = (to_samples(tokenizer, posts(1), ["a cat"], width, 80 - width) for width in (60, 64))
    with pytest.raises(ValueError, match=r"prompts end at tokens \[60, 64\]"):
        samples_of([*short.segments(), *long.segments()], short.pad, short.eos)


def test_comparisons_come_from_a_store_with_ties_and_last_words(tmp_path, pairs):
    samples = cat([pairs.left[:3], pairs.right[:3]])
    with Store(tmp_path) as store:
        recorded = store.record(samples.segments())
        asked = store.ask([Query(recorded[i].id, recorded[i + 3].id) for i in range(3)])
        answers = [(0, 1.0), (1, 0.5), (2, 0.0), (0, 0.0), (2, None)]
        store.answer([Label(asked[query].id, preference, "me") for query, preference in answers])
        found = pairs_of(store.comparisons()[0], samples.pad, samples.eos)
    assert sorted(found.preference.tolist()) == [0.0, 0.5]
    row = found.preference.tolist().index(0.5)
    assert torch.equal(found.left.ids[row], pairs.left.ids[1])
    assert torch.equal(found.right.ids[row], pairs.right.ids[1])


def test_no_comparisons_are_refused():
    side = written(1).segments()[0]
    for none in ([], [Comparison(side, side, None)]):
        with pytest.raises(ValueError, match="no comparisons with a preference"):
            pairs_of(none, 1, 0)


def test_comparisons_that_are_in_no_store_are_all_kept():
    left, right = written(2).segments()
    assert len(pairs_of([Comparison(left, right, 1.0), Comparison(left, right, 0.0)], 1, 0)) == 2


def test_a_continuation_never_meets_its_own_prompt_in_the_estimate_of_kl():
    samples = written(7)
    rows = np.arange(7)
    samples = replace(samples, responses=torch.as_tensor(rows)[:, None] + torch.ones(1, 2, dtype=torch.int64) * 5)
    assert (mismatched(samples, seed=0).responses != samples.responses).all()

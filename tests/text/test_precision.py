"""Where hardware multiplies bfloat16, language models do: as float32 would, but for rounding."""

from copy import deepcopy

import pytest
import torch

from prefrl.text import models
from prefrl.text.algorithms import LMPPO
from prefrl.text.generate import generate, log_probs
from prefrl.text.score import Score
from prefrl.text.sft import SFT
from tests import tiny_text
from tests.tiny_policies import algorithm, collected, first_ratios, logged


def wide():
    """A GPT-2 of a width from which on bfloat16 is faster."""
    return tiny_text.model(width=models.WIDE, layers=1)


ROUNDING = 0.02
"""Of numbers of about 1 after two layers, each of which rounds to 1 in 256."""


@pytest.fixture
def bfloat16(monkeypatch):
    monkeypatch.setattr(models, "multiplies_bfloat16", lambda device: True)


def in_half(monkeypatch, compute):
    """The same in float32 and in bfloat16."""
    monkeypatch.setattr(models, "multiplies_bfloat16", lambda device: False)
    whole = compute()
    monkeypatch.setattr(models, "multiplies_bfloat16", lambda device: True)
    return whole, compute()


def test_log_probs_are_rounded(monkeypatch):
    model, samples = wide(), tiny_text.written()
    whole, half = in_half(monkeypatch, lambda: log_probs(model, samples))
    assert whole.dtype == half.dtype == torch.float32
    assert 0 < (whole - half).abs().max() < ROUNDING


def test_scores_are_rounded_but_their_head_is_not(monkeypatch):
    torch.manual_seed(0)
    samples = tiny_text.written()
    net = Score(wide().transformer, samples.pad).eval()
    whole, half = in_half(monkeypatch, lambda: net.scores(samples.ids))
    assert 0 < (whole - half).abs().max() < ROUNDING
    assert len(half.unique()) == len(half)


def test_what_is_likeliest_is_drawn(bfloat16):
    model = wide()
    prompts = tiny_text.prompt_ids()
    drawn = generate(model, tiny_text.tokenizer(), prompts, 8, temperature=0)
    other = generate(model, tiny_text.tokenizer(), prompts, 8, generator=torch.Generator().manual_seed(0))
    assert log_probs(model, drawn).mean() > log_probs(model, other).mean()


def test_narrow_models_are_not_rounded(monkeypatch):
    model, samples = tiny_text.model(width=64), tiny_text.written()
    assert torch.equal(*in_half(monkeypatch, lambda: log_probs(model, samples)))


def test_fine_tuning_learns_as_much_and_keeps_its_weights_in_float32(monkeypatch):
    model, texts = wide(), tiny_text.written(24)
    learned = SFT(epochs=10, batch=8, lr=3e-3)
    whole, half = in_half(monkeypatch, lambda: learned(start := deepcopy(model), texts, texts) | {"model": start})
    assert {parameter.dtype for parameter in half["model"].parameters()} == {torch.float32}
    assert half["sft/validation_loss"] == pytest.approx(whole["sft/validation_loss"], abs=0.1)


def test_the_first_update_begins_where_the_rollout_was_drawn(bfloat16):
    """But for rounding: rollout and update forward batches of other shapes."""
    made = algorithm(LMPPO, wide(), n_sequences=32, batch_size=32, n_epochs=1)
    made.learn_episodes(2 * 32)
    first = logged(made)[1]  # what a rollout taught is told with the next
    assert first["train/approx_kl"] < 1e-4
    assert first["train/clip_fraction"] == 0


@pytest.mark.parametrize(("batch_size", "chunks"), [(32, 1), (8, 1), (32, 4)])
def test_detail_13_the_first_ratio_is_1_in_bfloat16_too_however_a_rollout_is_parted(bfloat16, batch_size, chunks):
    made = algorithm(LMPPO, wide(), n_sequences=32, batch_size=batch_size, chunks=chunks)
    ratios = first_ratios(made, batch_size)
    torch.testing.assert_close(ratios, torch.ones_like(ratios), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("batch_size", "chunks"), [(32, 1), (8, 1), (32, 4)])
def test_an_untrained_policy_is_no_distance_from_its_start_in_bfloat16_either(bfloat16, batch_size, chunks):
    made = algorithm(LMPPO, wide(), n_sequences=32, batch_size=batch_size, chunks=chunks)
    _, own, theirs = made._evaluated(collected(made).samples)
    torch.testing.assert_close(own, theirs, atol=1e-6, rtol=0)

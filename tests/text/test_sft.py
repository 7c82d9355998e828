"""Learning from what people wrote: only continuations count, and the same comes of parts as of the whole."""

import math
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from prefrl.text.generate import log_probs
from prefrl.text.kept import STATE
from prefrl.text.models import with_lora
from prefrl.text.sft import SFT, Pretrain, nats_per_token, packed
from tests.tiny_descent import batch_gradient, same, stopped, weights
from tests.tiny_text import posts, written

TEXTS = [str(post) for post in posts(12)]
FAST = SFT(epochs=2, batch=4, lr=1e-2, save_every=2)


@pytest.fixture
def samples():
    return written(12)


def test_a_model_learns_what_people_wrote(model, samples):
    before = nats_per_token(model, samples)
    assert before == pytest.approx(math.log(len(model.transformer.wte.weight)), abs=0.3)
    found = replace(FAST, epochs=20)(model, samples, samples)
    assert found["sft/updates"] == 60
    assert found["sft/validation_loss"] < 1.2 < before - 4


def test_the_loss_is_the_mean_over_the_tokens_of_continuations(model, samples):
    """Differential: an explicit loop over samples, without padding."""
    model.requires_grad_(False)
    total, tokens = 0.0, 0
    for i in range(len(samples)):
        prompt, response = samples.prompts[i], samples.responses[i]
        ids = torch.cat([prompt[prompt != samples.pad], response[response != samples.pad]])
        scores = model(input_ids=ids[None]).logits[0]
        scores[:, samples.pad] = -torch.inf
        scores = scores.log_softmax(-1)
        for t in range(int((prompt != samples.pad).sum()), len(ids)):
            total, tokens = total - float(scores[t - 1, ids[t]]), tokens + 1
    assert nats_per_token(model, samples, batch=5) == pytest.approx(total / tokens, abs=1e-5)


def test_prompts_are_not_learned(model, samples):
    """A law: what the model says within a prompt has no gradient."""
    seen = {}
    model.transformer.register_forward_hook(lambda _, __, out: seen.update(hidden=out.last_hidden_state))
    samples = samples.trimmed()
    loss = -log_probs(model, samples).sum()
    gradient = torch.autograd.grad(loss, seen["hidden"])[0]
    assert not gradient[:, : samples.prompts.shape[1] - 1].any()
    assert gradient[:, samples.prompts.shape[1] - 1].any()


@pytest.mark.parametrize("chunks", [2, 5])
def test_gradients_are_accumulated_exactly(model, samples, chunks):
    torch.testing.assert_close(batch_gradient(FAST, chunks, model, samples), batch_gradient(FAST, 1, model, samples))


def test_the_same_seed_gives_the_same_model_and_another_does_not(model, samples):
    first, again, other = (deepcopy(model) for _ in range(3))
    FAST(first, samples, seed=1), FAST(again, samples, seed=1), FAST(other, samples, seed=2)
    assert same(weights(first), weights(again))
    assert not same(weights(first), weights(other))


def test_a_stopped_fine_tuning_goes_on_exactly(model, samples, tmp_path):
    never, killed, again = (deepcopy(model) for _ in range(3))
    expected = FAST(never, samples)
    stopped(FAST, 5, killed, samples, tmp_path)
    assert FAST(again, samples, folder=tmp_path) == expected
    assert same(weights(again), weights(never))


def test_adapters_learn_and_the_model_beneath_them_does_not(model, samples):
    frozen = weights(model)
    adapted = with_lora(model, rank=2)
    replace(FAST, epochs=10)(adapted, samples)
    beneath = {
        name.removeprefix("base_model.model.").replace(".base_layer", ""): p for name, p in weights(adapted).items()
    }
    assert same(frozen, {name: beneath[name] for name in frozen})
    assert nats_per_token(adapted, samples) < nats_per_token(deepcopy(adapted).unload(), samples) - 0.1


def test_of_a_model_with_adapters_only_those_are_kept(model, samples, tmp_path):
    FAST(with_lora(model, rank=2), samples, folder=tmp_path)
    names = [name for name in load_file(tmp_path / STATE) if name.startswith("model.")]
    assert names and all("lora" in name for name in names)


def test_nothing_to_learn_from_is_refused(model, samples):
    with pytest.raises(ValueError, match="sft has nothing to learn from"):
        FAST(model, samples[:0])


def test_texts_are_packed_without_padding_and_ended(tokenizer):
    blocks = packed(tokenizer, ["red cat", "blue sea", "green"], 4)
    ids = [
        token
        for text in ("red cat", "blue sea", "green")
        for token in (*tokenizer.encode(text), tokenizer.eos_token_id)
    ]
    assert blocks.flatten().tolist() == ids[: len(blocks) * 4]
    assert tokenizer.pad_token_id not in blocks


def test_plain_text_is_learned(model, tokenizer):
    found = Pretrain(epochs=8, batch=2, lr=1e-2, block=16)(model, tokenizer, TEXTS, TEXTS)
    assert found["pretrain/validation_loss"] < 2.5 < math.log(len(tokenizer))
    assert found["pretrain/loss"] == pytest.approx(found["pretrain/validation_loss"], abs=0.5)


def test_pretraining_in_parts_is_the_same(model, tokenizer):
    pretrain = Pretrain(block=8)
    whole, parts = (batch_gradient(pretrain, chunks, model, tokenizer, TEXTS) for chunks in (1, 2))
    torch.testing.assert_close(parts, whole)


def test_too_little_text_for_one_block_is_refused(model, tokenizer):
    with pytest.raises(ValueError, match="pretrain has nothing to learn from"):
        Pretrain()(model, tokenizer, ["red"])

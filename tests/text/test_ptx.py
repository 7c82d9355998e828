"""Mixing pre-training into updates: the gradient is that of the sum."""

import pytest
import torch

from prefrl.text.generate import log_probs
from prefrl.text.ptx import Mixing, Ptx, language_loss, mixing
from tests import tiny_text

PAD = tiny_text.tokenizer().pad_token_id


def blocks():
    return tiny_text.ragged([9, 9, 9], prompts=(1,)).ids


def gradients(model):
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def test_the_loss_is_the_mean_surprise_at_each_token(model):
    loop = []
    for row in (ids := blocks()):
        logits = model(input_ids=row[None]).logits[0].detach().log_softmax(-1)
        loop += [-float(logits[at - 1, row[at]]) for at in range(1, len(row))]
    assert language_loss(model, ids, PAD).item() == pytest.approx(sum(loop) / len(loop), abs=1e-5)


def test_padding_is_not_learned(model):
    ids = blocks()
    more = torch.full((3, 4), PAD)
    for padded in (torch.cat([more, ids], 1), torch.cat([ids, more], 1)):
        torch.testing.assert_close(language_loss(model, padded, PAD), language_loss(model, ids, PAD))


def test_the_mixed_gradient_is_that_of_the_summed_loss(model):
    samples, ptx = tiny_text.ragged([3, 5]), Ptx(blocks()[:1], coefficient=3.0, batch=2)

    def loss():
        return -log_probs(model, samples).sum()

    (loss() + 3.0 * language_loss(model, blocks()[:1], PAD)).backward()
    summed = gradients(model)
    optimizer = mixing(torch.optim.Adam)(model.parameters())
    assert isinstance(optimizer, Mixing) and isinstance(optimizer, torch.optim.Adam)
    optimizer.mix = lambda: ptx.backward(model, PAD)
    optimizer.zero_grad()
    loss().backward()
    torch.testing.assert_close(gradients(model), summed, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("shape", [(4,), (0, 8), (2, 1)])
def test_blocks_that_hold_nothing_to_learn_are_refused(shape):
    with pytest.raises(ValueError, match="blocks must be"):
        Ptx(torch.zeros(shape, dtype=torch.int64), 1.0)


@pytest.mark.parametrize("bad", [{"coefficient": 0.0}, {"coefficient": 1.0, "batch": 0}])
def test_what_would_mix_nothing_in_is_refused(bad):
    with pytest.raises(ValueError, match=r"ptx's \w+ must be positive"):
        Ptx(blocks(), **bad)

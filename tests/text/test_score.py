"""What a reward net of text reads: the last real token, whatever stands around it."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from prefrl.reward.ensemble import Ensemble
from prefrl.text.models import with_lora
from prefrl.text.score import Score, score_net
from tests import tiny_text


def members(model, count=2, seed=0):
    torch.manual_seed(seed)
    return Ensemble((), (), score_net(model, tiny_text.tokenizer().pad_token_id), count, std=None)


@pytest.fixture
def net(model):
    torch.manual_seed(0)
    return Score(model.transformer, tiny_text.tokenizer().pad_token_id).eval()


def padded(net, rows, width, left):
    ids = torch.full((len(rows), width), net.pad)
    for out, row in zip(ids, rows):
        out[width - len(row) :] = row if left else out[width - len(row) :]
        if not left:
            out[: len(row)] = row
    return ids


@pytest.mark.parametrize("width", [9, 30])
def test_detail_4_the_score_is_the_same_under_left_and_right_padding(net, width):
    rows = [torch.from_numpy(np.random.default_rng(i).integers(2, 300, n)) for i, n in enumerate((9, 4, 1))]
    left, right = (net(padded(net, rows, width, side), torch.ones(3, width)).sum(1) for side in (True, False))
    assert torch.allclose(left, right, atol=1e-4)
    alone = torch.cat([net.head(net.backbone(input_ids=row[None]).last_hidden_state[0, -1]) for row in rows])
    assert torch.allclose(left, alone, atol=1e-4)


def test_detail_5_the_score_is_read_at_the_last_real_token(net):
    samples = tiny_text.written()
    obs, acts = samples.ids, samples.mask
    rewards = net(obs, acts)
    last = samples.prompts.shape[1] + samples.lengths - 1
    rows = torch.arange(len(obs))
    assert (rewards[rows, last] != 0).all()
    assert rewards.count_nonzero() == len(obs)
    assert torch.equal(net.paid(obs, acts).int().argmax(1), last)


def test_a_later_token_changes_the_score_and_padding_does_not(net):
    ids = tiny_text.written().ids
    more = torch.cat([ids, torch.full((len(ids), 3), net.pad)], 1)
    assert torch.equal(net.scores(more), net.scores(ids))
    other = ids.clone()
    other[:, 40] = 5
    assert (net.scores(other) != net.scores(ids)).any()


def test_the_head_begins_as_published(model):
    """Standard normal over the square root of width + 1: of 20,000 weights, off by 5 % once in 10**23 runs."""
    pad = tiny_text.tokenizer().pad_token_id
    torch.manual_seed(0)
    weights = torch.cat([Score(model.transformer, pad).head.weight.detach() for _ in range(625)])
    assert weights.std().item() == pytest.approx(1 / math.sqrt(33), rel=0.05)
    assert not Score(model.transformer, pad).head.bias.any()


def test_detail_8_no_dropout_is_left_in_a_net_that_is_trained(model):
    model.transformer.drop.p = 0.5
    model.transformer.h[0].attn.attn_dropout.p = 0.5
    net = Score(model.transformer, tiny_text.tokenizer().pad_token_id).train()
    ids = tiny_text.written().ids
    assert torch.equal(net.scores(ids), net.scores(ids))
    assert not any(module.p for module in net.modules() if isinstance(module, nn.Dropout))


def test_members_differ_in_their_heads_alone_and_leave_the_model_as_it_is(model):
    before = copy.deepcopy(model.state_dict())
    ensemble = members(model)
    first, second = ensemble.members
    assert all(torch.equal(a, b) for a, b in zip(first.backbone.parameters(), second.backbone.parameters()))
    assert not torch.equal(first.head.weight, second.head.weight)
    for parameter in ensemble.parameters():
        nn.init.zeros_(parameter)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())


def test_adapters_are_merged_into_a_net_that_learns_whole(model):
    adapted = with_lora(model)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
    ids = tiny_text.written().ids
    net = members(adapted, 1).members[0].eval()
    theirs = adapted(input_ids=ids[:, :48], attention_mask=(ids[:, :48] != net.pad).long(), output_hidden_states=True)
    ours = net.backbone(input_ids=ids[:, :48], attention_mask=(ids[:, :48] != net.pad).long())
    torch.testing.assert_close(ours.last_hidden_state[:, -1], theirs.hidden_states[-1][:, -1], atol=1e-4, rtol=1e-4)
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_tokens_reach_the_nets_as_they_are_and_only_scores_are_centred(model):
    ensemble = members(model)
    segments = tiny_text.written(12).segments()
    obs = np.stack([s.obs for s in segments])
    ensemble.adapt(obs)
    seen, _ = ensemble.encode(obs, np.stack([s.acts for s in segments]))
    assert torch.equal(seen, torch.from_numpy(obs))
    paid = ensemble.normalise(segments)
    assert np.count_nonzero(paid, axis=2).max() == 1
    np.testing.assert_allclose(paid.sum(2).mean(1), np.zeros(2), atol=1e-5)
    np.testing.assert_allclose(paid.sum(2).std(1), ensemble.returns(segments).std(1), rtol=1e-4)  # still log-odds


def test_floats_are_standardised_for_nets_that_prepare_whole_numbers():
    class Net(nn.Module):
        def __init__(self, *shapes):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def prepare(self, obs):
            return obs * 2

        def forward(self, obs, acts):
            return self.scale * obs.float()

    ensemble = Ensemble((), (), Net, 1)
    obs = np.array([[1.0, 3.0]], np.float32)
    ensemble.adapt(obs)
    assert ensemble.encode(obs, obs)[0].tolist() == [[-1.0, 1.0]]
    assert ensemble.encode(obs.astype(np.int64), obs)[0].tolist() == [[2, 6]]
    assert ensemble.encode(obs.astype(np.uint8), obs)[0].tolist() == [[2, 6]]

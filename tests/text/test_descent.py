"""Gradient descent that goes on where it was stopped, and the same in parts as at once."""

from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from prefrl.text.descent import Descent, Work, settled, split
from prefrl.text.kept import STATE, digest

FAST = Descent(epochs=4, batch=4, lr=0.1, save_every=3)


def line(seed=0):
    """A linear model, and the work of learning a line from 10 points."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Linear(2, 1)
        x = torch.randn(10, 2)
    y = x @ torch.tensor([1.0, -2.0]) + 0.5

    def parts(rows, chunks=1):
        for some in split(rows, chunks):
            yield ((model(x[some]).squeeze(1) - y[some]) ** 2).sum() / len(rows)

    return model, Work("line", 10, parts, digest(x, y))


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_the_loss_falls():
    model, work = line()
    losses = replace(FAST, epochs=30).descend(model, work, seed=0, folder=None, progress=False)
    assert len(losses) == 90
    assert settled(losses) < 0.01 < losses[0]


def test_a_stopped_training_comes_to_what_one_that_never_stopped_does(tmp_path):
    never, work = line()
    expected = FAST.descend(never, work, seed=3, folder=None, progress=False)
    stopped, work = line()
    with pytest.raises(KeyboardInterrupt):
        FAST.descend(stopped, stopping(work, after=7), seed=3, folder=tmp_path, progress=False)
    again, work = line()  # a new process has the model it began with
    losses = FAST.descend(again, work, seed=3, folder=tmp_path, progress=False)
    assert losses.tolist() == expected.tolist()
    assert torch.equal(weights(again), weights(never))


def stopping(work, after):
    left = iter(range(after))

    def parts(rows):
        if next(left, None) is None:
            raise KeyboardInterrupt
        yield from work.parts(rows)

    return replace(work, parts=parts)


def test_a_finished_training_is_not_repeated(tmp_path):
    model, work = line()
    losses = FAST.descend(model, work, seed=0, folder=tmp_path, progress=False)
    again, work = line()
    found = FAST.descend(again, stopping(work, after=0), seed=0, folder=tmp_path, progress=False)
    assert found.tolist() == losses.tolist()
    assert torch.equal(weights(again), weights(model))


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"lr": 0.2}, "other lr:"), ({"batch": 5, "epochs": 2}, "other batch, epochs:")],
)
def test_a_state_of_other_settings_is_refused(tmp_path, changed, said):
    model, work = line()
    FAST.descend(model, work, seed=0, folder=tmp_path, progress=False)
    with pytest.raises(ValueError, match=said):
        replace(FAST, **changed).descend(line()[0], work, seed=0, folder=tmp_path, progress=False)


def test_a_state_of_other_data_or_another_seed_is_refused(tmp_path):
    model, work = line()
    FAST.descend(model, work, seed=0, folder=tmp_path, progress=False)
    with pytest.raises(ValueError, match="other data"):
        FAST.descend(model, replace(work, data="another"), seed=0, folder=tmp_path, progress=False)
    with pytest.raises(ValueError, match="other seed"):
        FAST.descend(line()[0], work, seed=1, folder=tmp_path, progress=False)


def test_a_state_of_another_start_is_refused(tmp_path):
    """Of two models of one shape, each has a training of its own."""
    model, work = line()
    FAST.descend(model, work, seed=0, folder=tmp_path, progress=False)
    with pytest.raises(ValueError, match="other start: give another folder"):
        FAST.descend(line(seed=1)[0], work, seed=0, folder=tmp_path, progress=False)


def test_a_digest_tells_tensors_apart_of_any_kind():
    held = [torch.zeros(2), torch.zeros(2, dtype=torch.bfloat16), torch.zeros(1, 2), torch.ones(2), torch.tensor(0.0)]
    assert len({digest(each) for each in held}) == 5
    assert digest(torch.arange(6).view(2, 3).T) == digest(torch.arange(6).view(2, 3).T.contiguous())


def test_a_state_of_another_model_is_refused(tmp_path):
    model, work = line()
    FAST.descend(model, work, seed=0, folder=tmp_path, progress=False)
    with pytest.raises(ValueError, match="another model"):
        FAST.descend(nn.Linear(3, 1), work, seed=0, folder=tmp_path, progress=False)


def test_a_broken_state_is_named(tmp_path):
    (tmp_path / STATE).write_bytes(b"nothing")
    model, work = line()
    with pytest.raises(ValueError, match="cannot be read"):
        FAST.descend(model, work, seed=0, folder=tmp_path, progress=False)


def test_a_loss_that_is_no_number_stops_before_it_spoils_the_model():
    model, work = line()
    before = weights(model)
    broken = replace(work, parts=lambda rows: (part * np.nan for part in work.parts(rows)))
    with pytest.raises(RuntimeError, match=r"the loss is nan, .*: lower lr"):
        FAST.descend(model, broken, seed=0, folder=None, progress=False)
    assert torch.equal(weights(model), before)


def test_a_gradient_that_is_no_number_does_so_too():
    """The loss alone may look well: the root of 0 is one."""
    model, work = line()
    before = weights(model)
    steep = replace(work, parts=lambda rows: (part + (0 * part).sqrt() for part in work.parts(rows)))
    with pytest.raises(RuntimeError, match="its gradient's norm nan: lower lr"):
        FAST.descend(model, steep, seed=0, folder=None, progress=False)
    assert torch.equal(weights(model), before)


def test_frozen_weights_stay():
    model, work = line()
    model.bias.requires_grad_(False)
    before = weights(model)
    FAST.descend(model, work, seed=0, folder=None, progress=False)
    assert weights(model)[-1] == before[-1]
    assert not torch.equal(weights(model)[:-1], before[:-1])


def test_an_update_is_adams_of_clipped_gradients_at_its_own_rate_and_only_matrices_shrink():
    """Of three batches, all alike: against torch's own AdamW."""
    one = Descent(epochs=3, batch=10, lr=0.1, warmup=0.0, decay="constant", weight_decay=0.5, max_grad_norm=0.01)
    (ours, work), (theirs, same) = line(), line()
    one.descend(ours, work, seed=0, folder=None, progress=False)
    groups = [{"params": [theirs.weight], "weight_decay": 0.5}, {"params": [theirs.bias], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.1, eps=1e-8)
    for _ in range(3):
        optimizer.zero_grad()
        sum(same.parts(np.arange(10))).backward()
        nn.utils.clip_grad_norm_(theirs.parameters(), 0.01)
        optimizer.step()
    torch.testing.assert_close(weights(ours), weights(theirs))


def test_the_rate_of_every_update_is_the_one_that_it_is_said_to_be():
    model, work = line()
    falling, seen = Descent(epochs=2, batch=5, lr=0.1), []
    step = torch.optim.AdamW.step
    with patch.object(torch.optim.AdamW, "step", lambda self: seen.append(self.param_groups[0]["lr"]) or step(self)):
        falling.descend(model, work, seed=0, folder=None, progress=False)
    assert seen == [falling.rate(update, 4) for update in range(4)]


@pytest.mark.parametrize("decay", ["cosine", "linear"])
def test_the_rate_rises_and_falls(decay):
    descent = Descent(lr=1.0, warmup=0.1, decay=decay)
    rates = [descent.rate(update, 100) for update in range(100)]
    assert np.argmax(rates) == 10 and rates[10] == 1.0
    assert (np.diff(rates[:11]) > 0).all() and (np.diff(rates[10:]) < 0).all()
    assert 0 < rates[0] < 0.1 and 0 < rates[-1] < 0.02


def test_a_constant_rate_stays():
    descent = Descent(lr=0.5, warmup=0.0, decay="constant")
    assert {descent.rate(update, 9) for update in range(9)} == {0.5}


@pytest.mark.parametrize("wrong", [{"lr": 0.0}, {"batch": 0}, {"warmup": 1.0}, {"decay": "sine"}, {"epochs": -1}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Descent(**wrong)


@given(st.integers(1, 40), st.integers(1, 9))
def test_parts_of_a_batch_are_the_batch(rows, chunks):
    parts = split(np.arange(rows), chunks)
    assert np.concatenate(parts).tolist() == list(range(rows))
    assert all(len(part) for part in parts) and len(parts) == min(rows, chunks)

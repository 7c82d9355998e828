"""What straying from the reference costs, token by token, against loops over real tokens."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prefrl.text.kl import KL, per_sequence, token_rewards, without_end
from tests import tiny_text

lengths = st.lists(st.integers(1, 6), min_size=1, max_size=5)


def numbers(mask, seed):
    return torch.randn(mask.shape, generator=torch.Generator().manual_seed(seed)) * mask


@given(lengths, st.floats(0, 1))
def test_a_token_is_paid_its_own_kl_and_the_last_one_the_score(lengths, beta):
    mask = tiny_text.ragged(lengths).mask
    own, theirs, scores = numbers(mask, 0), numbers(mask, 1), torch.arange(float(len(lengths)))
    rewards = token_rewards(scores, own, theirs, mask, beta)
    for row, length in enumerate(lengths):
        for token in range(mask.shape[1]):
            expected = -beta * float(own[row, token] - theirs[row, token]) if token < length else 0.0
            expected += float(scores[row]) if token == length - 1 else 0.0
            assert float(rewards[row, token]) == pytest.approx(expected, abs=1e-6)


@given(lengths)
def test_detail_14_the_kl_is_summed_over_each_sequence_and_padding_has_no_part(lengths):
    mask = tiny_text.ragged(lengths).mask
    own, theirs = numbers(mask, 0) + 7 * ~mask, numbers(mask, 1)  # rubbish at padding
    for row, length in enumerate(lengths):
        loop = sum(float(own[row, token] - theirs[row, token]) for token in range(length))
        assert float(per_sequence(own, theirs, mask)[row]) == pytest.approx(loop, abs=1e-5)


def test_detail_11_what_did_not_end_scores_the_penalty_and_no_more():
    scores, ended = torch.tensor([2.0, 2.0, -3.0]), torch.tensor([True, False, False])
    assert without_end(scores, ended, -1.0).tolist() == [2, -1, -3]
    assert without_end(scores, ended, None).tolist() == [2, 2, -3]


@pytest.mark.parametrize(("kl", "error"), [(6.6, 0.1), (5.4, -0.1), (60, 0.2), (0, -0.2)])
def test_beta_follows_the_published_rule(kl, error):
    assert KL(target=6).adapted(0.1, kl, 64) == pytest.approx(0.1 * (1 + error * 64 / 10_000))


def test_without_a_target_beta_stays():
    assert KL(0.3).adapted(0.3, 50, 64) == 0.3


@given(st.floats(1.5, 20))
def test_an_adaptive_beta_settles_at_its_target(target):
    """Of a policy whose KL is 1 / beta."""
    kl, beta = KL(target=target, horizon=1_000), 1.0
    for _ in range(500):
        beta = kl.adapted(beta, 1 / beta, 64)
    assert 1 / beta == pytest.approx(target, rel=0.02)


@pytest.mark.parametrize("kl", [201.0, math.nan, math.inf])
def test_a_kl_that_explodes_stops_with_advice(kl):
    with pytest.raises(RuntimeError, match=r"Lower learning_rate or n_epochs, set target_kl, or raise kl's beta"):
        KL().check(kl, 0.05)


def test_a_kl_that_does_not_is_let_be():
    KL().check(-0.1, 0.05)
    KL(stop_at=math.inf).check(1e4, 0.05)


@pytest.mark.parametrize("bad", [{"beta": -0.1}, {"target": 0}, {"horizon": 0}, {"stop_at": -1}])
def test_numbers_that_make_no_sense_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        KL(**bad)

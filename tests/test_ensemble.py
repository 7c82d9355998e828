"""What the nets see, how their rewards are normalised, and what the policy is paid."""

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from torch import nn

from prefrl.reward.ensemble import CLIP, Ensemble, stack
from prefrl.reward.networks import MLP
from prefrl.types import Segment

STEPS = 5
Tiny = partial(MLP, width=8)


def make(seed=0, **options):
    torch.manual_seed(seed)
    return Ensemble(**{"obs_shape": (3,), "act_shape": (2,), "net": Tiny, **options})


def segments(count=40, steps=STEPS, seed=0):
    rng = np.random.default_rng(seed)
    obs = rng.normal(2, 3, size=(count, steps, 3)).astype(np.float32)
    return [Segment(o, rng.normal(size=(steps, 2)).astype(np.float32)) for o in obs]


@pytest.fixture
def ensemble():
    """Published and normalised."""
    ensemble = make()
    ensemble.normalise(segments())
    ensemble.version = 1
    return ensemble


class First(nn.Module):
    """A net of the user's: the reward is the first number observed."""

    def __init__(self, obs_shape, act_shape):
        super().__init__()
        self.shapes = obs_shape, act_shape
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, obs, acts):
        return self.scale * obs.flatten(2)[:, :, 0]


def test_the_segments_it_was_normalised_on_are_paid_nothing_on_average(ensemble):
    assert ensemble.pay(*stack(segments())).mean() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("std", [1.0, 0.05])
def test_every_member_is_normalised_to_the_same_spread(std):
    normalised = make(std=std).normalise(segments())
    assert normalised.std((1, 2)) == pytest.approx(np.full(3, std), rel=1e-4)


def test_what_is_paid_is_the_mean_over_the_normalised_members(ensemble):
    normalised = ensemble.normalise(segments())
    np.testing.assert_allclose(ensemble.pay(*stack(segments())), normalised.mean(0), atol=1e-6)


def test_other_segments_are_paid_by_the_same_mean_and_spread():
    ensemble = make(members=1, net=First)
    ensemble.version = 1
    ensemble.normalise(segments())
    (old, _), (new, acts) = stack(segments()), stack(segments(seed=1))
    before, after = old[:, :, 0].clip(-CLIP, CLIP), new[:, :, 0].clip(-CLIP, CLIP)
    expected = (after - before.mean()) / before.std()
    np.testing.assert_allclose(ensemble.pay(new, acts), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("scale", "shift"), [(3.0, 0.0), (1.0, -50.0), (0.01, 7.0)])
def test_the_scale_and_shift_of_one_members_rewards_do_not_matter(ensemble, scale, shift):
    before = ensemble.pay(*stack(segments()))
    last = ensemble.members[1].layers[-1]
    with torch.no_grad():
        last.weight *= scale
        last.bias.mul_(scale).add_(shift)
    ensemble.normalise(segments())
    np.testing.assert_allclose(ensemble.pay(*stack(segments())), before, atol=2e-3)


def test_a_constant_reward_is_paid_as_zero(ensemble):
    for member in ensemble.members:
        nn.init.zeros_(member.layers[-1].weight)
    ensemble.normalise(segments())
    assert np.abs(ensemble.pay(*stack(segments()))).max() < 0.1  # but for rounding


def test_version_0_pays_nothing():
    paid = make().pay(*stack(segments(count=4)))
    assert paid.shape == (4, STEPS) and not paid.any()


def test_its_bytes_hold_everything_that_is_paid(ensemble):
    ensemble.adapt(stack(segments(seed=1))[0])
    other = make(seed=1)
    other.from_bytes(ensemble.to_bytes(), version=4)
    assert np.array_equal(other.pay(*stack(segments())), ensemble.pay(*stack(segments())))


def test_bytes_come_with_the_version_that_was_published(ensemble):
    other = make()
    other.from_bytes(ensemble.to_bytes(), version=4)
    assert other.version == 4


class Hostile:
    def __reduce__(self):
        return pytest.fail, ("code of a stranger ran",)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_hostile_bytes_run_no_code(ensemble, protocol):
    with pytest.raises(SafetensorError):
        ensemble.from_bytes(pickle.dumps(Hostile(), protocol), version=2)


def test_members_begin_differently():
    first, second, third = make().rewards(*stack(segments()))
    assert not np.allclose(first, second) and not np.allclose(second, third) and not np.allclose(first, third)


def test_a_return_is_the_sum_of_rewards(ensemble):
    rewards = ensemble.rewards(*stack(segments()))
    np.testing.assert_allclose(ensemble.returns(segments()), rewards.sum(2), rtol=1e-5)


def test_segments_of_different_lengths_are_refused(ensemble):
    with pytest.raises(ValueError, match="segments of 4 and 5 steps cannot be compared: give every query one length"):
        ensemble.returns(segments(2) + segments(1, steps=4))


def test_an_ensemble_of_nobody_is_refused():
    with pytest.raises(ValueError, match="at least one member, got 0"):
        make(members=0)


def test_observations_are_standardised_by_what_they_were_adapted_to(ensemble):
    obs, acts = stack(segments())
    ensemble.adapt(obs)
    seen, _ = ensemble.encode(obs, acts)
    np.testing.assert_allclose(seen.mean((0, 1)), np.zeros(3), atol=1e-5)
    np.testing.assert_allclose(seen.std((0, 1), correction=0), np.ones(3), rtol=1e-4)


def test_an_observation_that_never_changes_stays_finite(ensemble):
    obs, acts = stack(segments())
    obs[..., 1] = 7
    ensemble.adapt(obs)
    assert ensemble.encode(obs, acts)[0].isfinite().all()


def pixels(seed=0):
    rng = np.random.default_rng(seed)
    obs = rng.integers(256, size=(6, STEPS, 8, 8, 4), dtype=np.uint8)
    return obs, rng.integers(3, size=(6, STEPS))


def test_pixels_are_divided_by_255():
    obs, acts = pixels()
    seen, _ = make(obs_shape=(8, 8, 4), act_shape=(), choices=3).encode(obs, acts)
    np.testing.assert_allclose(seen, obs / 255, rtol=1e-6)


def test_pixels_are_never_standardised():
    ensemble = make(obs_shape=(8, 8, 4), act_shape=(), choices=3)
    before = ensemble.rewards(*pixels())
    ensemble.adapt(pixels(seed=1)[0])
    assert np.array_equal(ensemble.rewards(*pixels()), before)


def test_a_net_of_pixels_gives_every_step_a_reward():
    ensemble = make(obs_shape=(8, 8, 4), act_shape=(), choices=3)
    assert ensemble.rewards(*pixels()).shape == (3, 6, STEPS)


def test_discrete_actions_are_one_hot():
    ensemble = make(act_shape=(), choices=3)
    _, seen = ensemble.encode(np.zeros((1, 2, 3), np.float32), np.array([[2, 0]]))
    assert seen.tolist() == [[[0, 0, 1], [1, 0, 0]]]


def test_a_net_is_told_the_shapes_that_it_will_see():
    shapes = [make(net=First, **acts).members[0].shapes for acts in ({}, {"act_shape": (), "choices": 4})]
    assert shapes == [((3,), (2,)), ((3,), (4,))]


def test_a_net_of_ones_own_is_paid_by():
    ensemble = make(net=First)
    obs, acts = stack(segments())
    np.testing.assert_allclose(
        ensemble.rewards(obs, acts), np.broadcast_to(obs[:, :, 0].clip(-CLIP, CLIP), (3, 40, STEPS))
    )


def test_dropout_is_off_when_the_policy_is_paid(ensemble):
    for member in ensemble.members:
        member.layers.insert(1, nn.Dropout(0.5))
    ensemble.train()
    obs, acts = stack(segments())
    assert np.array_equal(ensemble.pay(obs, acts), ensemble.pay(obs, acts))

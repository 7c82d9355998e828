"""The networks that look at frames: the arithmetic of plain layers, in less time."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from stable_baselines3.common.torch_layers import NatureCNN
from torch import nn

from prefrl.control import extractor
from prefrl.parts import find_net
from prefrl.reward import networks
from prefrl.reward.ensemble import Ensemble
from prefrl.reward.fit import Frames, bootstrap
from prefrl.reward.networks import CNN, Half
from prefrl.types import Comparison, Segment

STEPS = 3
BOUNDS = {False: 1e-5, True: 0.05}
"""Of the difference to float32, in standard deviations of it, without and with bfloat16, which rounds to 1 in 256."""


@pytest.fixture(params=BOUNDS, ids=["float32", "bfloat16"])
def bound(request, monkeypatch):
    """The bound of a kind of arithmetic, whatever the hardware has instructions for."""
    for module in (networks, extractor):
        monkeypatch.setattr(module, "multiplies_bfloat16", lambda device: request.param)
    return BOUNDS[request.param]


@pytest.fixture
def exact(monkeypatch):
    for module in (networks, extractor):
        monkeypatch.setattr(module, "multiplies_bfloat16", lambda device: False)


def frames(*shape, seed=0):
    return np.random.default_rng(seed).integers(256, size=shape, dtype=np.uint8)


def make(obs_shape=(4, 43, 43), members=1, **options):
    torch.manual_seed(0)
    return Ensemble(obs_shape, (), net=CNN, members=members, choices=3, **options)


def taught(**options):
    """Batch norms with moments that are not those they begin with."""
    ensemble = make(**options)
    ensemble.train()
    for member in ensemble.members:
        for seed in range(3):
            member(*ensemble.encode(frames(8, STEPS, *options.get("obs_shape", (4, 43, 43)), seed=seed), acts(8)))
    return ensemble


def acts(count):
    return np.zeros((count, STEPS), int)


def plain(net):
    """The paper's net (A.2) written out in PyTorch's layers, for floats from 0 to 1, with the weights of `net`."""
    layers = []
    for (ins, outs), kernel, stride in zip(pairwise([4, 16, 16, 16, 16]), (7, 5, 3, 3), (3, 2, 1, 1), strict=True):
        layers += [nn.Conv2d(ins, outs, kernel, stride), nn.BatchNorm2d(outs), nn.LeakyReLU(0.01), nn.Dropout(0.5)]
    layers += [nn.Flatten(), nn.LazyLinear(64), nn.LeakyReLU(0.01), nn.Linear(64, 1)]
    reference = nn.Sequential(*layers).eval()
    reference(torch.zeros(1, 4, 43, 43))
    for i, (convolution, after) in enumerate(zip(net.convolutions, net.after, strict=True)):
        layers[4 * i].load_state_dict(convolution.state_dict())
        layers[4 * i + 1].load_state_dict(after[0].state_dict())
    layers[17].load_state_dict(net.head[0].state_dict())
    layers[19].load_state_dict(net.head[2].state_dict())
    return reference


# the reward net


def test_rewards_are_those_of_plain_layers(bound):
    ensemble, obs = taught(), frames(6, STEPS, 4, 43, 43)
    with torch.no_grad():
        expected = plain(ensemble.members[0])(torch.from_numpy(obs).flatten(0, 1) / 255).view(6, STEPS).numpy()
    found = ensemble.rewards(obs, acts(6))[0]
    assert np.abs(found - expected).max() < bound * expected.std()


def test_rewards_lie_on_no_coarse_grid(bound):
    """The last layers are in float32: in bfloat16 neighbours would be 1 part in 256 apart."""
    rewards = taught().rewards(frames(20, STEPS, 4, 43, 43), acts(20))
    assert rewards.dtype == np.float32
    assert len(np.unique(rewards)) == rewards.size


@pytest.mark.parametrize("shape", [(4, 84, 84), (1, 43, 60), (84, 84, 4), (60, 43, 3)])
def test_every_step_gets_one_reward(shape):
    ensemble = make(shape, members=2)
    assert ensemble.rewards(frames(2, STEPS, *shape), acts(2)).shape == (2, 2, STEPS)


def test_it_does_not_matter_where_the_channels_are(exact):
    first, last, obs = make((4, 43, 50)), make((43, 50, 4)), frames(2, STEPS, 4, 43, 50)
    assert np.array_equal(first.rewards(obs, acts(2)), last.rewards(np.moveaxis(obs, 2, 4), acts(2)))


def test_actions_are_not_looked_at():
    obs, ensemble = frames(2, STEPS, 4, 43, 43), make()
    assert np.array_equal(ensemble.rewards(obs, acts(2)), ensemble.rewards(obs, acts(2) + 2))


def test_how_many_steps_are_predicted_at_once_changes_nothing(exact):
    """Moments of batch norm are fixed when rewards are predicted."""
    ensemble, obs = taught(), frames(50, STEPS, 4, 43, 43)
    one_by_one = [ensemble.rewards(each[None], acts(1))[0, 0] for each in obs]
    np.testing.assert_allclose(ensemble.rewards(obs, acts(50))[0], one_by_one, rtol=1e-4, atol=1e-6)


def test_a_net_for_frames_comes_back_from_its_bytes():
    ensemble, other, obs = taught(), make(), frames(2, STEPS, 4, 43, 43)
    other.from_bytes(ensemble.to_bytes(), version=3)
    assert np.array_equal(other.rewards(obs, acts(2)), ensemble.rewards(obs, acts(2)))


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((4, 42, 84), "frames of 42x84 are too small for cnn: give 43x43 or more"),
        ((84, 42, 4), "frames of 84x42 are too small for cnn: give 43x43 or more"),
        ((17,), r"cnn looks at frames \(n, H, W\), not at observations of shape \(17,\)"),
    ],
)
def test_what_the_convolutions_leave_nothing_of_is_refused(shape, words):
    with pytest.raises(ValueError, match=words):
        CNN(shape, (3,))


def test_both_clips_of_all_comparisons_of_an_update_are_seen_at_once():
    """Batch norm's moments are those of both: a net that saw one side at a time could tell left from right by them."""
    asked = [Comparison(*(Segment(frames(STEPS, 2, 43, 43), acts(1)[0]) for _ in "lr"), 1.0, i) for i in range(8)]
    ensemble, fit, seen = make((2, 43, 43)), Frames(batch=4), []
    ensemble.members[0].register_forward_pre_hook(lambda net, inputs: seen.append((net.training, len(inputs[0]))))
    fit(ensemble, fit.optimizer(ensemble), asked, 1, np.random.default_rng(0))
    drawn = int((bootstrap(range(8), 1, 0) > 0).sum())
    assert [count for training, count in seen if training] == [8] * (drawn // 4) + [2 * (drawn % 4)] * (drawn % 4 > 0)
    assert sum(count for training, count in seen if not training) == 16


# dropout

CNNS = ("cnn", "cnn_dropout")


@pytest.fixture
def half():
    torch.manual_seed(0)
    return Half()


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_half_of_everything_is_dropped_and_the_rest_doubled(half, memory):
    """A false alarm in 10^6 seeds: 5 standard deviations of 64,000 decisions."""
    x = (torch.rand(10, 16, 20, 20) + 1).contiguous(memory_format=memory)
    kept = half(x) / x
    assert set(kept.unique().tolist()) == {0.0, 2.0}
    assert kept.mean().item() == pytest.approx(1, abs=0.02)
    assert half(x).stride() == x.stride()


def test_decisions_are_independent(half):
    """A false alarm in 10^4 seeds: 5 standard deviations of a correlation over 100 tries, of 80 neighbours and more."""
    kept = torch.stack([half(torch.ones(3, 3, 3, 3)).flatten() for _ in range(100)]).numpy()
    correlations = np.corrcoef(kept.T)[np.triu_indices(81, 1)]
    assert abs(correlations).max() < 0.5
    assert abs(correlations.mean()) < 0.02


@pytest.mark.parametrize("size", [1, 63, 64, 65, 1_000])
def test_as_many_decisions_are_made_as_there_are_numbers(half, size):
    assert half(torch.ones(size)).shape == (size,)
    assert set(torch.cat([half(torch.ones(size)) for _ in range(40)]).tolist()) == {0.0, 2.0}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kind_of_number_stays(half, dtype):
    assert half(torch.ones(5, dtype=dtype)).dtype == dtype


def test_the_gradient_is_that_of_what_was_kept(half):
    x = torch.ones(4, 16, 5, 5).contiguous(memory_format=torch.channels_last).requires_grad_()
    kept = half(x)
    kept.sum().backward()
    assert torch.equal(x.grad, kept.detach())


def test_only_the_net_that_is_named_after_it_drops_anything():
    drops = {name: sum(isinstance(part, Half) for part in find_net(name)((4, 84, 84), (6,)).modules()) for name in CNNS}
    assert drops == {"cnn": 0, "cnn_dropout": 4}


def test_nothing_is_dropped_when_the_policy_is_paid(half):
    x = torch.rand(5, 7)
    assert half.eval()(x) is x


def test_the_seed_decides_what_is_dropped(half):
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(half(torch.ones(1_000)))
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[1], drawn[2])


# the policy's


def policies():
    """Our network and SB3's, alike."""
    torch.manual_seed(0)
    ours = extractor.FramesExtractor(Box(0, 255, (4, 43, 43), np.uint8), 32)
    theirs = NatureCNN(Box(0, 255, (4, 43, 43), np.uint8), 32)
    theirs.load_state_dict(ours.nature.state_dict())
    return ours, theirs


def test_features_are_those_of_sb3(bound):
    ours, theirs = policies()
    obs = torch.from_numpy(frames(20, 4, 43, 43))
    with torch.no_grad():
        found, expected = ours(obs), theirs(obs.float() / 255)
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < bound * expected.std()


def test_gradients_are_those_of_sb3(exact):
    ours, theirs = policies()
    obs = torch.from_numpy(frames(20, 4, 43, 43))
    ours(obs).square().sum().backward()
    theirs(obs.float() / 255).square().sum().backward()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-5)

"""The batteries: all that is built in passes, and each fault is found and named."""

import random
import threading
from itertools import count

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn

from prefrl.oracles import Equal, Mistaken, Myopic, Skipping, Stochastic, Synthetic
from prefrl.queries import Coverage, Disagreement, InformationGain, PolicyAligned, Uniform
from prefrl.reward.networks import MLP
from prefrl.schedules import Constant, Hyperbolic, Upfront
from prefrl.testing import (
    check_env,
    check_judge,
    check_net,
    check_oracle,
    check_reward_function,
    check_schedule,
    check_select,
)
from prefrl.types import Segment
from prefrl_envs import FixedHorizon


def likes_height(left, right):
    return float(left.obs.mean() > right.obs.mean())


def shy(left, right):
    difference = left.truth.sum() - right.truth.sum()
    return None if abs(difference) < 1 else np.float32(difference > 0)


def fast(left, right):
    return 1 / (1 + np.exp(right.obs[:, 8].mean() - left.obs[:, 8].mean()))


@pytest.mark.parametrize(
    "oracle",
    [
        *(make() for make in (Synthetic, Stochastic, Mistaken, Skipping, Equal, Myopic)),
        Skipping(Equal(Mistaken(Myopic(Stochastic(beta=5.0)), seed=3), chance=0.5), chance=0.5),
        Mistaken(likes_height, chance=0.5),
        likes_height,
        shy,
        lambda left, right: None,
    ],
)
def test_oracles_keep_their_contract(oracle):
    check_oracle(oracle)


def test_an_oracle_can_be_checked_on_segments_of_its_own_env():
    rng = np.random.default_rng(0)
    check_oracle(fast, [Segment(rng.normal(size=(3, 17)), rng.normal(size=(3, 6))) for _ in range(4)])
    with pytest.raises(IndexError):
        check_oracle(fast)


def test_checking_an_oracle_leaves_no_history_in_it():
    oracle, pair = Stochastic(), [Segment(np.zeros((1, 1)), np.zeros(1), np.array([t])) for t in (0.0, 1.0)]
    check_oracle(oracle)
    assert oracle(*pair) == Stochastic()(*pair)
    assert not Skipping(oracle)._recent


def clamps(left, right):
    left.obs[:] = 0
    return 0.5


class Alternating:
    def __init__(self):
        self.turn = count()

    def __call__(self, left, right):
        return 0.5 if next(self.turn) % 20 < 8 else float(left.obs.mean() > right.obs.mean())


@pytest.mark.parametrize(
    ("oracle", "fault"),
    [
        (lambda left, right: 2.0, "answers 2.0: give the chance"),
        (lambda left, right: -1, "answers -1: give the chance"),
        (lambda left, right: float("nan"), "answers nan: give the chance"),
        (lambda left, right: "left", "answers 'left': give the chance"),
        (lambda left, right: left.obs.mean() > right.obs.mean(), "answers np.*: give the chance"),
        (lambda left, right: left.truth.sum(keepdims=True) * 0, r"answers array\(\[.*: give the chance"),
        (clamps, "changes the segments"),
        (lambda left, right: random.random(), "when asked the same again"),
        (lambda left, right: id(left) % 97 / 97, "otherwise when asked the same again"),
        (lambda left, right: 1.0, "1.0 with the sides swapped: they must add up to 1"),
        (lambda left, right: None if left.obs.mean() > right.obs.mean() else 0.0, "None must stay None"),
        (Alternating(), "after a resume: give it a method observe"),
    ],
)
def test_a_broken_oracle_is_told_its_fault(oracle, fault):
    with pytest.raises(AssertionError, match=fault):
        check_oracle(oracle)


@pytest.mark.parametrize(
    "select",
    [
        Uniform(),
        Disagreement(),
        InformationGain(pool=2),
        Coverage(),
        PolicyAligned(),
        PolicyAligned(Coverage(pool=1), newest=1.0),
        lambda segments, returns, n, rng: Uniform()(segments, returns, n, rng),
    ],
)
def test_strategies_keep_their_contract(select):
    check_select(select)


def test_a_strategy_can_be_checked_on_segments_of_its_own_env():
    check_select(Coverage(), [Segment(np.full((2, 3), i), np.zeros(2)) for i in range(9)])


def broken(change):
    """Uniform, with its pairs changed."""

    def select(segments, returns, n, rng):
        return change(Uniform()(segments, returns, n, rng), rng)

    return select


def by_truth(segments, returns, n, rng):
    return sorted(Uniform()(segments, returns, n, rng), key=lambda pair: segments[pair[0]].truth.sum())


def wipes(segments, returns, n, rng):
    returns *= 0
    return Uniform()(segments, returns, n, rng)


def clears(segments, returns, n, rng):
    segments[0].obs[:] = 0
    return Uniform()(segments, returns, n, rng)


def best_left(segments, returns, n, rng):
    total = returns.sum(axis=0)
    return [tuple(sorted(pair, key=lambda i: -total[i])) for pair in Uniform()(segments, returns, n, rng)]


@pytest.mark.parametrize(
    ("select", "fault"),
    [
        (broken(lambda pairs, rng: [(left, left) for left, _ in pairs]), "compares segment . with itself"),
        (broken(lambda pairs, rng: [(left, -1) for left, _ in pairs]), "pair .*-1.* positions from 0 to 1"),
        (broken(lambda pairs, rng: [(left, 99) for left, _ in pairs]), "positions from 0 to 1"),
        (broken(lambda pairs, rng: pairs[:-1]), "gives 0 pairs of 2 segments when asked for 1: give 1"),
        (broken(lambda pairs, rng: pairs + pairs), "gives 2 pairs of 2 segments when asked for 1: give 1"),
        (broken(lambda pairs, rng: pairs[:-1] + [pair[::-1] for pair in pairs[:1]]), "asks the same twice"),
        (broken(lambda pairs, rng: random.sample(pairs, len(pairs))), "other pairs for the same rng"),
        (
            broken(lambda pairs, rng: [tuple(sorted(pair)) for pair in pairs]),
            "newer segment is on the left in 0 of 400",
        ),
        (best_left, "better predicted segment is on the left in 400 of 400"),
        (wipes, "changes the predicted returns"),
        (clears, "changes the segments"),
    ],
)
def test_a_broken_strategy_is_told_its_fault(select, fault):
    with pytest.raises(AssertionError, match=fault):
        check_select(select)


def test_a_strategy_is_shown_no_truth():
    with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'sum'"):
        check_select(by_truth)


@pytest.mark.parametrize("schedule", [Constant(), Hyperbolic(), Hyperbolic(0.01, 1e-3), Upfront(), lambda p: p**2])
def test_schedules_keep_their_contract(schedule):
    check_schedule(schedule)


@pytest.mark.parametrize(
    ("schedule", "fault"),
    [
        (lambda progress: 700 * progress, "gives 7.0 at 1 % of the run: give a share from 0 to 1"),
        (lambda progress: progress - 0.1, "gives -0.1 at 0 % of the run"),
        (lambda progress: 1 - progress, "falls from 1.0 to 0.99 after 0 % of the run"),
        (lambda progress: progress / 2, "ends at 0.5: give 1 at the end"),
        (lambda progress: None, "gives None at 0 %"),
        (lambda progress: 1.0 if progress == 1 else progress + random.random() / 200, "when asked again"),
    ],
)
def test_a_broken_schedule_is_told_its_fault(schedule, fault):
    with pytest.raises(AssertionError, match=fault):
        check_schedule(schedule)


class Convolution(nn.Module):
    """Pixels alone, with batch normalisation and dropout, as the paper's net for Atari has them."""

    def __init__(self, obs_shape, act_shape):
        super().__init__()
        height, width, channels = obs_shape
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 4, 3),
            nn.BatchNorm2d(4),
            nn.Dropout(0.5),
            nn.LeakyReLU(0.01),
            nn.Flatten(),
            nn.Linear(4 * (height - 2) * (width - 2), 1),
        )

    def forward(self, obs, acts):
        rewards = self.layers(obs.flatten(0, 1).movedim(3, 1))
        return rewards.unflatten(0, obs.shape[:2]).squeeze(2)


@pytest.mark.parametrize(
    ("net", "shapes"),
    [
        (MLP, {}),
        (MLP, {"obs_shape": (8, 8, 4), "act_shape": (6,)}),
        (Convolution, {"obs_shape": (8, 8, 4), "act_shape": (6,)}),
        (lambda obs_shape, act_shape: MLP(obs_shape, act_shape, width=1), {}),
    ],
)
def test_nets_keep_their_contract(net, shapes):
    check_net(net, **shapes)


class Linear(nn.Module):
    """The least of nets; the faulty ones below change what it gives."""

    def __init__(self, obs_shape, act_shape):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(obs_shape[0]))
        self.extra = nn.Parameter(torch.ones(()))
        self.dropout = nn.Dropout(0.5)

    def forward(self, obs, acts):
        return obs @ self.weight + self.extra


def faulty(forward):
    return type("Faulty", (Linear,), {"forward": forward})


@pytest.mark.parametrize(
    ("forward", "fault"),
    [
        (lambda net, obs, acts: Linear.forward(net, obs, acts).sum(1), r"rewards of shape \(4,\): give .* \(4, 6\)"),
        (lambda net, obs, acts: Linear.forward(net, obs, acts).squeeze(), r"shape \(6,\): give .* \(1, 6\)"),
        (lambda net, obs, acts: Linear.forward(net, obs, acts).double(), "of torch.float64: give torch.float32"),
        (lambda net, obs, acts: Linear.forward(net, obs, acts) / 0, "not finite"),
        (lambda net, obs, acts: Linear.forward(net, obs.mul_(2), acts), "changes its inputs"),
        (lambda net, obs, acts: Linear.forward(net, obs, acts) + torch.rand(()), "when asked the same again"),
        (lambda net, obs, acts: Linear.forward(net, obs - obs.mean(0), acts), "depends on the others in its batch"),
        (lambda net, obs, acts: Linear.forward(net, obs.cumsum(1), acts), "depends on the steps around it"),
        (lambda net, obs, acts: Linear.forward(net, obs, acts).detach(), "no gradient reaches the net"),
        (lambda net, obs, acts: obs @ net.weight, "no gradient reaches extra: use it"),
    ],
)
def test_a_broken_net_is_told_its_fault(forward, fault):
    with pytest.raises(AssertionError, match=fault):
        check_net(faulty(forward))


def test_frozen_parameters_need_no_gradient():
    def half_frozen(obs_shape, act_shape):
        net = faulty(lambda net, obs, acts: obs @ net.weight)(obs_shape, act_shape)
        net.extra.requires_grad_(False)
        return net

    check_net(half_frozen)


def words(prompts, texts):
    return [len(text.split()) for text in texts]


@pytest.mark.parametrize(
    "reward",
    [
        words,
        lambda prompts, texts: np.array(words(prompts, texts)) / len(prompts[0]),
        lambda prompts, texts: torch.tensor(words(prompts, texts), dtype=torch.float32, requires_grad=True),
        lambda prompts, texts: [torch.tensor(count) for count in words(prompts, texts)],
    ],
    ids=["numbers", "an array", "a tensor with a gradient", "tensors"],
)
def test_reward_functions_keep_their_contract(reward):
    check_reward_function(reward)


def test_a_reward_function_can_be_checked_on_prompts_of_its_own():
    known = {"one": 1.0, "two": 2.0}
    check_reward_function(lambda prompts, texts: [known[prompt] for prompt in prompts], [*known])
    with pytest.raises(AssertionError, match=r"the reward raised KeyError: 'POST: .* on 'The harbour was"):
        check_reward_function(lambda prompts, texts: [known[prompt] for prompt in prompts])


def blanks(prompts, texts):
    texts[0] = ""
    return words(prompts, texts)


@pytest.mark.parametrize(
    ("reward", "fault"),
    [
        (lambda prompts, texts: words(prompts, texts)[1:], "gives 4 scores of 5 texts: give one for each"),
        (lambda prompts, texts: [np.log(len(text)) if text else np.nan for text in texts], "gives nan for '': give a"),
        (lambda prompts, texts: [text or None for text in texts], "gives 'The harbour was closed.' for"),
        (blanks, "changes its lists"),
        (lambda texts: words([], texts), "raised TypeError: .* let it take a list of prompts and a list of texts"),
        (lambda prompts, texts: 1.0, "raised TypeError: 'float' object is not iterable"),
        (lambda prompts, texts: [random.random() for _ in texts], "when asked the same again"),
        (lambda prompts, texts: list(np.subtract(words(prompts, texts), np.mean(words(prompts, texts)))), "its batch"),
    ],
)
def test_a_broken_reward_function_is_told_its_fault(reward, fault):
    with pytest.raises(AssertionError, match=fault):
        check_reward_function(reward)


def shorter(prompt, left, right):
    return float(np.heaviside(len(right) - len(left), 0.5))


class Held:
    """Holds what cannot be copied, as clients of a server do, and answers with a tensor."""

    def __init__(self):
        self.lock = threading.Lock()

    def __call__(self, prompt, left, right):
        with self.lock:
            return torch.tensor(shorter(prompt, left, right))


@pytest.mark.parametrize("judge", [shorter, lambda prompt, left, right: None, Held()])
def test_judges_keep_their_contract(judge):
    check_judge(judge)


@pytest.mark.parametrize(
    ("judge", "fault"),
    [
        (lambda prompt, left, right: float(len(left)), "give the chance that left is better"),
        (lambda prompt, left, right: 1.0, "must add up to 1"),
        (lambda prompt, left, right: None if len(left) < len(right) else 0.0, "None must stay None"),
        (lambda prompt, left, right: random.random(), "when asked the same again"),
        (lambda prompt, left: 1.0, "raised TypeError: .* but 3 were given; on 'POST: The harbour"),
        (lambda prompt, left, right: {}[left], "raised KeyError: 'The harbour was closed.'; on"),
        (lambda prompt, left, right: "left", "gave 'left'; on"),
    ],
)
def test_a_broken_judge_is_told_its_fault(judge, fault):
    with pytest.raises(AssertionError, match=fault):
        check_judge(judge)


def test_a_judge_that_tells_a_text_from_itself_is_told_so():
    def likes_the_first(prompt, left, right):
        return 0.9 if left == right else shorter(prompt, left, right)

    with pytest.raises(AssertionError, match=r"0\.9 for the same text twice: give 0\.5"):
        check_judge(likes_the_first)


gym.register("SteadyCartPole-v0", lambda: FixedHorizon(gym.make("CartPole-v1"), 100))


@pytest.mark.parametrize("env", ["tests.tiny_envs:Dot-v0", "tests.tiny_envs:dot", "SteadyCartPole-v0", "Pendulum-v1"])
def test_environments_keep_their_contract(env):
    check_env(env)


@pytest.mark.parametrize(
    ("env", "fault"),
    [
        ("CartPole-v1", "refused  horizon: episodes terminate"),
        ("tests.tiny_envs:DictObs-v0", "refused  observations: observations must be a Box"),
        ("tests.tiny_envs:UnboundedActions-v0", "refused  actions: actions have no bounds"),
        ("tests.tiny_envs:NaNReward-v0", "refused  stepping: step 8 .* paid nan"),
    ],
)
def test_a_broken_environment_is_told_its_fault(env, fault):
    with pytest.raises(AssertionError, match=fault):
        check_env(env)


def test_what_an_environment_may_lack_is_not_held_against_it():
    class Plain(gym.Wrapper):
        metadata = {}  # noqa: RUF012 -- no frames, no frame rate

    gym.register("Plain-v0", lambda: Plain(gym.make("Pendulum-v1")))
    check_env("Plain-v0")

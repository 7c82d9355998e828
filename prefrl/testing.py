"""Batteries for parts of your own: each takes the part and raises AssertionError, which says what is wrong."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import isfinite
from numbers import Real
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor

from prefrl.control.environments import describe, findings
from prefrl.oracles import observe
from prefrl.reward.networks import MakeNet, RewardNet
from prefrl.types import Oracle, Schedule, Segment, Select

if TYPE_CHECKING:  # the batteries of other parts need no language models
    from prefrl.text.environment import TextReward
    from prefrl.text.judge import Judge

POST = (
    "POST: The harbour was closed for two days.\nShips had to wait outside, and one of them lost its anchor.\n\nTL;DR:"
)
SUMMARIES = ("The harbour was closed.", "Ships waited.", "", "Zwei Tage länger 🚢!", "ship " * 60)


def check_oracle(oracle: Oracle, segments: Sequence[Segment] | None = None) -> None:
    """Chances or None, the same for the same pairs, mirrored when the sides are swapped; segments stay as they are.

    `segments`: two or more of your env, if the oracle reads its observations; made up otherwise. The oracle is copied,
    so that its history stays as it is.
    """
    for kind in _kinds(12) if segments is None else [segments]:
        pairs = list(pairwise(kind))
        shown = deepcopy(pairs)
        answers = _answers(oracle, shown)
        assert _bytes(shown) == _bytes(pairs), "the oracle changes the segments: let it work on copies"
        for answer in answers:
            assert answer is None or _is_share(answer), (
                f"the oracle answers {answer!r}: give the chance that left is better, from 0 to 1, or None"
            )
        assert _answers(oracle, pairs) == answers, (
            "the oracle answers otherwise when asked the same again: derive its randomness from the segments"
        )
        swapped = _answers(oracle, [(right, left) for left, right in pairs])
        for answer, mirrored in zip(answers, swapped, strict=True):
            assert answer is mirrored is None or None not in (answer, mirrored), (
                f"the oracle answers {answer!r}, but {mirrored!r} with the sides swapped: None must stay None"
            )
            assert answer is None or mirrored is None or abs(answer + mirrored - 1) < 1e-6, (
                f"the oracle answers {answer!r}, but {mirrored!r} with the sides swapped: they must add up to 1"
            )
        half = len(pairs) // 2
        assert _answers(oracle, pairs[half:], before=pairs[:half]) == answers[half:], (
            "the oracle answers otherwise after a resume: give it a method observe(left, right) that takes a pair "
            "answered before into its history"
        )


def check_select(select: Select, segments: Sequence[Segment] | None = None) -> None:
    """As many different pairs as asked or exist, sides at random, the same for the same rng; arguments stay as is.

    `segments`: two or more of your env, if the strategy reads its observations; made up otherwise.
    """
    for kind in _kinds(60) if segments is None else [segments]:
        blind = [segment.blind() for segment in kind]
        for count in {1, 2, 7, len(blind)}:
            for n in (1, 20):
                _check_pairs(select, blind[:count], n)
        _check_sides(select, blind)


def check_schedule(schedule: Schedule) -> None:
    """Shares of the budget, never falling, and all of it at the end."""
    shares = [schedule(percent / 100) for percent in range(101)]
    for percent, share in enumerate(shares):
        assert _is_share(share), f"the schedule gives {share!r} at {percent} % of the run: give a share from 0 to 1"
    for percent, (share, later) in enumerate(pairwise(shares)):
        assert share <= later, (
            f"the schedule falls from {share!r} to {later!r} after {percent} % of the run: give the share asked so far"
        )
    assert shares[-1] > 1 - 1e-6, f"the schedule ends at {shares[-1]!r}: give 1 at the end, or labels are left over"
    again = [schedule(percent / 100) for percent in range(101)]
    assert again == shares, "the schedule gives other shares when asked again: make it a function of progress alone"


def check_net(make_net: MakeNet, obs_shape: Sequence[int] = (3,), act_shape: Sequence[int] = (2,)) -> None:
    """A finite float32 reward for every step, by that step alone; every trainable parameter has a part in it.

    The shapes are your env's, if the net asks for them; that of a discrete action is (choices,).
    """
    rng = torch.Generator().manual_seed(0)
    obs, acts = (torch.rand(4, 6, *shape, generator=rng) for shape in (obs_shape, act_shape))
    net = make_net(obs_shape, act_shape).eval()
    with torch.no_grad():
        rewards = _rewards(net, obs, acts)
        assert torch.equal(_rewards(net, obs, acts), rewards), (
            "the net gives other rewards when asked the same again: in eval() leave out what is random"
        )
        segments = [_rewards(net, obs[[i]], acts[[i]]) for i in range(4)]
        assert torch.allclose(torch.cat(segments), rewards, rtol=1e-3, atol=1e-5), (
            "the reward of a segment depends on the others in its batch: in eval() let no statistic cross the batch"
        )
        steps = [_rewards(net, obs[:, [t]], acts[:, [t]]) for t in range(6)]
        assert torch.allclose(torch.cat(steps, dim=1), rewards, rtol=1e-3, atol=1e-5), (
            "the reward of a step depends on the steps around it, but the policy is paid in rollouts that are no "
            "segments: judge every step alone"
        )
    total = (net.train()(obs, acts) * torch.rand(4, 6, generator=rng)).sum()
    assert total.requires_grad, "no gradient reaches the net: compute rewards from its parameters, without detach()"
    total.backward()
    idle = [name for name, parameter in net.named_parameters() if parameter.requires_grad and parameter.grad is None]
    assert not idle, f"no gradient reaches {', '.join(idle)}: use it in forward, or leave it out"


def check_reward_function(
    reward: "TextReward", prompts: Sequence[str] = (POST,), texts: Sequence[str] = SUMMARIES
) -> None:
    """A finite number for each text, by it and its prompt alone, the same when asked again; lists stay as they are.

    `prompts` and `texts`: some of yours, each with each, if the reward knows its prompts; made up otherwise.
    An empty text is among what untrained policies say.
    """
    asked = [prompt for prompt in prompts for _ in texts], [*texts] * len(prompts)
    shown = deepcopy(asked)
    scores = _scores(reward, *shown)
    assert shown == asked, "the reward changes its lists: let it work on copies"
    assert len(scores) == len(asked[1]), (
        f"the reward gives {len(scores)} scores of {len(asked[1])} texts: give one for each"
    )
    for score, text in zip(scores, asked[1], strict=True):
        assert _is_finite(score), f"the reward gives {score!r} for {text!r}: give a number"
    assert _scores(reward, *asked) == scores, (
        "the reward gives other scores when asked the same again: training that is resumed would not be the same"
    )
    alone = [score for prompt, text in zip(*asked, strict=True) for score in _scores(reward, [prompt], [text])]
    assert np.allclose(np.array(alone, float), np.array(scores, float), rtol=1e-3, atol=1e-5), (
        "the score of a text depends on the others in its batch: judge every text alone"
    )


def check_judge(judge: "Judge", prompts: Sequence[str] = (POST,), texts: Sequence[str] = SUMMARIES) -> None:
    """What `check_oracle` checks, of a judge of texts: chances or None, repeated and mirrored; the same text is a tie.

    `prompts` and `texts`: some of yours, if the judge knows its prompts; made up otherwise.
    """
    from prefrl.text.judge import BadJudge, verdict

    asked = partial(verdict, judge)
    try:
        for prompt in prompts:
            places = [Segment(np.array([place]), np.zeros(1)) for place in range(len(texts))]
            check_oracle(_OfTexts(asked, prompt, texts), places)
            for text in texts:
                said = asked(prompt, text, text)
                assert said is None or abs(said - 0.5) < 1e-6, (
                    f"the judge gives {said!r} for the same text twice: give 0.5"
                )
    except BadJudge as error:
        raise AssertionError(str(error)) from error


def check_env(env_id: str) -> None:
    """Preferences can be learned in the environment of this name: training would refuse nothing about it."""
    refused = [finding for finding in findings(env_id) if finding.needed and not finding.ok]
    assert not refused, f"{env_id}:\n{describe(refused)}"


@dataclass(frozen=True)
class _OfTexts:
    """A judge as an oracle of segments that hold the place of their text."""

    judge: "Judge"
    prompt: str
    texts: Sequence[str]

    def __call__(self, left: Segment, right: Segment) -> float | None:
        return self.judge(self.prompt, *(self.texts[int(side.obs[0])] for side in (left, right)))

    def __deepcopy__(self, _: object) -> Self:
        """Judges have no history, and may hold what cannot be copied."""
        return self


def _scores(reward: "TextReward", prompts: list[str], texts: list[str]) -> list[Any]:
    from prefrl.text.environment import plain

    try:
        return list(plain(reward(prompts, texts)))
    except Exception as error:
        raise AssertionError(
            f"the reward raised {type(error).__name__}: {error}; on {texts[0]!r}: let it take a list of prompts and a "
            f"list of texts, and give a number for each"
        ) from error


def _rewards(net: RewardNet, obs: Tensor, acts: Tensor) -> Tensor:
    shown = obs.clone(), acts.clone()
    rewards: Tensor = net(*shown)
    segments, steps = obs.shape[:2]
    assert rewards.shape == (segments, steps), (
        f"the net gives {segments} segments of {steps} steps rewards of shape {tuple(rewards.shape)}: "
        f"give one reward per step, {(segments, steps)}"
    )
    assert rewards.dtype == torch.float32, f"the net gives rewards of {rewards.dtype}: give torch.float32"
    assert rewards.isfinite().all(), "the net gives rewards that are not finite, for inputs from 0 to 1"
    assert torch.equal(shown[0], obs) and torch.equal(shown[1], acts), (
        "the net changes its inputs: let it work on copies"
    )
    return rewards


def _check_pairs(select: Select, segments: Sequence[Segment], n: int) -> None:
    count = len(segments)
    returns = np.random.default_rng(count).normal(size=(3, count))
    shown, predicted = deepcopy(segments), returns.copy()
    pairs = select(shown, predicted, n, np.random.default_rng(0))
    assert _bytes([shown]) == _bytes([segments]), "the strategy changes the segments: let it work on copies"
    assert np.array_equal(predicted, returns), "the strategy changes the predicted returns: let it work on a copy"
    possible = min(n, count * (count - 1) // 2)
    assert len(pairs) == possible, (
        f"the strategy gives {len(pairs)} pairs of {count} segments when asked for {n}: give {possible}"
    )
    for left, right in pairs:
        assert {left, right} <= set(range(count)), (
            f"the strategy gives the pair {left, right} of {count} segments: give positions from 0 to {count - 1}"
        )
        assert left != right, f"the strategy compares segment {left} with itself"
    assert len({frozenset(pair) for pair in pairs}) == len(pairs), (
        f"the strategy asks the same twice, perhaps with the sides swapped, in {pairs}"
    )
    again = select(segments, returns, n, np.random.default_rng(0))
    assert list(again) == list(pairs), "the strategy gives other pairs for the same rng: draw from the rng alone"


def _check_sides(select: Select, segments: Sequence[Segment]) -> None:
    """With random sides, a false alarm in 10^8 calls: 6 standard deviations."""
    rng = np.random.default_rng(0)
    newer: list[bool] = []
    better: list[bool] = []
    for _ in range(40):
        returns = rng.normal(size=(3, len(segments)))
        for left, right in select(segments, returns, 10, rng):
            newer.append(left > right)
            better.append(returns[:, left].sum() > returns[:, right].sum())
    for what, left_is in {"newer": newer, "better predicted": better}.items():
        assert abs(np.mean(left_is) - 0.5) < 3 / len(left_is) ** 0.5, (
            f"the {what} segment is on the left in {sum(left_is)} of {len(left_is)} pairs: draw the sides from the rng"
        )


def _kinds(count: int) -> Iterator[list[Segment]]:
    """Segments of numbers and of pixels, of several steps and of one; some equal in truth, of either sign."""
    rng = np.random.default_rng(0)
    for steps in (5, 1):
        truth = rng.integers(-2, 3, size=(count, steps)).astype(float)
        yield [Segment(rng.normal(size=(steps, 3)).astype(np.float32), rng.normal(size=(steps, 2)), t) for t in truth]
        pixels = rng.integers(256, size=(count, steps, 8, 8, 4), dtype=np.uint8)
        yield [Segment(obs, rng.integers(4, size=steps), t) for obs, t in zip(pixels, truth, strict=True)]


def _answers(
    oracle: Oracle, pairs: Sequence[tuple[Segment, Segment]], before: Sequence[tuple[Segment, Segment]] = ()
) -> list[float | None]:
    fresh = deepcopy(oracle)
    for left, right in before:
        observe(fresh, left, right)
    return [fresh(left, right) for left, right in pairs]


def _bytes(groups: Sequence[Sequence[Segment]]) -> list[bytes]:
    arrays = [array for group in groups for s in group for array in (s.obs, s.acts, s.truth) if array is not None]
    return [array.tobytes() for array in arrays]


def _is_finite(number: object) -> bool:
    return isinstance(number, Real) and isfinite(number)


def _is_share(number: object) -> bool:
    return isinstance(number, Real) and 0 <= float(number) <= 1

"""What fitting makes of comparisons: each net on its own share of them, by the paper's formula."""

import math
from copy import deepcopy
from functools import partial
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from experiments.ablations import rating, squared_error
from prefrl.reward.diagnostics import pearson
from prefrl.reward.ensemble import Ensemble, stack
from prefrl.reward.fit import Fit, bootstrap
from prefrl.reward.loss import bradley_terry
from prefrl.reward.networks import MLP
from prefrl.types import Comparison, Segment

STEPS = 5
TASTE = np.array([1.0, -2.0, 0.0, 0.5])
"""The hidden reward of a step is linear: two observations, two actions."""


def make(members=3, seed=0, width=8):
    torch.manual_seed(seed)
    return Ensemble((2,), (2,), net=partial(MLP, width=width), members=members)


def segment(rng):
    obs, acts = rng.normal(size=(2, STEPS, 2)).astype(np.float32)
    return Segment(obs, acts, np.hstack([obs, acts]) @ TASTE)


def comparisons(count, seed=0, first=1):
    """Answered by the sum of hidden rewards."""
    rng = np.random.default_rng(seed)
    pairs = [(segment(rng), segment(rng)) for _ in range(count)]
    answers = [float(left.truth.sum() > right.truth.sum()) for left, right in pairs]
    return [Comparison(*pair, mu, query=first + i) for i, (pair, mu) in enumerate(zip(pairs, answers, strict=True))]


def coin(asked, seed=0):
    """The same, answered at random: they can only be learned by heart."""
    rng = np.random.default_rng(seed)
    return [Comparison(c.left, c.right, float(rng.integers(2)), c.query) for c in asked]


def fitted(ensemble, asked, passes=10, optimizer=None, **settings):
    fit = Fit(**settings)
    return fit(ensemble, optimizer or fit.optimizer(ensemble), asked, passes, np.random.default_rng(0))


def parameters(module):
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def predicted(ensemble, asked):
    """Every member's predicted difference of the returns, (members, comparisons)."""
    return ensemble.returns([c.left for c in asked]) - ensemble.returns([c.right for c in asked])


# the bootstrap


@given(st.permutations(range(12)), st.integers(1, 12))
def test_what_a_member_draws_of_a_comparison_does_not_depend_on_the_others(queries, count):
    some, whole = queries[:count], bootstrap(range(12), members=3, seed=0)
    assert np.array_equal(bootstrap(some, members=3, seed=0), whole[:, some])


def test_about_1_in_e_comparisons_are_out_of_a_members_bag():
    """A false alarm in 10^6 seeds: 5 standard deviations of 30,000 draws."""
    assert (bootstrap(range(10_000), members=3, seed=0) == 0).mean() == pytest.approx(1 / math.e, abs=0.014)


def test_a_member_draws_as_many_comparisons_as_there_are():
    """A false alarm in 10^6 seeds, as above."""
    assert bootstrap(range(10_000), members=3, seed=0).mean() == pytest.approx(1, abs=0.03)


def test_members_draw_independently():
    """A false alarm in 10^6 seeds: 5 standard deviations of a correlation over 10,000 queries."""
    draws = bootstrap(range(10_000), members=3, seed=0)
    for one, other in combinations(draws, 2):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.05


def test_another_seed_is_another_bootstrap():
    assert not np.array_equal(*(bootstrap(range(100), members=3, seed=seed) for seed in (0, 1)))


def test_a_member_never_learns_from_what_it_holds_out():
    """Nor in later fits, with more comparisons."""
    asked = comparisons(40)
    held_out = bootstrap([c.query for c in asked], members=3, seed=0) == 0
    flipped = [
        Comparison(c.left, c.right, 1 - c.preference, c.query) if out else c
        for c, out in zip(asked, held_out[0], strict=True)
    ]
    told = []
    for answers in (asked, flipped):
        ensemble, fit = make(), Fit(l2_step=0.0, batch=8)
        optimizer = fit.optimizer(ensemble)
        for count in (20, 40):
            fit(ensemble, optimizer, answers[:count], 3, np.random.default_rng(0))
        told.append([parameters(member) for member in ensemble.members])
    assert held_out[0].sum() > 5
    assert torch.equal(told[0][0], told[1][0])
    assert not torch.equal(told[0][1], told[1][1])


# what is learned


@pytest.fixture(scope="module")
def taught():
    """Fitted to comparisons by a linear reward."""
    ensemble = make(width=32)
    fitted(ensemble, comparisons(300), passes=30, lr=3e-3)
    return ensemble


def test_a_linear_reward_is_recovered(taught):
    fresh = comparisons(200, seed=1)
    right = (predicted(taught, fresh).mean(0) > 0) == np.array([c.preference == 1 for c in fresh])
    assert right.mean() > 0.9


def test_steps_are_rewarded_though_only_segments_were_compared(taught):
    segments = [c.left for c in comparisons(100, seed=1)]
    assert pearson(taught.rewards(*stack(segments)).mean(0), np.stack([s.truth for s in segments])) > 0.9


def test_a_tie_pulls_returns_together():
    left, right = (segment(np.random.default_rng(seed)) for seed in (0, 1))
    ties = [Comparison(left, right, 0.5, query) for query in range(1, 20)]
    ensemble = make()
    ensemble.adapt(stack([left, right])[0])
    before = np.abs(predicted(ensemble, ties[:1]))
    fitted(ensemble, ties)
    assert (np.abs(predicted(ensemble, ties[:1])) < before).all()


def test_the_same_fit_twice_gives_the_same_parameters():
    one, other = make(), make()
    for ensemble in (one, other):
        fitted(ensemble, comparisons(40))
    assert torch.equal(parameters(one), parameters(other))


def test_members_become_different():
    """Even from the same initial parameters: their bootstraps differ."""
    ensemble = make()
    for member in ensemble.members[1:]:
        member.load_state_dict(ensemble.members[0].state_dict())
    fitted(ensemble, comparisons(40))
    one, *others = map(parameters, ensemble.members)
    assert not any(torch.allclose(one, other, rtol=1e-3) for other in others)


def test_fitting_moves_a_member_as_it_would_alone():
    """The losses of members are summed: a mean would weigh L2 three times as much against them."""
    ensemble, alone = make(), make(members=1)
    alone.members[0].load_state_dict(ensemble.members[0].state_dict())
    for each in (ensemble, alone):
        fitted(each, comparisons(60), passes=1, batch=8, l2=0.1)
    torch.testing.assert_close(parameters(ensemble.members[0]), parameters(alone.members[0]))


def test_a_member_that_drew_nothing_stays_as_it_is():
    held_out = next(query for query in range(100) if bootstrap([query], members=3, seed=0).tolist()[1] == [0])
    ensemble = make()
    before = deepcopy(ensemble.members[1])
    fitted(ensemble, comparisons(1, first=held_out), l2=0.1)
    assert torch.equal(parameters(ensemble.members[1]), parameters(before))


# the formula, in loops


def step_rewards(member, ensemble, segment):
    x = (torch.from_numpy(segment.obs) - ensemble.obs_mean) / ensemble.obs_std
    return [member(x[None, [t]], torch.from_numpy(segment.acts)[None, [t]]).squeeze() for t in range(STEPS)]


def cross_entropy(member, ensemble, comparison):
    """Equation 1 and the loss below it, with 10 % of answers at random."""
    left, right = (sum(step_rewards(member, ensemble, side)) for side in (comparison.left, comparison.right))
    p = 0.9 * torch.exp(left) / (torch.exp(left) + torch.exp(right)) + 0.05
    return -(comparison.preference * torch.log(p) + (1 - comparison.preference) * torch.log(1 - p))


def mixed(count):
    """Comparisons with all kinds of answers."""
    asked = comparisons(count)
    return [Comparison(c.left, c.right, mu, c.query) for c, mu in zip(asked, [0.0, 0.3, 0.5, 1.0] * count)]


def test_a_step_of_fitting_descends_the_papers_loss():
    asked = mixed(12)
    draws = bootstrap([c.query for c in asked], members=3, seed=0)
    ensemble = make()
    ensemble.adapt(stack([side for c in asked for side in (c.left, c.right)])[0])
    expected = deepcopy(ensemble)
    descent = torch.optim.SGD([{"params": list(member.parameters())} for member in ensemble.members], lr=0.1)
    fitted(ensemble, asked, passes=1, optimizer=descent)
    for member, drawn in zip(expected.members, draws, strict=True):
        losses = [n * cross_entropy(member, expected, c) for n, c in zip(drawn.tolist(), asked, strict=True)]
        (sum(losses) / sum(drawn > 0)).backward()
        with torch.no_grad():
            for parameter in member.parameters():
                parameter -= 0.1 * parameter.grad
    torch.testing.assert_close(parameters(ensemble), parameters(expected), rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def described():
    """What a fit told of itself; the mean losses on drawn and on held-out comparisons, in loops, by member."""
    asked, ensemble = mixed(20), make()
    told = fitted(ensemble.eval(), asked)
    draws = bootstrap([c.query for c in asked], members=3, seed=0)
    losses = np.array([[cross_entropy(m, ensemble, c).item() for c in asked] for m in ensemble.members])
    train = [np.average(loss, weights=drawn) for loss, drawn in zip(losses, draws, strict=True)]
    held_out = [loss[drawn == 0].mean() for loss, drawn in zip(losses, draws, strict=True)]
    return told, np.array(train), np.array(held_out)


def test_another_loss_is_descended_and_reported_instead():
    """Fitting returns: what is said of the left segment alone is its mean reward, as the ablation has it."""
    asked = comparisons(60)
    rated = [Comparison(c.left, c.right, rating(c.left, c.right), c.query) for c in asked]
    ensemble = make(members=2)
    metrics = fitted(ensemble, rated, passes=300, lr=0.01, loss=squared_error, l2=0.0, l2_bounds=(0.0, 0.0))
    returns = ensemble.returns([c.left for c in asked])
    truth = np.array([c.left.truth.mean() for c in asked])
    drawn = bootstrap([c.query for c in asked], members=2, seed=0)
    errors = ((returns - truth) ** 2 * drawn).sum(1) / drawn.sum(1)
    assert metrics["reward/train_loss"] == pytest.approx(errors.mean(), rel=1e-3)
    assert errors.mean() < 0.1 * truth.var()


def test_the_training_loss_is_that_of_the_draws(described):
    told, train, _ = described
    assert told["reward/train_loss"] == pytest.approx(train.mean(), rel=1e-4)


def test_the_validation_loss_is_that_of_what_is_held_out(described):
    told, _, held_out = described
    assert told["reward/validation_loss"] == pytest.approx(held_out.mean(), rel=1e-4)


def test_the_ratio_of_losses_is_taken_by_member(described):
    told, train, held_out = described
    assert told["reward/loss_ratio"] == pytest.approx((held_out / train).mean(), rel=1e-4)


# L2


def l2_after(asked, passes, **settings):
    """The coefficient of a single member, and the ratio of its losses."""
    told = fitted(make(members=1, width=32), asked, passes, lr=1e-2, l2=1e-4, **settings)
    return told["reward/l2"], told["reward/loss_ratio"]


def updates(asked, passes):
    drawn = (bootstrap([c.query for c in asked], members=1, seed=0) > 0).sum()
    return passes * math.ceil(drawn / 64)


def test_l2_rises_by_a_hundredth_per_update_where_a_member_learns_by_heart():
    asked = coin(comparisons(100))
    l2, ratio = l2_after(asked, passes=30)
    assert ratio > 1.5
    assert l2 == pytest.approx(1e-4 * 1.01 ** updates(asked, 30))


def test_l2_falls_by_a_hundredth_per_update_where_nothing_is_learned_by_heart():
    asked = comparisons(300)
    l2, ratio = l2_after(asked, passes=3)
    assert ratio < 1.1
    assert l2 == pytest.approx(1e-4 / 1.01 ** updates(asked, 3))


@pytest.mark.parametrize("passes", [2, 6])
def test_l2_stays_where_the_ratio_is_as_wanted(passes):
    """1.14 after two passes, 1.46 after six."""
    l2, ratio = l2_after(coin(comparisons(100)), passes)
    assert 1.1 < ratio < 1.5
    assert l2 == 1e-4


@pytest.mark.parametrize(
    ("asked", "passes", "end"), [(coin(comparisons(100)), 30, 1.2e-4), (comparisons(300), 3, 9.9e-5)]
)
def test_l2_keeps_its_bounds(asked, passes, end):
    assert l2_after(asked, passes, l2_bounds=(9.9e-5, 1.2e-4))[0] == end


def test_every_member_has_an_l2_of_its_own():
    """Two learn by heart; what the third holds out happens to be like what it drew."""
    ensemble, fit = make(width=32), Fit(lr=1e-2)
    optimizer = fit.optimizer(ensemble)
    fit(ensemble, optimizer, coin(comparisons(20)), 6, np.random.default_rng(0))
    first, second, third = (group["weight_decay"] for group in optimizer.param_groups)
    assert first == second > fit.l2 > third


# parts of passes, and of what is judged


def steps_of(asked, passes, **settings):
    """How many updates are made."""
    fit, ensemble = Fit(batch=8, **settings), make(members=2)
    optimizer, made = fit.optimizer(ensemble), []
    optimizer.register_step_post_hook(lambda *_: made.append(1))
    fit(ensemble, optimizer, asked, passes, np.random.default_rng(0))
    return len(made)


@pytest.mark.parametrize(("passes", "made"), [(1, 6), (2, 12), (0.4, 2), (0.3, 2), (2.5, 15), (0.001, 1)])
def test_of_passes_that_are_not_whole_the_nearest_number_of_updates_is_made(passes, made):
    """The member that drew most draws 45 of 60 comparisons: a pass is six updates of 8."""
    asked = comparisons(60)
    assert (bootstrap([c.query for c in asked], 2, 0) > 0).sum(1).max() == 45
    assert steps_of(asked, passes) == made


def test_a_whole_pass_and_more_is_a_pass_and_the_beginning_of_the_next():
    """Parts of a pass draw as whole ones do, so that those who fit in whole passes are left as they were."""
    one, other = make(), make()
    fitted(one, comparisons(60), passes=2, batch=8)
    fitted(other, comparisons(60), passes=2.0, batch=8)
    assert torch.equal(parameters(one), parameters(other))


def test_losses_are_told_of_so_many_comparisons_as_are_judged():
    asked, seen = comparisons(60), []

    def loss(left, right, mu):
        seen.append(tuple(left.shape))
        return bradley_terry(left, right, mu)

    fitted(make(), asked, passes=0.5, loss=loss, judged=7)
    assert seen[-1] == (3, 7)
    fitted(make(), asked, passes=1, loss=loss, judged=7)
    assert seen[-1] == (3, 60)  # what takes as long as a pass may as well judge all
    fitted(make(), asked, passes=0.5, loss=loss, judged=61)
    assert seen[-1] == (3, 60)


def test_which_are_judged_is_drawn_anew():
    ensemble, fit, losses = make(), Fit(judged=5, l2_step=0.0), []
    optimizer = fit.optimizer(ensemble)
    for group in optimizer.param_groups:
        group["lr"] = 0.0  # nothing changes
    rng = np.random.default_rng(0)
    losses = [fit(ensemble, optimizer, comparisons(60), 0.5, rng)["reward/train_loss"] for _ in range(3)]
    assert len(set(losses)) == 3


def test_what_is_judged_changes_nothing_that_is_learned():
    one, other = make(), make()
    fitted(one, comparisons(60), passes=1, l2_step=0.0)
    fitted(other, comparisons(60), passes=1, l2_step=0.0, judged=5)
    assert torch.equal(parameters(one), parameters(other))


# inputs


def test_inputs_are_adapted_to_the_segments_compared():
    asked, ensemble = comparisons(40), make()
    fitted(ensemble, asked)
    obs = np.concatenate([side.obs for c in asked for side in (c.left, c.right)])
    np.testing.assert_allclose(ensemble.obs_mean, obs.mean(0), atol=1e-6)
    np.testing.assert_allclose(ensemble.obs_std, obs.std(0), rtol=1e-5)


def test_the_units_of_observations_do_not_matter():
    asked = comparisons(40)
    larger = [
        Comparison(*(Segment(1024 * side.obs, side.acts) for side in (c.left, c.right)), c.preference, c.query)
        for c in asked
    ]
    one, other = make(), make()
    fitted(one, asked)
    fitted(other, larger)
    np.testing.assert_allclose(predicted(one, asked), predicted(other, larger), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["first_passes", "passes", "batch", "lr", "rate", "keep", "judged"])
def test_a_fit_that_does_nothing_is_refused(name):
    with pytest.raises(ValueError, match=f"fit's {name} must be positive, got 0"):
        Fit(**{name: 0})

"""What the algorithms learn from: rewards, advantages and ratios, against loops over real tokens."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from prefrl.text.algorithms import LMPPO, LMTRPO
from prefrl.text.buffer import SequenceBuffer
from prefrl.text.generate import generate, log_probs
from prefrl.text.kl import KL
from prefrl.text.models import save_model, with_lora
from tests import tiny_text
from tests.tiny_policies import algorithm, collected, even, first_ratios, logged, parameters

lengths = st.lists(st.integers(1, 6), min_size=2, max_size=5)


def gae(rewards, values, gamma, lam):
    """Of one sequence that ends with its last reward (Schulman et al. 2016, equation 16)."""
    advantages, following, worth = [], 0.0, 0.0
    for reward, value in zip(reversed(rewards), reversed(values)):
        following = reward + gamma * worth - value + gamma * lam * following
        worth = value
        advantages.append(following)
    return advantages[::-1]


def buffer(samples, gamma=0.9, lam=0.8):
    width, rows = samples.responses.shape[1], len(samples)
    made = SequenceBuffer(
        width, spaces.Box(0, 9, (2,), np.int64), spaces.MultiDiscrete([9] * width), "cpu", lam, gamma, rows
    )
    made.rng = np.random.default_rng(0)
    return made


@settings(max_examples=30)
@given(lengths, st.sampled_from([0.9, 1.0]), st.sampled_from([0.0, 0.8, 1.0]))
def test_detail_12_advantages_stop_at_the_sequences_end_and_padding_has_none(lengths, gamma, lam):
    samples = tiny_text.ragged(lengths)
    made, rng = buffer(samples, gamma, lam), torch.Generator().manual_seed(0)
    rewards, values, logs = (torch.randn(samples.mask.shape, generator=rng) for _ in range(3))
    made.fill(samples, rewards, values, logs)
    for row, length in enumerate(lengths):
        loop = gae(rewards[row, :length].tolist(), values[row, :length].tolist(), gamma, lam)
        assert made.advantages[:length, row].tolist() == pytest.approx(loop, abs=1e-5)
        assert not made.advantages[length:, row].any() and not made.returns[length:, row].any()


@given(lengths, st.integers(1, 5))
def test_minibatches_hold_every_sequence_once_and_only_real_tokens(lengths, size):
    samples = tiny_text.ragged(lengths)
    made, numbers = buffer(samples), torch.arange(float(samples.mask.numel())).reshape(samples.mask.shape)
    made.fill(samples, numbers, numbers, numbers)
    batches = [*made.get(size)]
    seen = torch.cat([batch.observations for batch in batches])
    assert sorted(seen.tolist()) == sorted(samples.ids.tolist())
    for batch in batches:
        mask = batch.observations[:, samples.prompts.shape[1] :] != samples.pad
        assert len(batch.old_log_prob) == mask.sum() == len(batch.actions)
        assert torch.equal(batch.actions, batch.observations[:, samples.prompts.shape[1] :][mask])
        rows = [samples.ids.tolist().index(row) for row in batch.observations.tolist()]
        assert torch.equal(batch.old_values, torch.cat([numbers[row][samples.mask[row]] for row in rows]))


def test_rewards_of_a_rollout_equal_a_loop_over_its_tokens():
    made = algorithm(kl=KL(0.3), missing_eos=-1.0)
    strayed(made)
    filled = collected(made)
    samples = filled.samples
    with torch.no_grad():
        own, theirs = log_probs(made.policy.model, samples), log_probs(tiny_text.model(), samples)
    scores = even(samples, None, None)
    assert samples.ended.any() and not samples.ended.all()
    for row, length in enumerate(samples.lengths.tolist()):
        expected = [-0.3 * float(own[row, token] - theirs[row, token]) for token in range(length)]
        expected[-1] += float(scores[row]) if samples.ended[row] else -1.0
        assert filled.rewards[:length, row].tolist() == pytest.approx(expected, abs=1e-5)
        assert not filled.rewards[length:, row].any()


def strayed(made, by=0.05):
    """Moves the policy away from its reference, and lets it end now and then."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in made.policy.model.parameters():
            parameter.add_(torch.randn_like(parameter) * by)
        made.policy.model.transformer.wte.weight[tiny_text.tokenizer().eos_token_id] *= 40


def test_detail_14_what_is_logged_as_kl_is_summed_per_sequence_and_masked():
    made = algorithm()
    strayed(made)
    samples = collected(made).samples
    made.logger.dump()
    with torch.no_grad():
        own, theirs = log_probs(made.policy.model, samples), log_probs(tiny_text.model(), samples)
    loop = [sum(float(a - b) for a, b in zip(own[row, :n], theirs[row, :n])) for row, n in enumerate(samples.lengths)]
    assert logged(made)[0]["rollout/kl"] == pytest.approx(np.mean(loop), abs=1e-4)


def test_at_the_start_the_policy_is_its_reference():
    made = algorithm()
    collected(made)
    made.logger.dump()
    assert logged(made)[0]["rollout/kl"] == 0


def test_detail_1_values_do_not_depend_on_padding_either():
    """Of each sequence as of its real tokens alone."""
    made, samples = algorithm(), tiny_text.ragged([2, 5, 3])
    net = made.policy.value_model
    torch.nn.init.normal_(net.head.weight)
    alone = []
    for row, length in enumerate(samples.lengths.tolist()):
        ids = samples.ids[row][samples.attention[row]]
        alone.append(net.head(net.backbone(input_ids=ids[None]).last_hidden_state[0, -length - 1 : -1]).squeeze(-1))
    made.policy.prompt_length = samples.prompts.shape[1]
    torch.testing.assert_close(made.policy.predict_values(samples.ids), torch.cat(alone), atol=1e-5, rtol=0)


def test_detail_13_the_first_ratio_is_1():
    ratios = first_ratios(algorithm(), 5)
    torch.testing.assert_close(ratios, torch.ones_like(ratios), atol=1e-4, rtol=0)


def test_detail_9_old_log_probs_and_the_references_are_at_the_temperature_of_generation():
    made = algorithm(temperature=0.5)
    strayed(made)
    filled = collected(made)
    made.logger.dump()
    with torch.no_grad():
        own, theirs = (log_probs(each, filled.samples, 0.5) for each in (made.policy.model, tiny_text.model()))
    np.testing.assert_allclose(filled.log_probs.T, own, atol=1e-5)
    assert logged(made)[0]["rollout/kl"] == pytest.approx(float((own - theirs).sum(1).mean()), abs=1e-4)


def test_detail_9_rollouts_are_drawn_at_the_temperature_they_are_trained_at():
    """Next to none: the likeliest token is drawn."""
    samples = collected(algorithm(temperature=1e-5)).samples
    likeliest = generate(tiny_text.model(), tiny_text.tokenizer(), samples.prompts, 8, temperature=0)
    assert torch.equal(samples.responses, likeliest.trimmed().responses)


def test_detail_8_training_mode_is_no_different():
    made = algorithm()
    obs = collected(made).samples.ids
    for mode in (False, True):
        made.policy.set_training_mode(mode)
        assert not any(module.training for module in made.policy.modules())
    assert made.policy.evaluate_actions(obs, obs)[2] is None


def test_the_given_model_is_left_as_it_is(model):
    before = {name: each.clone() for name, each in model.state_dict().items()}
    algorithm(model=model).learn_episodes(16)
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())


def test_a_timestep_is_a_real_token_and_an_episode_a_sequence():
    made = algorithm()
    tokens = int(collected(made).samples.lengths.sum())
    assert (made.num_timesteps, made.episodes) == (tokens, 16)


def test_learning_goes_on_until_so_many_episodes():
    made = algorithm()
    made.learn_episodes(40)
    assert made.episodes == 48 and len(logged(made)) == 3
    made.learn_episodes(16)
    assert made.episodes == 64


@pytest.mark.parametrize("kind", ["backbone", "model", "name", "net"])
def test_the_value_net_starts_from_what_is_given(kind, tmp_path):
    """Its parameters have "value" in their names, as SB3's TRPO wants them."""
    other = tiny_text.model(seed=3)
    net = torch.nn.Module()
    net.backbone, net.head = other.transformer, torch.nn.Linear(32, 1)
    save_model(other, tiny_text.tokenizer(), tmp_path / "model")
    given = {"backbone": other.transformer, "model": other, "name": tmp_path / "model", "net": net}[kind]
    made = algorithm(value_from=given)
    started = made.policy.value_model
    assert torch.equal(started.backbone.wte.weight, other.transformer.wte.weight)
    assert started.backbone.wte.weight is not other.transformer.wte.weight
    assert torch.equal(started.head.weight, net.head.weight if kind == "net" else torch.zeros(1, 32))
    assert all("value" in name or name.startswith("model.") for name in parameters(made))


def test_a_value_net_learns_even_where_it_starts_from_a_frozen_reward_net():
    net = torch.nn.Module()
    net.backbone, net.head = tiny_text.model(seed=3).transformer, torch.nn.Linear(32, 1)
    made = algorithm(value_from=net.requires_grad_(False))
    assert all(each.requires_grad for each in made.policy.value_model.parameters())
    assert not any(each.requires_grad for each in net.parameters())


def test_training_the_value_net_leaves_the_policy_and_the_other_way_round():
    made = algorithm()
    batch = next(collected(made).get())
    values, log_prob, _ = made.policy.evaluate_actions(batch.observations, batch.actions)
    for loss, named in ((values.sum(), "value_model."), (log_prob.sum(), "model.")):
        made.policy.zero_grad()
        loss.backward(retain_graph=True)
        touched = {name for name, each in made.policy.named_parameters() if each.grad is not None and each.grad.any()}
        assert touched and all(name.startswith(named) for name in touched)


@pytest.mark.parametrize("chunks", [2, 3])
def test_a_batch_in_chunks_has_the_gradient_of_the_whole(chunks):
    gradients = []
    for parts in (1, chunks):
        made = algorithm(chunks=parts, ent_coef=0.1)
        batch = next(collected(made).get())
        made.policy.zero_grad()
        sum(each.square().mean() for each in made.policy.evaluate_actions(batch.observations, batch.actions)).backward()
        gradients.append(torch.cat([each.grad.flatten() for each in made.policy.parameters() if each.grad is not None]))
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=0)


def test_entropy_is_computed_only_where_it_counts():
    obs = collected(algorithm()).samples.ids
    assert algorithm().policy.evaluate_actions(obs, obs)[2] is None
    assert algorithm(ent_coef=0.1).policy.evaluate_actions(obs, obs)[2].min() > 0


def test_a_policy_predicts_continuations_of_prompts():
    made = algorithm()
    greedy, _ = made.predict(made.env.reset(), deterministic=True)
    again, _ = made.predict(made.env.reset(), deterministic=True)
    assert greedy.shape == (16, 8) and np.array_equal(greedy, again)


@pytest.mark.parametrize("kind", [LMPPO, LMTRPO])
def test_adapters_alone_are_trained_and_the_reference_is_the_model_without_them(kind, model):
    before = {name: each.clone() for name, each in model.state_dict().items()}
    made = algorithm(kind, model=with_lora(model, rank=4))
    made.learn_episodes(32)
    with made._reference() as reference, torch.no_grad():
        samples = tiny_text.ragged([3, 5])
        frozen = log_probs(reference, samples)
    torch.testing.assert_close(frozen, log_probs(tiny_text.model(), samples).detach(), atol=1e-5, rtol=0)
    assert not torch.allclose(log_probs(made.language_model, samples).detach(), frozen)
    after = made.language_model.get_base_model().state_dict()
    assert all(torch.equal(after[name.replace(".weight", ".base_layer.weight")], each)
               for name, each in before.items() if "c_attn.weight" in name)  # fmt: skip

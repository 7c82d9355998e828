"""A reward model: centred, combined, kept, and paid to a policy."""

from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
import torch

from prefrl.files import Unreadable
from prefrl.text.algorithms import LMPPO
from prefrl.text.environment import Prompts
from prefrl.text.reward_model import Pessimism, RewardModel, least, mean
from prefrl.text.samples import Prompt
from prefrl.text.tokens import train_tokenizer
from tests import tiny_text

SCORES = np.array([[1.0, 4.0], [3.0, 0.0]])


@pytest.fixture
def rewards(model):
    return RewardModel.of(model, tiny_text.tokenizer(), 48, 16, members=2)


def written(rewards, count=20):
    posts = tiny_text.posts(count, sentences=1)
    return posts, [post.body[: 4 + i] for i, post in enumerate(posts)]


def test_detail_6_references_score_0_on_average_after_centring(rewards):
    references = rewards.read(*written(rewards))
    before = rewards.scores(references)
    assert abs(before.mean(1)).min() > 1e-2
    assert rewards.centre(references) == pytest.approx(before.mean(), abs=1e-5)
    after = rewards.scores(references)
    np.testing.assert_allclose(after.mean(1), np.zeros(2), atol=1e-3)
    np.testing.assert_allclose(after - before, np.repeat(-before.mean(1, keepdims=True), 20, 1), atol=1e-4)
    assert abs(rewards.centre(references)) < 1e-3


def test_members_are_combined_by_mean_least_or_what_they_agree_on():
    assert mean(SCORES).tolist() == [2, 2]
    assert least(SCORES).tolist() == [1, 0]
    assert Pessimism(0.5)(SCORES).tolist() == [2 - 0.5 * 1, 2 - 0.5 * 2]
    assert Pessimism(0)(SCORES).tolist() == mean(SCORES).tolist()
    for weight in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="weight must be a number from 0 on"):
            Pessimism(weight)


def test_scores_are_those_of_the_ensemble_that_the_learner_fits(rewards):
    samples = rewards.read(*written(rewards))
    np.testing.assert_allclose(rewards.scores(samples), rewards.ensemble.returns(samples.segments()), atol=1e-5)


def test_a_batch_scores_what_its_texts_score_alone(rewards):
    posts, texts = written(rewards, 40)
    together = rewards.judge(posts, texts)
    alone = [rewards.judge([post], [text])[0] for post, text in zip(posts, texts)]
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_a_policy_with_the_same_tokenizer_is_paid_by_its_tokens(rewards):
    samples = rewards.read(*written(rewards))
    paid = rewards.reward(tiny_text.tokenizer())(samples, [Prompt("")] * 20, [""] * 20)
    np.testing.assert_allclose(paid, rewards.scores(samples).mean(0), atol=1e-6)


def test_a_policy_with_another_tokenizer_is_paid_by_its_texts(rewards):
    posts, texts = written(rewards)
    other = train_tokenizer([post.body for post in posts], 300)
    theirs = RewardModel(rewards.ensemble, other, 120, 40).read(posts, texts)
    paid = rewards.reward(other, least)(theirs, posts, theirs.texts(other))
    np.testing.assert_allclose(paid, rewards.judge(posts, texts, least), atol=1e-5)


def test_what_asks_for_the_continuation_is_read_by_the_members_however_long_a_prompt_is(rewards):
    """In the members' tokens it is cut anew, if those are not the policy's."""
    posts, _ = written(rewards)
    other = train_tokenizer([post.body for post in posts], 300)
    long = [replace(post, body=post.body * 20, tail=" TL;DR:") for post in posts]
    environment = Prompts(long, other, rewards.reward(other), 4, 40, 16, seed=0)
    environment.reset()
    with patch.object(RewardModel, "judge", return_value=np.zeros(4)) as judge:
        environment.step(np.full((4, 16), other.eos_token_id))
    seen = rewards.read(*judge.call_args.args[:2]).prompt_texts(rewards.tokenizer)
    assert len(seen) == 4 and all(prompt.endswith(" TL;DR:") for prompt in seen)


def test_what_was_saved_is_the_same_reward(rewards, tmp_path):
    posts, texts = written(rewards)
    rewards.centre(rewards.read(posts, texts))
    for _ in range(2):  # an older one is replaced
        rewards.save(tmp_path / "reward")
    found = RewardModel.load(tmp_path / "reward")
    assert (found.prompt_length, found.response_length, len(found.ensemble)) == (48, 16, 2)
    assert np.array_equal(found.judge(posts, texts), rewards.judge(posts, texts))
    assert [path.name for path in tmp_path.iterdir()] == ["reward"]


def test_a_folder_without_a_reward_is_refused_by_name(rewards, tmp_path):
    with pytest.raises(Unreadable, match="is no reward model"):
        RewardModel.load(tmp_path)
    rewards.save(tmp_path / "reward")
    (tmp_path / "reward" / "reward.safetensors").write_bytes(b"broken")
    with pytest.raises(Unreadable, match="reward cannot be read"):
        RewardModel.load(tmp_path / "reward")


def test_the_same_seed_makes_the_same_heads(model):
    posts, texts = tiny_text.posts(3, sentences=1), ["a", "b", "c"]
    made = [RewardModel.of(model, tiny_text.tokenizer(), 48, 16, 2, seed).judge(posts, texts) for seed in (0, 0, 1)]
    assert np.array_equal(made[0], made[1]) and not np.allclose(made[0], made[2])


def test_a_policy_learns_from_it_with_a_value_net_that_starts_as_its_first_member(model, rewards):
    posts, texts = written(rewards)
    rewards.centre(rewards.read(posts, texts))
    algorithm = LMPPO(
        model,
        tiny_text.tokenizer(),
        posts,
        rewards.reward(tiny_text.tokenizer(), Pessimism()),
        value_from=rewards.nets[0],
        prompt_length=48,
        response_length=8,
        n_sequences=4,
        batch_size=2,
        n_epochs=1,
    )
    value = algorithm.policy.value_model
    assert torch.equal(value.head.weight, rewards.nets[0].head.weight) and value.head is not rewards.nets[0].head
    before = rewards.ensemble.to_bytes()
    algorithm.learn(8)
    assert rewards.ensemble.to_bytes() == before  # frozen
    assert not torch.equal(algorithm.policy.value_model.head.weight, rewards.nets[0].head.weight)

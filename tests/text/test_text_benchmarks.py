"""What the benchmarks of the text mode measure against is what it is said to be."""

import numpy as np
import pytest
import torch

from experiments.benchmarks import text_task
from experiments.benchmarks.text_generation import theirs
from experiments.benchmarks.text_per_token import LastHidden, Tokens
from prefrl.text.models import backbone
from prefrl.text.scratch import new_model


@pytest.fixture(scope="module")
def tokenizer():
    return text_task.tokenizer()


def test_a_word_is_a_token(tokenizer):
    assert all(len(tokenizer.encode(f" {word}")) == 1 for word in text_task.WORDS)


def test_quality_is_the_share_of_liked_words():
    liked, other = text_task.WORDS[0], text_task.WORDS[1]
    assert text_task.quality(f"{liked} {other} {other} {liked}") == 0.5
    assert text_task.quality("") == 0.0


def test_an_episode_of_tokens_is_paid_when_it_ends(tokenizer):
    venv = Tokens(text_task.prompts(4, 6, seed=0), tokenizer, n_envs=2, longest=3)
    begun = venv.reset()
    liked, other = (tokenizer.encode(f" {word}")[0] for word in text_task.WORDS[:2])
    steps = [venv.step(np.array(acts)) for acts in ([liked, other], [liked, tokenizer.eos_token_id], [other, liked])]
    assert [rewards.tolist() for _, rewards, _, _ in steps] == [[0, 0], [0, 0], [pytest.approx(2 / 3), 0]]
    assert [done.tolist() for _, _, done, _ in steps] == [[False, False], [False, True], [True, False]]
    after_one, after_two = steps[0][0], steps[1][0]
    assert after_one[0].tolist() == [*begun[0, :6], liked, *begun[0, 7:]]
    assert not (after_two[1] == after_one[1]).all() and (after_two[1, 6:] == tokenizer.pad_token_id).all()


def test_a_row_per_token_shows_the_hidden_state_of_the_text_so_far(tokenizer):
    base = backbone(new_model(tokenizer, width=32, context=12))
    venv = Tokens(text_task.prompts(2, 6, seed=0), tokenizer, n_envs=2, longest=6)
    features = LastHidden(venv.observation_space, base, 32, tokenizer.pad_token_id)
    obs = venv.reset()
    obs[1, 6:8] = obs[1, :2]
    with torch.no_grad():
        found = features(torch.from_numpy(obs).float())
        expected = [
            base(input_ids=torch.from_numpy(obs[i : i + 1, :n])).last_hidden_state[0, -1] for i, n in ((0, 6), (1, 8))
        ]
    torch.testing.assert_close(found, torch.stack(expected))


def test_tokens_of_transformers_count_until_the_text_ends(tokenizer):
    class Ended:
        def generate(self, input_ids, **_):
            eos, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
            return torch.cat([input_ids, torch.tensor([[9, eos, pad], [9, 9, 9]])], 1)

    assert theirs(Ended(), tokenizer, torch.full((2, 4), 9), 3) == 5

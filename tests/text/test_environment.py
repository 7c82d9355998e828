"""Prompts as an environment, and what a reward may not say."""

import numpy as np
import pytest
import torch
from stable_baselines3.common.vec_env import VecEnv

from prefrl.text.environment import Prompts, on_text
from prefrl.text.samples import Prompt
from tests import tiny_text


def length(prompts, texts):
    return [float(len(text)) for text in texts]


def environment(prompts=5, reward=None, sequences=2, seed=0):
    posts = tiny_text.posts(prompts)
    return Prompts(posts, tiny_text.tokenizer(), reward or on_text(length), sequences, 64, 6, seed)


def said(texts):
    return tiny_text.to_samples(tiny_text.tokenizer(), tiny_text.posts(len(texts)), texts, 40, 6).responses.numpy()


def test_a_step_scores_whole_continuations_and_ends_all_episodes():
    seen = []
    venv = environment(reward=on_text(lambda prompts, texts: seen.extend(zip(prompts, texts)) or [1.0, 2.0]))
    assert isinstance(venv, VecEnv)
    observed = venv.reset()
    following, scores, dones, infos = venv.step(said(["a cat", "the dog"]))
    assert scores.tolist() == [1, 2] and dones.all() and following.shape == observed.shape
    assert [text for _, text in seen] == ["a cat", "the dog"] == [info["text"] for info in infos]
    prompts = [tiny_text.tokenizer().decode(ids, skip_special_tokens=True) for ids in observed]
    assert [prompt for prompt, _ in seen] == prompts == [info["prompt"] for info in infos]


def test_every_pass_continues_every_prompt_once_in_an_order_of_its_own():
    venv, rows = environment(prompts=6), []
    for _ in range(9):
        rows += venv.rows().tolist()
        venv.position += 2
    passes = [rows[:6], rows[6:12], rows[12:]]
    assert all(sorted(each) == [*range(6)] for each in passes) and passes[0] != passes[1]


def test_the_position_alone_decides_which_prompts_come():
    first, second = environment(prompts=5, sequences=3), environment(prompts=5, sequences=3)
    first.step(np.ones((3, 6), dtype=np.int64) * 5)
    second.position = 3
    assert np.array_equal(first.reset(), second.reset())


def test_prompts_that_were_cut_are_counted():
    assert Prompts(tiny_text.posts(4, sentences=3), tiny_text.tokenizer(), on_text(length), 2, 20, 6, 0).cut == 4
    assert environment().cut == 0


def test_no_prompts_are_refused():
    with pytest.raises(ValueError, match="there are no prompts"):
        environment(prompts=0)


def test_empty_prompts_are_refused_with_their_index():
    with pytest.raises(ValueError, match="prompt 1 is empty"):
        Prompts([Prompt("a"), Prompt("")], tiny_text.tokenizer(), on_text(length), 2, 64, 6, 0)


def raising(prompts, texts):
    raise KeyError(next((text for text in texts if "dog" in text), "nothing"))


def missing(prompts, texts):
    return [1.0]


def undefined(prompts, texts):
    return [float("nan") if "dog" in text else 1.0 for text in texts]


def huge(prompts, texts):
    return [1e300 if "dog" in text else 1.0 for text in texts]


def worded(prompts, texts):
    return ["good" for _ in texts]


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        (raising, r"the reward raising raised KeyError: 'the dog'; on 'a cat' \(test_environment.py, line \d+\)"),
        (missing, r"the reward missing gave scores of shape \(1,\) for 2 continuations, the first of which is 'a cat'"),
        (undefined, "the reward undefined gave nan for 'the dog'"),
        (huge, r"the reward huge gave 1e\+300 for 'the dog': give one from -1e6 to 1e6"),
        (worded, "the reward worded raised ValueError: could not convert"),
    ],
)
def test_a_reward_that_says_nothing_usable_is_named_with_a_text_and_nothing_moves(function, complaint):
    venv = environment(reward=on_text(function))
    with pytest.raises(ValueError, match=complaint):
        venv.step(said(["a cat", "the dog"]))
    assert venv.position == 0


def test_the_text_at_which_a_reward_raises_is_found():
    def fussy(prompts, texts):
        return [1 / (text != "the dog") for text in texts]

    with pytest.raises(ValueError, match=r"ZeroDivisionError: .* on 'the dog'"):
        environment(reward=on_text(fussy)).step(said(["a cat", "the dog"]))


@pytest.mark.parametrize("kind", [torch.tensor, np.array, lambda scores: [torch.tensor(score) for score in scores]])
def test_a_reward_of_texts_may_give_arrays_or_tensors(kind):
    scores = environment(reward=on_text(lambda prompts, texts: kind([1.0, 2.0]))).step(said(["a", "b"]))[1]
    assert scores.tolist() == [1, 2]


def test_a_reward_of_texts_may_keep_gradients():
    with_gradient = torch.tensor([1.0, 2.0], requires_grad=True)
    scores = environment(reward=on_text(lambda prompts, texts: with_gradient)).step(said(["a", "b"]))[1]
    assert scores.tolist() == [1, 2]


def test_a_reward_on_tokens_is_told_of_in_the_same_way():
    def broken(samples, prompts, texts):
        raise RuntimeError("out of cats")

    with pytest.raises(ValueError, match="the reward broken raised RuntimeError: out of cats"):
        environment(reward=broken).step(said(["a cat", "the dog"]))


def test_scores_may_be_anything_that_counts():
    given = torch.tensor([1.0, 2.0])
    assert environment(reward=lambda *_: given).step(said(["a", "b"]))[1].dtype == np.float32

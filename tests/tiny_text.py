"""Made-up texts, and language models small enough to train in a test."""

from functools import cache

import numpy as np
import torch

from prefrl.text.samples import Example, Prompt, Samples
from prefrl.text.scratch import new_model
from prefrl.text.tokens import encode_prompts, to_samples, train_tokenizer

WHO = ("the cat", "a dog", "the old man", "my sister", "a child", "the bird")
DOES = ("sees", "likes", "follows", "paints", "hears", "meets")
WHERE = ("in the garden", "at home", "by the river", "near the station", "on the hill")


def sentence(rng):
    """Such as "a dog follows the cat by the river"."""
    first, second = rng.choice(len(WHO), 2, replace=False)
    return f"{WHO[first]} {rng.choice(DOES)} {WHO[second]} {rng.choice(WHERE)}"


def posts(count, seed=0, sentences=2):
    """Prompts that ask what happens, each about a few sentences."""
    rng = np.random.default_rng(seed)
    return [Prompt("\n".join(sentence(rng) for _ in range(sentences)), "POST: ", "\nTL;DR:") for _ in range(count)]


def examples(count, seed=0):
    """Posts whose references are their first sentence."""
    return [Example(post, (post.body.split("\n")[0],), f"post-{i}") for i, post in enumerate(posts(count, seed))]


@cache
def tokenizer(vocab=320):
    """Byte-level BPE of the made-up texts."""
    return train_tokenizer([f"{post} {post.body}" for post in posts(100)], vocab)


def model(seed=0, layers=2, width=32, heads=2, context=128):
    """A GPT-2 that has learned nothing yet."""
    return new_model(tokenizer(), layers, width, heads, context, seed)


def prompt_ids(count=4, seed=0, longest=48):
    """Token ids of posts of one to three sentences: their lengths differ."""
    many = [post for sentences in (1, 2, 3) for post in posts(count, seed, sentences)]
    return encode_prompts(
        tokenizer(), [many[i] for i in np.random.default_rng(seed).permutation(len(many))[:count]], longest
    )[0]


def written(count=6, seed=0, longest=48, response=16):
    """Posts with continuations of different lengths, some too long to end."""
    rng = np.random.default_rng(seed)
    texts = [" ".join(sentence(rng).split()[: int(rng.integers(1, 8))]) for _ in range(count)]
    return to_samples(tokenizer(), posts(count, seed, 1), texts, longest, response)


def ragged(lengths, prompts=(3, 5, 1), eos=True, seed=0):
    """Random tokens: continuations of given `lengths`, padded to the longest, with prompts of different lengths."""
    tok, rng = tokenizer(), np.random.default_rng(seed)
    wide, long = max(prompts), max(lengths)
    left, right = (torch.full((len(lengths), width), tok.pad_token_id) for width in (wide, long))
    for row, length in enumerate(lengths):
        words = prompts[row % len(prompts)]
        left[row, wide - words :] = torch.from_numpy(rng.integers(2, len(tok), words))
        right[row, :length] = torch.from_numpy(rng.integers(2, len(tok), length))
        if eos and length < long:
            right[row, length - 1] = tok.eos_token_id
    return Samples(left, right, tok.pad_token_id, tok.eos_token_id)

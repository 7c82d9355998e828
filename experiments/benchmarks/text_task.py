"""A made-up language for benchmarks of the text mode: words of two syllables, of which one half is liked."""

from itertools import product

import numpy as np
from transformers import PreTrainedTokenizerFast

from prefrl.text.samples import Prompt
from prefrl.text.tokens import encode_prompts, train_tokenizer

SYLLABLES = [c + v for c, v in product("bdgkl", "ao")]
WORDS = ["".join(pair) for pair in product(SYLLABLES, SYLLABLES)]
LIKED = frozenset(WORDS[::2])
VOCABULARY = 600
"""All bytes, and room for every word with its space to become one token."""


def sentences(n: int, shortest: int, longest: int, seed: int) -> list[str]:
    """Random words, `shortest` to `longest` of them."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(shortest, longest + 1))) for _ in range(n)]


def leaning(n: int, shortest: int, longest: int, rng: np.random.Generator) -> list[str]:
    """Sentences with any share of liked words, all shares as often."""
    liked, others = WORDS[::2], WORDS[1::2]
    found = []
    for share in rng.random(n):
        likes = rng.random(rng.integers(shortest, longest + 1)) < share
        found.append(" ".join(rng.choice(liked if like else others) for like in likes))
    return found


def tokenizer() -> PreTrainedTokenizerFast:
    """Of one token per word."""
    return train_tokenizer((f" {text}" for text in sentences(2_000, 8, 24, seed=0)), VOCABULARY)


def prompts(n: int, tokens: int, seed: int) -> list[Prompt]:
    """Of exactly so many tokens."""
    found = [Prompt(f" {text}") for text in sentences(n, tokens, tokens, seed)]
    ids, cut = encode_prompts(tokenizer(), found[:1], 2 * tokens)
    assert ids.shape == (1, tokens) and not cut
    return found


def quality(text: str) -> float:
    """Share of its words that are liked; 0 for no words."""
    words = text.split()
    return sum(word in LIKED for word in words) / max(len(words), 1)

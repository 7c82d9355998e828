"""Continuations of prompts, by policies and by people, and pairs of them to be compared."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal
from zlib import crc32

import numpy as np
import torch
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from prefrl.text.generate import generate
from prefrl.text.models import LanguageModel
from prefrl.text.samples import Example
from prefrl.text.tokens import encode_prompts

Sampler = Callable[[Sequence[Example], int], list[str]]
"""(examples, seed) -> a continuation of each; an example that comes several times gets as many of its own."""
Side = tuple[str, str]
"""Name of the policy, and what it said."""
Pair = tuple[Example, Side, Side]
Kind = Literal["paired", "k-wise"]


def references(examples: Sequence[Example], seed: int) -> list[str]:
    """People as a policy: every time that an example comes, another of its references, as long as there are any."""
    rng = np.random.default_rng(seed)
    orders: dict[Example, list[str]] = {}
    found = []
    for index, example in enumerate(examples):
        if not example.references:
            raise ValueError(f"example {index} has no reference: leave it out, or let references take no part")
        if not orders.get(example):
            orders[example] = rng.permutation(np.array(example.references, dtype=object)).tolist()
        found.append(orders[example].pop())
    return found


@dataclass(frozen=True)
class Policy:
    """A language model as a sampler."""

    model: LanguageModel
    tokenizer: PreTrainedTokenizerBase
    prompt_length: int = 512
    """Tokens; longer prompts are cut."""
    response_length: int = 48
    temperature: float = 1.0
    """0 is greedy, and gives the same continuation each time."""
    at_once: int = 64
    """Sequences in one batch."""
    progress: bool = False
    """Whether a bar is shown on a terminal."""

    def __call__(self, examples: Sequence[Example], seed: int) -> list[str]:
        found: list[str] = []
        generator = torch.Generator(self.model.device).manual_seed(seed)
        starts = range(0, len(examples), self.at_once)
        for start in tqdm(starts, "generate", unit="batch", disable=None if self.progress else True):
            chosen = [example.prompt for example in examples[start : start + self.at_once]]
            prompts, _ = encode_prompts(self.tokenizer, chosen, self.prompt_length)
            samples = generate(
                self.model,
                self.tokenizer,
                prompts.to(self.model.device),
                self.response_length,
                temperature=self.temperature,
                generator=generator,
            )
            found += samples.texts(self.tokenizer)
        return found


def sample_pairs(
    examples: Sequence[Example],
    policies: Mapping[str, Sampler],
    rng: np.random.Generator,
    per_prompt: int = 1,
    kind: Kind = "paired",
) -> list[Pair]:
    """Of every example `per_prompt` pairs, or all pairs of `per_prompt` continuations (k-wise); sides at random.

    Who says what is drawn at random, every policy as often as it can: `references` once for each that there is. Pairs
    of the same text are left out, and so are pairs that are there already.
    """
    wanted = 2 * per_prompt if kind == "paired" else per_prompt
    speakers = [_speakers(example, policies, wanted, rng) for example in examples]
    said = _said(examples, policies, speakers, int(rng.integers(2**62)))
    pairs: list[Pair] = []
    for example, sides in zip(examples, said, strict=True):
        if kind == "k-wise":
            chosen = list(combinations({text: (name, text) for name, text in sides}.values(), 2))
        else:
            chosen = [*zip(sides[::2], sides[1::2])]
        once = {frozenset((a[1], b[1])): (a, b) for a, b in chosen if a[1] != b[1]}
        pairs += [(example, *((b, a) if rng.random() < 0.5 else (a, b))) for a, b in once.values()]
    return pairs


def _speakers(example: Example, policies: Mapping[str, Sampler], wanted: int, rng: np.random.Generator) -> list[str]:
    """Whose continuations are compared."""
    most = {name: len(example.references) if policy is references else wanted for name, policy in policies.items()}
    pool = [name for name, count in most.items() for _ in range(min(count, wanted))]
    return [pool[i] for i in rng.permutation(len(pool))[:wanted]]


def _said(
    examples: Sequence[Example], policies: Mapping[str, Sampler], speakers: Sequence[Sequence[str]], seed: int
) -> list[list[Side]]:
    """What the speakers of each example say; every policy is called once."""
    asked: dict[str, list[Example]] = defaultdict(list)
    for example, names in zip(examples, speakers, strict=True):
        for name in names:
            asked[name].append(example)
    said = {name: iter(_of(name, policies[name], of, seed)) for name, of in asked.items()}
    return [[(name, next(said[name])) for name in names] for names in speakers]


def stream(seed: int, name: str) -> int:
    """A seed for what one of several policies draws: chances that they shared would make their texts alike."""
    return int(np.random.default_rng([seed, crc32(name.encode())]).integers(2**62))


def _of(name: str, policy: Sampler, examples: Sequence[Example], seed: int) -> list[str]:
    texts = policy(examples, stream(seed, name))
    if len(texts) != len(examples):
        raise ValueError(
            f"the policy {name!r} gives {len(texts)} continuations of {len(examples)} prompts: give each one"
        )
    return texts

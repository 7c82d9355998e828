"""Who says which of two continuations is better: any function of texts, or a language model that is asked."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real

import torch
from transformers import PreTrainedTokenizerBase

from prefrl.text.models import LanguageModel, autocast, call, context_of
from prefrl.text.samples import Prompt, positions
from prefrl.text.tokens import encode_prompts
from prefrl.types import Segment

Judge = Callable[[str, str, str], float | None]
"""(prompt, left, right) -> chance that the continuation `left` is better, in [0, 1], or None for "cannot tell"."""
TRIED = 8
"""Pairs that a judge is asked about both ways: one that tosses a coin answers with one side in 1 of 32,768 cases."""
USAGE = ": let it take (prompt, left, right) and give the chance that left is better, from 0 to 1, or None"


class BadJudge(ValueError):
    """A judge said nothing that can be learned from."""


def verdict(judge: Judge, prompt: str, left: str, right: str) -> float | None:
    """What the judge says of the pair, as a plain number.

    Raises BadJudge, a ValueError, that names the judge and the pair where it raises or says nothing usable.
    """
    try:
        said: object = judge(prompt, left, right)
    except BadJudge:
        raise
    except Exception as error:
        usage = USAGE if isinstance(error, TypeError) else ""  # memory may be short, or a prompt unknown
        raise _bad(judge, f"raised {type(error).__name__}: {error}", usage, prompt, left, right) from error
    try:
        plain = said.item() if hasattr(said, "item") else said  # of NumPy and torch
    except Exception as error:
        raise _bad(judge, f"gave {type(said).__name__}: {error}", USAGE, prompt, left, right) from error
    if plain is None:
        return None
    if isinstance(plain, Real) and 0 <= float(plain) <= 1:
        return float(plain)
    raise _bad(judge, f"gave {said!r:.40}", USAGE, prompt, left, right)


def check_sides(judge: Judge, pairs: Sequence[tuple[str, str, str]]) -> None:
    """Raises BadJudge for one that prefers one and the same side of all, and again when they are swapped."""
    if len(pairs) < TRIED:
        return
    answers = (
        verdict(judge, prompt, *sides) for prompt, *both in pairs[:TRIED] for sides in ((*both,), (*both[::-1],))
    )
    if (side := _side(next(answers))) and all(_side(answer) == side for answer in answers):
        name = "left" if side > 0 else "right"
        raise BadJudge(
            f"{_name(judge)} prefers the {name} one of {TRIED} pairs, and again with the sides swapped: let it tell "
            f"by the texts, and try it with prefrl.testing.check_judge"
        )


@dataclass(frozen=True)
class OnSegments:
    """An oracle for segments of text: the judge gets their prompt and continuations in words.

    Raises ValueError for two segments of different prompts, and BadJudge as `verdict` does.
    """

    judge: Judge
    tokenizer: PreTrainedTokenizerBase
    """The one that the segments were recorded with."""

    def __call__(self, left: Segment, right: Segment) -> float | None:
        prompt, ours = read(self.tokenizer, left)
        other, theirs = read(self.tokenizer, right)
        if prompt != other:
            raise ValueError(
                f"continuations of different prompts cannot be compared: {prompt[-40:]!r} and {other[-40:]!r}"
            )
        return verdict(self.judge, prompt, ours, theirs)


def read(tokenizer: PreTrainedTokenizerBase, segment: Segment) -> tuple[str, str]:
    """Prompt, as far as it was not cut, and continuation, without special tokens and surrounding space."""
    ids, told = segment.obs, segment.acts == 1
    return in_words(tokenizer, ids[~told].tolist()), in_words(tokenizer, ids[told].tolist())


def in_words(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    """Tokens as text, without special tokens and surrounding space."""
    return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)).strip()


@dataclass(frozen=True)
class LanguageModelJudge:
    """Chance of a judge's two answer words, asked in both orders so that no place has an advantage (Zheng et al. 2023).

    The log-odds of the two orders are averaged: swapping the sides mirrors the answer, and the same text ties with
    itself. Prompts that are too long for the model are cut as policies' are. Raises ValueError for a word that the
    other begins with: their odds could not be told.
    """

    model: LanguageModel
    tokenizer: PreTrainedTokenizerBase
    question: str = "Which of two summaries of a text is better? Text:\n\n"
    words: tuple[str, str] = (" A", " B")
    """What the summaries are called, as the model would go on; the first token in which they differ counts."""

    def __post_init__(self) -> None:
        self._answers()

    def __call__(self, prompt: str, left: str, right: str) -> float:
        if left > right:  # one order of computation for both, so that not even rounding tells them apart
            return 1 - self(prompt, right, left)
        ours, theirs = self._odds(prompt, (left, right), (right, left))
        return 1 / (1 + math.exp((theirs - ours) / 2))

    def _answers(self) -> tuple[list[int], list[int]]:
        """Tokens that both words begin with, and the first of each in which they differ."""
        a, b = (self.tokenizer.encode(word, add_special_tokens=False) for word in self.words)
        for place, both in enumerate(zip(a, b)):
            if both[0] != both[1]:
                return a[:place], [*both]
        raise ValueError(f"one of {self.words[0]!r} and {self.words[1]!r} begins with the other: give other words")

    def _odds(self, prompt: str, *orders: tuple[str, str]) -> list[float]:
        """Log-odds that the one that is shown first is better, per order."""
        shared, words = self._answers()
        asked = [Prompt(prompt, self.question, self._ending(*order)) for order in orders]
        ids, _ = encode_prompts(self.tokenizer, asked, context_of(self.model) - len(shared))
        ids = torch.cat([ids, ids.new_tensor(shared).expand(len(ids), -1)], 1).to(self.model.device)
        attention = ids != self.tokenizer.pad_token_id
        with torch.no_grad(), autocast(self.model):
            out = call(self.model, ids, attention, positions(attention), use_cache=False, logits_to_keep=1)
        scores = out.logits[:, -1, words].double()
        odds: list[float] = (scores[:, 0] - scores[:, 1]).tolist()
        return odds

    def _ending(self, first: str, second: str) -> str:
        a, b = (word.strip() for word in self.words)
        return f"\n\nSummary {a}: {first}\n\nSummary {b}: {second}\n\nThe better one is summary"


def _side(answer: float | None) -> int:
    """1: left, -1: right, 0: a tie, or cannot tell."""
    return 0 if answer is None else (answer > 0.5) - (answer < 0.5)


def _bad(judge: Judge, trouble: str, usage: str, *pair: str) -> BadJudge:
    prompt, left, right = (f"{text[:40]!r}" for text in pair)
    return BadJudge(f"{_name(judge)} {trouble}; on {prompt} with {left} and {right}{usage}")


def _name(judge: Judge) -> str:
    return f"the judge {getattr(judge, '__name__', type(judge).__name__)}"

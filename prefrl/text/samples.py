"""Prompts and their continuations, as texts and as tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from prefrl.types import Segment

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Prompt:
    """What is to be continued: where it is too long, only `body` is cut, at its end, never `head` and `tail`."""

    body: str
    head: str = ""
    """What stands before it, such as `SUBREDDIT: r/..`, `TITLE: ..` and `POST:`."""
    tail: str = ""
    """What asks for the continuation, such as two line ends and `TL;DR:`."""

    def __str__(self) -> str:
        return self.head + self.body + self.tail


@dataclass(frozen=True)
class Example:
    """A prompt and what people wrote for it."""

    prompt: Prompt
    references: tuple[str, ...] = ()
    """Without leading space and end-of-text token."""
    id: str = ""


@dataclass(frozen=True, eq=False)
class Samples:
    """Prompts with one continuation each: queries padded on the left, continuations on the right."""

    prompts: Tensor
    """Token ids, (B, P) int64, left-padded."""
    responses: Tensor
    """Token ids, (B, R) int64, right-padded; the end-of-text token is there where it came."""
    pad: int
    """Token that stands for nothing, and for nothing else: never the end-of-text token."""
    eos: int

    def __post_init__(self) -> None:
        if self.pad == self.eos:
            raise ValueError("padding needs a token of its own, not the end of text: use prefrl.text.load_tokenizer")
        if len(self.prompts) != len(self.responses):
            raise ValueError(
                f"{len(self.prompts)} prompts cannot have {len(self.responses)} continuations: give each one"
            )

    def __len__(self) -> int:
        return len(self.prompts)

    def __getitem__(
        self, rows: "slice | Sequence[int] | Tensor | np.ndarray[tuple[int], np.dtype[np.int64]]"
    ) -> "Samples":
        """Those of some rows, in their order."""
        index = rows if isinstance(rows, slice) else torch.as_tensor(rows, device=self.prompts.device)
        return Samples(self.prompts[index], self.responses[index], self.pad, self.eos)

    @property
    def mask(self) -> Tensor:
        """Which tokens of the continuations are real, (B, R) bool; the end-of-text token is."""
        return self.responses != self.pad

    @property
    def lengths(self) -> Tensor:
        """Real tokens of each continuation, (B,) int64."""
        return self.mask.sum(1)

    @property
    def ended(self) -> Tensor:
        """Which continuations hold their end-of-text token, (B,) bool."""
        return (self.responses == self.eos).any(1)

    @property
    def ids(self) -> Tensor:
        """Prompt and continuation in one row, (B, P + R) int64."""
        return torch.cat([self.prompts, self.responses], 1)

    @property
    def attention(self) -> Tensor:
        """Which tokens of `ids` are real, (B, P + R) bool."""
        return self.ids != self.pad

    @property
    def positions(self) -> Tensor:
        """Number of real tokens before each of `ids`, (B, P + R) int64: what lies left of the prompt does not count."""
        return positions(self.attention)

    def to(self, device: torch.device | str) -> "Samples":
        """The same samples on another device."""
        return Samples(self.prompts.to(device), self.responses.to(device), self.pad, self.eos)

    def trimmed(self) -> "Samples":
        """The same samples without the columns that are padding in all of them."""
        prompt = max(int((self.prompts != self.pad).sum(1).max()), 1)
        response = max(int(self.lengths.max()), 1)
        return Samples(self.prompts[:, -prompt:], self.responses[:, :response], self.pad, self.eos)

    def segments(self) -> list[Segment]:
        """One segment each: the `ids` as observations (int32), 1 at the continuation's real tokens as acts (uint8)."""
        ids = self.ids.cpu().numpy().astype(np.int32)
        acts = np.zeros(ids.shape, np.uint8)
        acts[:, self.prompts.shape[1] :] = self.mask.cpu().numpy()
        return [Segment(obs=row, acts=which) for row, which in zip(ids, acts, strict=True)]

    def texts(self, tokenizer: "PreTrainedTokenizerBase") -> list[str]:
        """The continuations in words, without special tokens and surrounding space."""
        return _words(tokenizer, self.responses)

    def prompt_texts(self, tokenizer: "PreTrainedTokenizerBase") -> list[str]:
        """The prompts in words, as far as they were not cut."""
        return _words(tokenizer, self.prompts)


def cat(many: Sequence[Samples]) -> Samples:
    """Samples of equal widths, one after another."""
    if not many:
        raise ValueError("there are no samples to put together")
    first = many[0]
    return Samples(
        torch.cat([each.prompts for each in many]), torch.cat([each.responses for each in many]), first.pad, first.eos
    )


def positions(attention: Tensor) -> Tensor:
    """Position of each token among the real ones of its row, (B, T) int64; 0 at padding before them."""
    return (attention.long().cumsum(1) - 1).clamp(min=0)


def _words(tokenizer: "PreTrainedTokenizerBase", ids: Tensor) -> list[str]:
    return [
        str(text).strip()
        for text in tokenizer.batch_decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    ]

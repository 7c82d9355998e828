"""Learning from what people wrote: plain text first, then continuations of prompts."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerBase

from prefrl.text.descent import Descent, Work, settled, split
from prefrl.text.generate import log_probs
from prefrl.text.kept import digest
from prefrl.text.models import LanguageModel, autocast, context_of
from prefrl.text.samples import Samples
from prefrl.text.tokens import plain_ids
from prefrl.types import Array


@dataclass(frozen=True)
class SFT(Descent):
    """Supervised fine-tuning: the mean cross-entropy of continuations' tokens; prompts are given, not learned.

    One epoch at a tenth of the rate is for models that were trained before (Stiennon et al. 2020, section 3.1).
    """

    def __call__(
        self,
        model: LanguageModel,
        samples: Samples,
        validation: Samples | None = None,
        *,
        seed: int = 0,
        folder: Path | None = None,
        progress: bool = False,
    ) -> dict[str, float]:
        """Changes the model in place; gives losses in nats per token. `folder`: where to save, and to go on from."""

        def parts(rows: Array) -> Iterator[Tensor]:
            tokens = int(samples[rows].lengths.sum())
            for some in split(rows, self.chunks):
                yield _nats(model, samples[some]) / tokens

        work = Work("sft", len(samples), parts, digest(samples.prompts, samples.responses))
        losses = self.descend(model, work, seed, folder, progress)
        found = {"sft/updates": float(len(losses)), "sft/loss": settled(losses)}
        if validation is None:
            return found
        return found | {"sft/validation_loss": nats_per_token(model, validation, self.batch)}


@dataclass(frozen=True)
class Pretrain(Descent):
    """Next-token cross-entropy of plain text, packed: all texts in one row, cut into blocks of one length."""

    block: int = field(default=512, kw_only=True)
    """Tokens per block, at most; fewer where the model's context is shorter."""

    def __call__(
        self,
        model: LanguageModel,
        tokenizer: PreTrainedTokenizerBase,
        texts: Iterable[str],
        validation: Iterable[str] = (),
        *,
        seed: int = 0,
        folder: Path | None = None,
        progress: bool = False,
    ) -> dict[str, float]:
        """Changes the model in place; gives losses in nats per token. `folder`: where to save, and to go on from."""
        length = min(self.block, context_of(model))
        blocks, judged = packed(tokenizer, texts, length), packed(tokenizer, validation, length)

        def parts(rows: Array) -> Iterator[Tensor]:
            for some in split(rows, self.chunks):
                yield _next_token(model, blocks[some]) * (len(some) / len(rows))

        losses = self.descend(model, Work("pretrain", len(blocks), parts, digest(blocks)), seed, folder, progress)
        found = {"pretrain/updates": float(len(losses)), "pretrain/loss": settled(losses)}
        if not len(judged):
            return found
        with torch.no_grad():
            each = [float(_next_token(model, some)) * len(some) for some in judged.split(self.batch)]
        return found | {"pretrain/validation_loss": sum(each) / len(judged)}


def packed(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str], length: int) -> Tensor:
    """Texts, each ended by the end-of-text token, in blocks of `length`, (blocks, length) int64; the rest is left out.

    A text shorter than a block shares it with the next one: no token of a block is padding.
    """
    ids = [token for text in plain_ids(tokenizer, [*texts]) for token in (*text, tokenizer.eos_token_id)]
    blocks = len(ids) // length
    return torch.tensor(ids[: blocks * length], dtype=torch.int64).view(blocks, length)


@torch.no_grad()
def nats_per_token(model: LanguageModel, samples: Samples, batch: int = 32) -> float:
    """Mean cross-entropy of the continuations' tokens; `batch` samples at a time."""
    model.eval()
    rows = np.arange(len(samples))
    total = sum(float(_nats(model, samples[rows[start : start + batch]])) for start in range(0, len(rows), batch))
    return total / int(samples.lengths.sum())


def _nats(model: LanguageModel, samples: Samples) -> Tensor:
    """Cross-entropy of the continuations, summed."""
    return -log_probs(model, samples.to(model.device)).sum()


def _next_token(model: LanguageModel, blocks: Tensor) -> Tensor:
    """Mean cross-entropy of a block's tokens but the first."""
    ids = blocks.to(model.device)
    with autocast(model):
        logits = model(input_ids=ids, use_cache=False).logits
    nats: Tensor = cross_entropy(logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten())
    return nats

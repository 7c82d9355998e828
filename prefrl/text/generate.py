"""Continuations of prompts, and how likely a model finds them: the same distribution in both."""

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from prefrl.text.models import LanguageModel, autocast, call, context_of
from prefrl.text.samples import Samples, positions


def generate(
    model: LanguageModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Tensor,
    longest: int,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Samples:
    """Continues left-padded prompts, (B, P) int64, by at most `longest` tokens each; 0 as temperature: the likeliest.

    Every token may be drawn with its own chance, without top-k or top-p (detail 10), but for the padding token.
    `generator` is torch's own on the model's device. Raises ValueError where the model's context is too short.
    """
    return continued(model, prompts, longest, tokenizer.pad_token_id, tokenizer.eos_token_id, temperature, generator)


@torch.no_grad()
def continued(
    model: LanguageModel,
    prompts: Tensor,
    longest: int,
    pad: int,
    eos: int,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Samples:
    """As `generate`, with the two tokens that it needs to know.

    The cache of keys and values holds only sequences that go on, once half of those in it have ended.
    """
    if not temperature >= 0:
        raise ValueError(f"temperature must be from 0, which is greedy, on, got {temperature}")
    if prompts.shape[1] + longest > context_of(model):
        raise ValueError(
            f"prompts of {prompts.shape[1]} tokens and continuations of {longest} are more than the model's "
            f"{context_of(model)}: shorten one of them"
        )
    samples = Samples(prompts, prompts.new_full((len(prompts), longest), pad), pad, eos)
    ids = samples.trimmed().prompts
    attention, cache = ids != pad, None
    rows, going = (torch.arange(len(ids), device=ids.device), ids.new_ones(len(ids), dtype=torch.bool))
    where = positions(attention)
    for column in range(longest):
        with autocast(model):
            out = call(model, ids, attention, where, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = out.past_key_values
        drawn = _draw(out.logits[:, -1], temperature, pad, generator)
        samples.responses[rows, column] = torch.where(going, drawn, pad)
        going &= drawn != eos
        left = int(going.sum())
        if not left:
            break
        where = where[:, -1:] + 1
        attention = torch.cat([attention, attention.new_ones(len(rows), 1)], 1)
        if 2 * left <= len(rows):
            cache.batch_select_indices(going)
            rows, drawn, where, attention = rows[going], drawn[going], where[going], attention[going]
            going = going[going]
        ids = drawn[:, None]
    return samples


def log_probs(model: LanguageModel, samples: Samples, temperature: float = 1.0) -> Tensor:
    """Log-probability of each token of the continuations, (B, R), 0 at padding; one forward."""
    flat = chosen(token_logits(model, samples.trimmed(), temperature), samples.responses[samples.mask])
    return spread(flat, samples.mask)


def token_logits(model: LanguageModel, samples: Samples, temperature: float = 1.0) -> Tensor:
    """Scores of all tokens at each real token of the continuations, one sequence after the other, (tokens, vocabulary).

    As `generate` draws from them: over `temperature` (detail 9), without the padding token.
    """
    width = samples.responses.shape[1]
    with autocast(model):
        out = call(model, samples.ids, samples.attention, samples.positions, use_cache=False, logits_to_keep=width + 1)
    return _scaled(out.logits[:, :-1][samples.mask], temperature, samples.pad)


def chosen(logits: Tensor, tokens: Tensor) -> Tensor:
    """Log-probabilities of some tokens, (tokens,), by scores of all, (tokens, vocabulary)."""
    return -torch.nn.functional.cross_entropy(logits, tokens, reduction="none")


def entropy_of(logits: Tensor) -> Tensor:
    """Entropy in nats of each token's distribution, (tokens,)."""
    logs = logits.log_softmax(-1)
    return -(logs.exp() * logs).sum(-1)


def kl_of(logits: Tensor, reference: Tensor) -> Tensor:
    """KL in nats of each token's distribution from the reference's, (tokens,), by scores of all, never negative."""
    logs, theirs = logits.log_softmax(-1), reference.log_softmax(-1)
    return (logs.exp() * (logs - theirs)).sum(-1).clamp(min=0)  # two that are the same may round to below it


def distance(model: LanguageModel, start: LanguageModel, drawn: Samples, temperature: float = 1.0) -> Tensor:
    """KL in nats of `model` from `start` on what the model drew, (B,): the sum over its tokens of `kl_of` (detail 14).

    Never negative, and varies less than the log-ratio of the tokens alone, which has the same mean.
    """
    own, begun = (token_logits(each, drawn, temperature) for each in (model, start))
    return spread(kl_of(own, begun), drawn.mask).sum(1)


def spread(flat: Tensor, mask: Tensor) -> Tensor:
    """Numbers of real tokens, one sequence after the other, at their places, (B, R); 0 elsewhere."""
    return flat.new_zeros(mask.shape).masked_scatter(mask, flat)


def _scaled(logits: Tensor, temperature: float, pad: int) -> Tensor:
    """Logits in float32 over the temperature; padding, which stands for no token, has no chance."""
    scaled = logits.float() / temperature
    scaled[:, pad] = torch.finfo(scaled.dtype).min
    return scaled


def _draw(logits: Tensor, temperature: float, pad: int, generator: torch.Generator | None) -> Tensor:
    """One token of each row, (B,): the first of exponential clocks that run at the tokens' chances to ring."""
    if not temperature:
        return _scaled(logits, 1.0, pad).argmax(-1)
    chances = _scaled(logits, temperature, pad).softmax(-1)
    return (chances / torch.empty_like(chances).exponential_(generator=generator)).argmax(-1)

"""Language models from scratch."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from prefrl.names import unknown
from prefrl.text.models import without_dropout


def new_model(
    tokenizer: PreTrainedTokenizerBase,
    layers: int = 2,
    width: int = 64,
    heads: int = 2,
    context: int = 256,
    seed: int = 0,
    kind: str = "gpt2",
) -> PreTrainedModel:
    """A language model without dropout: `layers` of `width`, for prompts and continuations of `context` tokens.

    `kind`: gpt2, or llama, which knows how far tokens are from each other instead of where they stand, and learns more
    from little text, in more time. Raises ValueError for others, and for an odd width of llama's heads.
    """
    check_kind(kind, width, heads)
    tokens = {"vocab_size": len(tokenizer), "bos_token_id": tokenizer.eos_token_id}
    tokens |= {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return without_dropout(KINDS[kind](layers, width, heads, context, tokens))


def check_kind(kind: str, width: int, heads: int) -> None:
    if kind not in KINDS:
        raise unknown("kind of new model", kind, KINDS)
    if KINDS[kind] is _llama and width // heads % 2:
        raise ValueError(
            f"width {width} gives each of {heads} heads {width // heads}, and rotary positions need an even number: "
            f"give {width + heads}"
        )


def _gpt2(layers: int, width: int, heads: int, context: int, tokens: Mapping[str, Any]) -> PreTrainedModel:
    config = GPT2Config(
        n_positions=context,
        n_embd=width,
        n_layer=layers,
        n_head=heads,
        activation_function="gelu_pytorch_tanh",  # GPT-2's own, as one operation in place of seven
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        **tokens,
    )
    return GPT2LMHeadModel(config)


def _llama(layers: int, width: int, heads: int, context: int, tokens: Mapping[str, Any]) -> PreTrainedModel:
    config = LlamaConfig(
        max_position_embeddings=context,
        hidden_size=width,
        intermediate_size=3 * width,  # three matrices of it: about the weights of GPT-2's two of 4
        num_hidden_layers=layers,
        num_attention_heads=heads,
        tie_word_embeddings=True,  # most weights of a small model are its vocabulary's
        **tokens,
    )
    return LlamaForCausalLM(config)


KINDS: Mapping[str, Callable[[int, int, int, int, Mapping[str, Any]], PreTrainedModel]] = {
    "gpt2": _gpt2,
    "llama": _llama,
}

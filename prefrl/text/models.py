"""Language models: loaded by name, saved, with low-rank adapters, and frozen as a reference."""

import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)
from transformers import PreTrainedModel as PreTrainedModel
from transformers.utils import logging

from prefrl.files import whole_folder
from prefrl.reward.networks import multiplies_bfloat16

M = TypeVar("M", bound=nn.Module)
LanguageModel = PreTrainedModel | PeftModel
"""A causal language model of transformers, with or without adapters."""
WIDE = 128
"""From here on rounding weights and inputs costs a CPU less than it saves in multiplying them."""


def load_model(name_or_path: str | Path, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Any causal language model that attends, by name or folder, in float32 and without dropout (detail 8).

    Its embeddings grow by the padding token where `load_tokenizer` had to add that one. Raises ValueError where the
    tokenizer knows other tokens that the model does not, and for a model with a state, such as Mamba: what it has read
    cannot be padded.
    """
    with _no_bars():
        model = without_dropout(AutoModelForCausalLM.from_pretrained(str(name_or_path), dtype=torch.float32))
    if model._is_stateful:
        raise ValueError(f"{name_or_path} is a {type(model).__name__}, which keeps a state: give a model that attends")
    rows = int(embeddings(model).shape[0])
    if tokenizer.pad_token_id != rows:
        check_vocabulary(model, tokenizer)
    if len(tokenizer) > rows:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.config.pad_token_id = tokenizer.pad_token_id
    return model


def check_vocabulary(model: nn.Module, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises ValueError where the tokenizer knows tokens that the model does not."""
    rows = int(embeddings(model).shape[0])
    if len(tokenizer) > rows:
        raise ValueError(
            f"the tokenizer has {len(tokenizer)} tokens and the {type(model).__name__} {rows}: "
            f"use the tokenizer that the model was trained with"
        )


def save_model(model: LanguageModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Model (safetensors) and tokenizer in a folder, which is complete or is not there; an older one is replaced.

    Adapters are saved alone, without the model that they adapt.
    """
    with whole_folder(folder) as draft, _no_bars():
        model.save_pretrained(str(draft))
        tokenizer.save_pretrained(str(draft))


def with_lora(model: PreTrainedModel, rank: int = 8, alpha: int = 16, seed: int = 0) -> PeftModel:
    """The model frozen, with trainable low-rank adapters on all its linear layers but the head (Hu et al. 2021).

    They begin at zero change; `alpha / rank` scales them.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fan_in = any(type(module).__name__ == "Conv1D" for module in model.modules())
        config = LoraConfig(
            r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules="all-linear", fan_in_fan_out=fan_in
        )
        with warnings.catch_warnings():  # peft asks transformers by a name that this renamed
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            adapted = get_peft_model(model, config)
    assert isinstance(adapted, PeftModel)
    return adapted


def merged(model: LanguageModel) -> LanguageModel:
    """The model, its adapters, if it has any, made part of its own weights, in place."""
    return model.merge_and_unload() if isinstance(model, PeftModel) else model


Reference = Callable[[], AbstractContextManager[LanguageModel]]
"""Gives, for a while, the model that the policy must stay close to."""


def reference_of(model: LanguageModel) -> Reference:
    """What the model is now, and stays: a frozen copy, or itself without adapters, where these have learned nothing.

    Use it as in `with reference() as frozen: ...`.
    """
    if isinstance(model, PeftModel) and _untrained(model):

        @contextmanager
        def adapters_off() -> Iterator[LanguageModel]:
            with model.disable_adapter():
                yield model

        return adapters_off
    frozen = deepcopy(model).eval().requires_grad_(False)
    return lambda: nullcontext(frozen)


def _untrained(model: PeftModel) -> bool:
    """Whether all adapters are low-rank ones that change nothing yet."""
    outer = [each for name, each in model.named_parameters() if "lora_B" in name or "lora_embedding_B" in name]
    return bool(outer) and not any(bool(each.any()) for each in outer)


def without_dropout(model: M) -> M:
    """The same model with every chance of dropout 0, in its modules and its configuration (detail 8)."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name, value in list(vars(module).items()):
            if "dropout" in name and isinstance(value, float):
                setattr(module, name, 0.0)
    config = getattr(model, "config", None)
    for name in list(vars(config)) if isinstance(config, PretrainedConfig) else ():
        if ("dropout" in name or name.endswith("pdrop")) and isinstance(getattr(config, name), float):
            setattr(config, name, 0.0)
    return model


def backbone(model: LanguageModel) -> nn.Module:
    """What makes hidden states of tokens: the model without its language-modelling head; adapters stay in."""
    plain: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    found = getattr(plain, plain.base_model_prefix, plain)
    assert isinstance(found, nn.Module)
    return found


def hidden_states(base: nn.Module, ids: Tensor, attention: Tensor, positions: Tensor) -> Tensor:
    """Last hidden states of a `backbone`, (B, T, width): position ids come from the mask (detail 1)."""
    where = {"position_ids": positions} if _takes_positions(type(base).forward) else {}
    out: Tensor = base(input_ids=ids, attention_mask=attention, use_cache=False, **where).last_hidden_state
    return out


def call(model: LanguageModel, ids: Tensor, attention: Tensor, positions: Tensor, **how: Any) -> Any:
    """What the model says of left-padded ids (B, T); position ids come from the mask, where it takes any (detail 1)."""
    if _takes_positions(type(model.get_base_model() if isinstance(model, PeftModel) else model).forward):
        how["position_ids"] = positions
    return model(input_ids=ids, attention_mask=attention, **how)


@cache
def _takes_positions(forward: Callable[..., Any]) -> bool:
    return "position_ids" in inspect.signature(forward).parameters


def attend(model: LanguageModel, implementation: str) -> None:
    """Has the model compute its attention in one of transformers' ways, such as `eager`."""
    plain: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    plain.set_attn_implementation(implementation)


def autocast(model: nn.Module) -> AbstractContextManager[object]:
    """Multiplies in bfloat16 where that is faster than float32, in which all the rest stays."""
    where = next(model.parameters()).device.type
    return torch.autocast(where, torch.bfloat16, enabled=rounds(model))


def rounds(model: nn.Module) -> bool:
    """Whether it multiplies in bfloat16: where the hardware has instructions for it, but on a CPU no narrow model."""
    where = next(model.parameters()).device.type
    return multiplies_bfloat16(where) and (where != "cpu" or width_of(model) >= WIDE)


def width_of(model: nn.Module) -> int:
    """Numbers in a hidden state. Raises ValueError where the model's configuration does not say."""
    config = getattr(model, "config", None)
    width = getattr(config.get_text_config(), "hidden_size", None) if isinstance(config, PretrainedConfig) else None
    if not isinstance(width, int):
        raise ValueError(f"{type(model).__name__} does not say how wide it is: give a causal model of transformers")
    return width


def embeddings(model: nn.Module) -> Tensor:
    """One row for each token that the model knows, (tokens, width)."""
    plain: Any = model
    weight: Tensor = plain.get_input_embeddings().weight
    return weight


def context_of(model: LanguageModel) -> int:
    """How many tokens of prompt and continuation the model can hold."""
    return int(getattr(model.config, "max_position_embeddings", 0) or 2**31)


def on(device: torch.device, model: M) -> M:
    """The model, moved there: transformers' own `to` is not typed."""
    return nn.Module.to(model, device)


def count_parameters(model: nn.Module, trainable: bool = False) -> int:
    """Numbers in the model, those that learn only if `trainable`; shared ones once."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable)


@contextmanager
def _no_bars() -> Iterator[None]:
    """Without transformers' progress bars: one for a file or two says nothing between the stages' own."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()

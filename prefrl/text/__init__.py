"""Language models: preferences between continuations, and policies that learn from them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefrl.text.algorithms import LMA2C as LMA2C
    from prefrl.text.algorithms import LMPPO as LMPPO
    from prefrl.text.algorithms import LMTRPO as LMTRPO
    from prefrl.text.environment import Reward as Reward
    from prefrl.text.environment import TextReward as TextReward
    from prefrl.text.environment import on_text as on_text
    from prefrl.text.generate import log_probs as log_probs
    from prefrl.text.kl import KL as KL
    from prefrl.text.models import load_model as load_model
    from prefrl.text.models import new_model as new_model
    from prefrl.text.models import save_model as save_model
    from prefrl.text.models import with_lora as with_lora
    from prefrl.text.ptx import Ptx as Ptx
    from prefrl.text.rollouts import SequenceRollouts as SequenceRollouts
    from prefrl.text.samples import Example as Example
    from prefrl.text.samples import Prompt as Prompt
    from prefrl.text.samples import Samples as Samples
    from prefrl.text.tokens import load_tokenizer as load_tokenizer
    from prefrl.text.tokens import train_tokenizer as train_tokenizer

_HOMES = {
    "LMA2C": "algorithms",
    "LMPPO": "algorithms",
    "LMTRPO": "algorithms",
    "Reward": "environment",
    "TextReward": "environment",
    "on_text": "environment",
    "log_probs": "generate",
    "KL": "kl",
    "load_model": "models",
    "new_model": "models",
    "save_model": "models",
    "with_lora": "models",
    "Ptx": "ptx",
    "SequenceRollouts": "rollouts",
    "Example": "samples",
    "Prompt": "samples",
    "Samples": "samples",
    "load_tokenizer": "tokens",
    "train_tokenizer": "tokens",
}
"""Public name -> the module that defines it; imported when first used: transformers alone takes a second."""

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"prefrl.text.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'prefrl.text' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__

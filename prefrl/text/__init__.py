"""Language models: preferences between continuations, and policies that learn from them."""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if missing := [name for name in ("peft", "tokenizers", "transformers") if find_spec(name) is None]:
    raise ValueError(f'language models need {", ".join(missing)}: pip install "prefrl[text]"')

if TYPE_CHECKING:
    from prefrl.text.algorithms import LMA2C as LMA2C
    from prefrl.text.algorithms import LMPPO as LMPPO
    from prefrl.text.algorithms import LMTRPO as LMTRPO
    from prefrl.text.best_of_n import BestOf as BestOf
    from prefrl.text.best_of_n import Point as Point
    from prefrl.text.best_of_n import over_optimisation as over_optimisation
    from prefrl.text.compare import Compare as Compare
    from prefrl.text.compare import answer as answer
    from prefrl.text.compare import asked as asked
    from prefrl.text.direct import DPO as DPO
    from prefrl.text.direct import IPO as IPO
    from prefrl.text.direct import KTO as KTO
    from prefrl.text.direct import Pairs as Pairs
    from prefrl.text.direct import Thumbs as Thumbs
    from prefrl.text.direct import pairs_of as pairs_of
    from prefrl.text.environment import Reward as Reward
    from prefrl.text.environment import TextReward as TextReward
    from prefrl.text.environment import on_text as on_text
    from prefrl.text.evaluation import Evaluation as Evaluation
    from prefrl.text.evaluation import evaluate as evaluate
    from prefrl.text.evaluation import leave_out as leave_out
    from prefrl.text.fitting import KWise as KWise
    from prefrl.text.fitting import Texts as Texts
    from prefrl.text.generate import log_probs as log_probs
    from prefrl.text.judge import Judge as Judge
    from prefrl.text.judge import LanguageModelJudge as LanguageModelJudge
    from prefrl.text.judge import OnSegments as OnSegments
    from prefrl.text.kl import KL as KL
    from prefrl.text.models import load_model as load_model
    from prefrl.text.models import save_model as save_model
    from prefrl.text.models import with_lora as with_lora
    from prefrl.text.oracle import Preferring as Preferring
    from prefrl.text.oracle import Quality as Quality
    from prefrl.text.oracle import Rouge as Rouge
    from prefrl.text.oracle import by_prompt as by_prompt
    from prefrl.text.ptx import Ptx as Ptx
    from prefrl.text.reward_model import Combine as Combine
    from prefrl.text.reward_model import Pessimism as Pessimism
    from prefrl.text.reward_model import RewardModel as RewardModel
    from prefrl.text.rollouts import SequenceRollouts as SequenceRollouts
    from prefrl.text.samples import Example as Example
    from prefrl.text.samples import Prompt as Prompt
    from prefrl.text.samples import Samples as Samples
    from prefrl.text.sampling import Policy as Policy
    from prefrl.text.sampling import Sampler as Sampler
    from prefrl.text.sampling import references as references
    from prefrl.text.scratch import new_model as new_model
    from prefrl.text.sft import SFT as SFT
    from prefrl.text.sft import Pretrain as Pretrain
    from prefrl.text.tokens import load_tokenizer as load_tokenizer
    from prefrl.text.tokens import to_samples as to_samples
    from prefrl.text.tokens import train_tokenizer as train_tokenizer
    from prefrl.text.watch import Watch as Watch

_HOMES = {
    "LMA2C": "algorithms",
    "LMPPO": "algorithms",
    "LMTRPO": "algorithms",
    "BestOf": "best_of_n",
    "Point": "best_of_n",
    "over_optimisation": "best_of_n",
    "Compare": "compare",
    "answer": "compare",
    "asked": "compare",
    "DPO": "direct",
    "IPO": "direct",
    "KTO": "direct",
    "Pairs": "direct",
    "Thumbs": "direct",
    "pairs_of": "direct",
    "Reward": "environment",
    "TextReward": "environment",
    "on_text": "environment",
    "Evaluation": "evaluation",
    "evaluate": "evaluation",
    "leave_out": "evaluation",
    "KWise": "fitting",
    "Texts": "fitting",
    "log_probs": "generate",
    "Judge": "judge",
    "LanguageModelJudge": "judge",
    "OnSegments": "judge",
    "KL": "kl",
    "load_model": "models",
    "new_model": "scratch",
    "save_model": "models",
    "with_lora": "models",
    "Preferring": "oracle",
    "Quality": "oracle",
    "Rouge": "oracle",
    "by_prompt": "oracle",
    "Ptx": "ptx",
    "Combine": "reward_model",
    "Pessimism": "reward_model",
    "RewardModel": "reward_model",
    "SequenceRollouts": "rollouts",
    "Example": "samples",
    "Prompt": "samples",
    "Samples": "samples",
    "Policy": "sampling",
    "Sampler": "sampling",
    "references": "sampling",
    "SFT": "sft",
    "Pretrain": "sft",
    "load_tokenizer": "tokens",
    "to_samples": "tokens",
    "train_tokenizer": "tokens",
    "Watch": "watch",
}
"""Public name -> the module that defines it; imported when first used: transformers alone takes a second."""

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"prefrl.text.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'prefrl.text' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__

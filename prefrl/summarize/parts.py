"""What the names in the settings stand for, and whether they stand for anything."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

from prefrl import oracles
from prefrl.names import attribute, nearest, resolve, unknown
from prefrl.reward import loss
from prefrl.summarize.posts import check_data, check_judged
from prefrl.summarize.settings import DIRECT, LEARNED, Settings
from prefrl.text import direct, fitting
from prefrl.text import kl as penalties
from prefrl.text import oracle as qualities
from prefrl.text import sft as supervised
from prefrl.text.algorithms import LMA2C, LMPPO, LMTRPO
from prefrl.text.direct import DPO, IPO, KTO
from prefrl.text.environment import TextReward
from prefrl.text.fitting import Texts
from prefrl.text.judge import Judge
from prefrl.text.kl import KL
from prefrl.text.oracle import Quality
from prefrl.text.reward_model import Combine, Pessimism, least, mean
from prefrl.text.rollouts import SequenceRollouts
from prefrl.text.scratch import check_kind
from prefrl.text.sft import SFT, Pretrain

ALGORITHMS: Mapping[str, type[SequenceRollouts]] = {"ppo": LMPPO, "a2c": LMA2C, "trpo": LMTRPO}
METHODS: Mapping[str, type[DPO | IPO | KTO]] = {"dpo": DPO, "ipo": IPO, "kto": KTO}
COMBINED: Mapping[str, Combine] = {"mean": mean, "min": least}
JUDGE, REFERENCE, NEW = "judge", "reference", "new"
OWN = ("sft", "pretrained", REFERENCE, "policy", *DIRECT)
"""Sources that a folder may have itself."""
T = TypeVar("T")


class Source(NamedTuple):
    """A model whose summaries are compared, and how much chance there is in them."""

    model: str
    temperature: float


def check(settings: Settings) -> None:
    """Raises ValueError, in one line, for a name that stands for nothing: before the first stage, not hours later."""
    check_data(settings.data)
    if settings.comparisons_from is not None:
        check_judged(settings.comparisons_from)
    for find in (sft, pretrain, sources, fit, combine, text_reward, kl):
        find(settings)
    for method in DIRECT:
        directly(settings, method)
    scratch(settings)
    _check_oracle(settings)
    _check_hyper(settings)


def scratch(settings: Settings) -> str | None:
    """The kind of a new model, None where the settings name one that is there."""
    name, _, kind = settings.model.partition(":")
    if name != NEW:
        return None
    check_kind(kind := kind or "gpt2", settings.width, settings.heads)
    return kind


def sft(settings: Settings) -> SFT:
    return _part(settings.sft, supervised, "sft", SFT)


def pretrain(settings: Settings) -> Pretrain | None:
    return None if settings.pretrain is None else _part(settings.pretrain, supervised, "pretrain", Pretrain)


def fit(settings: Settings) -> Texts:
    return _part(settings.fit, fitting, "fit", Texts, loss)


def kl(settings: Settings) -> KL:
    return _part(settings.kl, penalties, "kl", KL)


def directly(settings: Settings, method: str) -> DPO | IPO | KTO:
    """How one of the methods learns from comparisons without a reward model."""
    return _part(getattr(settings, method), direct, method, METHODS[method])


def algorithm(settings: Settings) -> type[SequenceRollouts]:
    if settings.algo not in ALGORITHMS:
        raise unknown("algorithm", settings.algo, ALGORITHMS)
    return ALGORITHMS[settings.algo]


def combine(settings: Settings) -> Combine:
    """What of the members' scores is paid."""
    if settings.score in COMBINED:
        return COMBINED[settings.score]
    try:
        return Pessimism(float(settings.score))
    except ValueError:
        raise unknown("score", settings.score, [*COMBINED, "a number from 0 on"]) from None


def text_reward(settings: Settings) -> TextReward | None:
    """The user's own function; None where the reward is learned."""
    if settings.learns_reward:
        return None
    if ":" not in settings.reward:
        raise unknown("reward", settings.reward, [LEARNED, "module:function"])
    found: TextReward = _callable(attribute(settings.reward, "reward"), "reward", settings.reward)
    return found


def quality(settings: Settings) -> Quality:
    """What the built-in oracle judges by."""
    found: Quality = _callable(resolve(settings.oracle, qualities, "oracle"), "oracle", settings.oracle)
    return found


def own_judge(settings: Settings) -> Judge:
    """The user's own function of prompt, left and right."""
    found: Judge = _callable(attribute(settings.oracle, "judge"), "oracle", settings.oracle)
    return found


def sources(settings: Settings) -> dict[str, Source | None]:
    """Policies by name, as in `sft reference sft@0.7 path/to/another`; None: people's summaries."""
    found: dict[str, Source | None] = {}
    for name in settings.sources.split():
        model, _, temperature = name.partition("@")
        found[name] = None if name == REFERENCE else Source(model, _temperature(name, temperature))
        if model not in OWN and nearest(model, OWN) and not Path(model).exists():
            raise unknown("source", model, OWN)
        if model == "pretrained" and settings.pretrain is None:
            raise ValueError("there is no pretrained model to compare: add --pretrain, or leave it out of --sources")
    if not found:
        raise ValueError("sources names nobody: give sft, reference, or both")
    return found


def _temperature(name: str, text: str) -> float:
    try:
        found = float(text or 1)
    except ValueError:
        raise ValueError(f"cannot read the temperature of source {name!r}: write sft@0.7") from None
    if not 0 <= found < float("inf"):
        raise ValueError(f"the temperature of source {name!r} must be from 0, which is greedy, on")
    return found


def _check_oracle(settings: Settings) -> None:
    kind, _, rest = settings.oracle.partition(":")
    if kind == JUDGE:
        if not rest:
            raise ValueError("say which language model judges: --oracle judge:FOLDER")
    elif rest:
        own_judge(settings)
    elif settings.asks_people:
        _part(settings.oracle, oracles, "oracle", oracles.Human)
    else:
        quality(settings)


def _check_hyper(settings: Settings) -> None:
    """Names alone; values, where the algorithm is made."""
    kind = algorithm(settings)
    known = {name for each in kind.__mro__[:-1] for name in inspect.signature(each).parameters}
    takes = {name for name in known - {"args", "kwargs", "settings", *GIVEN, *UNUSED} if name[0] != "_"}
    for name in settings.hyper:
        if name not in takes:
            raise unknown(f"setting of {kind.__name__}", str(name), takes)


GIVEN = (
    *("model", "tokenizer", "prompts", "reward", "value_from", "kl", "response_length", "prompt_length", "ptx"),
    *("temperature", "chunks", "seed", "device", "policy", "env", "n_steps", "rollout_buffer_class"),
)
"""What the stage gives the algorithm itself."""
UNUSED = (
    *("monitor_wrapper", "support_multi_env", "supported_action_spaces", "stats_window_size"),
    *("use_sde", "sde_sample_freq", "rollout_buffer_kwargs"),
)
"""Stable-Baselines3's own affairs, and what sequences have no use for."""


def _part(text: str, module: ModuleType, what: str, kind: type[T], *more: ModuleType) -> T:
    found: Any = resolve(text, module, what, *more)
    if not isinstance(found, kind):
        raise ValueError(f"{what} {text!r} is no {kind.__name__}: see the flag's example in --help")
    return found


def _callable(found: Any, what: str, text: str) -> Any:
    if not callable(found):
        raise ValueError(f"{what} {text!r} cannot be called: name a function")
    return found

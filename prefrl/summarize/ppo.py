"""The fourth stage: a policy that is paid for its summaries, by the learned reward or by any function of texts."""

from collections.abc import Mapping
from typing import Any

from prefrl.control.policy import device
from prefrl.names import attribute, resolve, unknown
from prefrl.summarize.folder import SummaryFolder
from prefrl.summarize.posts import Posts, posts
from prefrl.summarize.settings import Settings
from prefrl.summarize.sft import loaded
from prefrl.text import kl
from prefrl.text.algorithms import LMA2C, LMPPO, LMTRPO
from prefrl.text.environment import Reward, on_text
from prefrl.text.models import LanguageModel, save_model, with_lora
from prefrl.text.ptx import Ptx
from prefrl.text.reward_model import Combine, Pessimism, RewardModel, least, mean
from prefrl.text.rollouts import SequenceRollouts
from prefrl.text.sft import packed
from prefrl.text.tokens import PreTrainedTokenizerBase
from prefrl.text.watch import Watch, read

ALGORITHMS: Mapping[str, type[SequenceRollouts]] = {"ppo": LMPPO, "a2c": LMA2C, "trpo": LMTRPO}
LEARNED = "learned"
METRICS = "metrics.jsonl"
LAST = 5
"""Rollouts whose mean tells how a run began, and how it ended."""


def train(folder: SummaryFolder) -> dict[str, float]:
    """Trains on posts that were learned from; goes on from where it was cut off."""
    settings = folder.settings
    of = posts(settings)
    tokenizer, plain = loaded(folder, "sft", settings)
    model = with_lora(plain, settings.lora, seed=settings.seed) if settings.lora else plain
    unfinished = folder.unfinished("ppo")
    unfinished.mkdir(exist_ok=True)
    algorithm = _algorithm(folder, settings, of, tokenizer, model)
    watch = Watch(folder.path / METRICS, unfinished / "algorithm.zip", settings.episodes, progress=True)
    algorithm.learn_episodes(settings.episodes - algorithm.episodes, watch)
    save_model(algorithm.language_model, tokenizer, folder.model("policy"))
    return told(folder) | {"ppo/prompts_cut": float(algorithm.cut)}


def told(folder: SummaryFolder) -> dict[str, float]:
    """How training began and ended, by what it was paid."""
    lines = read(folder.path / METRICS)
    found = {"ppo/episodes": lines[-1]["episodes"]}
    for name in ("score", "kl", "length", "ended"):
        values = [line[f"rollout/{name}"] for line in lines]
        found |= {f"ppo/{name}_before": _mean(values[:LAST]), f"ppo/{name}_after": _mean(values[-LAST:])}
    return found


def combine(settings: Settings) -> Combine:
    """What of the members' scores is paid."""
    named: Mapping[str, Combine] = {"mean": mean, "min": least}
    if settings.score in named:
        return named[settings.score]
    try:
        return Pessimism(float(settings.score))
    except ValueError:
        raise unknown("score", settings.score, [*named, "a number"]) from None


def _algorithm(
    folder: SummaryFolder, settings: Settings, of: Posts, tokenizer: PreTrainedTokenizerBase, model: LanguageModel
) -> SequenceRollouts:
    if settings.algo not in ALGORITHMS:
        raise unknown("algorithm", settings.algo, ALGORITHMS)
    kind, saved = ALGORITHMS[settings.algo], folder.unfinished("ppo") / "algorithm.zip"
    reward, value = _reward(folder, settings, tokenizer)
    parts = (model, tokenizer, [example.prompt for example in of.train], reward)
    options: dict[str, Any] = {
        "value_from": value,
        "kl": resolve(settings.kl, kl, "kl"),
        "response_length": settings.response_length,
        "prompt_length": settings.prompt_length,
        "ptx": _ptx(settings, of, tokenizer) if settings.ptx else None,
        "chunks": settings.chunks,
        "seed": settings.seed,
        "device": device(settings.device),
        **settings.hyper,
    }
    return kind.load(saved, *parts, **options) if saved.is_file() else kind(*parts, **options)


def _reward(folder: SummaryFolder, settings: Settings, tokenizer: PreTrainedTokenizerBase) -> tuple[Reward, Any]:
    """What a summary is paid, and what the value net begins as: the reward model, where there is one (paper)."""
    if settings.reward != LEARNED:
        return on_text(attribute(settings.reward, "reward")), None
    model = RewardModel.load(folder.model("reward"), str(device(settings.device)))
    return model.reward(tokenizer, combine(settings)), model.nets[0]


def _ptx(settings: Settings, of: Posts, tokenizer: PreTrainedTokenizerBase) -> Ptx:
    texts = [f"{example.prompt} {text}" for example in of.train for text in example.references]
    return Ptx(packed(tokenizer, texts, settings.prompt_length), settings.ptx)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)

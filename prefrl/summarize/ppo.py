"""The fourth stage: a policy that is paid for its summaries, by the learned reward or by any function of texts."""

import shlex
from dataclasses import fields, replace
from typing import Any

from prefrl.control.policy import device
from prefrl.summarize import parts
from prefrl.summarize.folder import SummaryFolder
from prefrl.summarize.posts import Posts, posts
from prefrl.summarize.settings import Settings
from prefrl.summarize.sft import loaded
from prefrl.text.environment import Reward, on_text
from prefrl.text.kl import KL, Astray
from prefrl.text.models import LanguageModel, merged, save_model, with_lora
from prefrl.text.ptx import Ptx
from prefrl.text.reward_model import RewardModel
from prefrl.text.rollouts import SequenceRollouts
from prefrl.text.sft import packed
from prefrl.text.tokens import PreTrainedTokenizerBase
from prefrl.text.watch import Watch, read

METRICS, STATE = "metrics.jsonl", "algorithm.zip"
LAST = 5
"""Rollouts whose mean tells how training ended; how it began, the first alone tells: it is the SFT model's."""
STOPPED = "ppo/stopped"
"""Why training was stopped, and how to go on; only there where it was."""


def train(folder: SummaryFolder) -> dict[str, Any]:
    """Trains on posts that were learned from; goes on from where it was cut off.

    Stops where the policy has gone too far from its start: what it was before that is saved, and `STOPPED` says so.
    """
    settings = folder.settings
    tokenizer, plain = loaded(folder, "sft", settings)
    of = posts(settings, tokenizer)
    model = with_lora(plain, settings.lora, seed=settings.seed) if settings.lora else plain
    saved = folder.unfinished("ppo") / STATE
    saved.parent.mkdir(exist_ok=True)
    algorithm = _algorithm(folder, settings, of, tokenizer, model)
    watch = Watch(folder.path / METRICS, saved, settings.episodes, progress=True)
    stopped = {}
    try:
        algorithm.learn_episodes(settings.episodes - algorithm.episodes, watch)
    except Astray as stop:
        stopped = {STOPPED: f"{stop}. {_how_to_go_on(folder, parts.kl(settings))}"}
    save_model(merged(algorithm.language_model), tokenizer, folder.model("policy"))
    return told(folder) | {"ppo/prompts_cut": float(algorithm.cut)} | stopped


def told(folder: SummaryFolder) -> dict[str, float]:
    """How training began and ended, by what it was paid; how many summaries alone, where it ended before that."""
    lines = read(folder.path / METRICS)
    found = {"ppo/episodes": lines[-1]["episodes"] if lines else 0}
    for name in ("score", "kl", "length", "ended") if lines else ():
        values = [line[f"rollout/{name}"] for line in lines]
        found |= {f"ppo/{name}_before": values[0], f"ppo/{name}_after": _mean(values[-LAST:])}
    return found


def _how_to_go_on(folder: SummaryFolder, kl: KL) -> str:
    firmer = replace(kl, beta=2 * kl.beta or KL().beta)
    given = [f"{f.name}={getattr(firmer, f.name)!r}" for f in fields(KL) if getattr(firmer, f.name) != f.default]
    out = ["--out", str(folder.path)]
    judge = shlex.join(["prefrl", "summarize", "evaluate", *out])
    again = shlex.join(["prefrl", "summarize", "ppo", "--kl", f"kl({', '.join(given)})", *out])
    return (
        f"The model is in {folder.model('policy')}: `{judge}` judges it; or remove {folder.path / 'ppo.json'}, and "
        f"`{again}` trains anew"
    )


def _algorithm(
    folder: SummaryFolder, settings: Settings, of: Posts, tokenizer: PreTrainedTokenizerBase, model: LanguageModel
) -> SequenceRollouts:
    kind, saved = parts.algorithm(settings), folder.unfinished("ppo") / STATE
    reward, value = paid(folder, settings, tokenizer)
    given = (model, tokenizer, [example.prompt for example in of.train], reward)
    options: dict[str, Any] = {
        "value_from": value,
        "kl": parts.kl(settings),
        "response_length": settings.response_length,
        "prompt_length": settings.prompt_length,
        "temperature": settings.temperature,
        "ptx": _ptx(settings, of, tokenizer) if settings.ptx else None,
        "chunks": settings.chunks,
        "seed": settings.seed,
        "device": device(settings.device),
        **settings.hyper,
    }
    try:
        return kind.load(saved, *given, **options) if saved.is_file() else kind(*given, **options)
    except (TypeError, AssertionError) as error:
        raise ValueError(f"{kind.__name__} does not take these settings: {error}") from error


def paid(folder: SummaryFolder, settings: Settings, tokenizer: PreTrainedTokenizerBase) -> tuple[Reward, Any]:
    """What a summary is paid, and what the value net begins as: the reward model, where there is one (paper)."""
    if own := parts.text_reward(settings):
        return on_text(own), None
    model = RewardModel.load(folder.model("reward"), str(device(settings.device)))
    return model.reward(tokenizer, parts.combine(settings)), model.nets[0]


def _ptx(settings: Settings, of: Posts, tokenizer: PreTrainedTokenizerBase) -> Ptx:
    texts = [f"{example.prompt} {text}" for example in of.train for text in example.references]
    return Ptx(packed(tokenizer, texts, settings.prompt_length), settings.ptx)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)

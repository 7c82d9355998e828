"""How often a reward model tells which summary was preferred outside of this project, on texts that it never saw.

Two published sets: people's scores of systems' summaries of news articles, whose articles are not in it, so that a
person's summary stands in the article's place; and posts of Reddit, each with a model's summary and its author's, of
which a language model preferred one. Reward models begin from a language model that has read plain text, and each
judges the articles, or posts, that were held out from its fit.
"""

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from experiments.summaries_runs import Edition
from prefrl.control.policy import device
from prefrl.summarize import parts
from prefrl.summarize.presets import PRESETS
from prefrl.summarize.settings import Settings
from prefrl.text.accuracy import BASELINES, Scores, accuracies
from prefrl.text.data import Judgement, judged, scitldr, scored
from prefrl.text.fitting import KWise, Texts
from prefrl.text.models import LanguageModel, load_model, on, save_model
from prefrl.text.reward_model import RewardModel
from prefrl.text.scratch import new_model
from prefrl.text.sft import Pretrain
from prefrl.text.tokens import PreTrainedTokenizerBase, load_tokenizer, train_tokenizer
from prefrl.types import Array, Comparison

FOLDS = 5
"""Parts of the articles, or posts: each is judged by a reward model that was fitted to the others."""
PEOPLE, JUDGED, READER = "people", "language model", "reader"


@dataclass(frozen=True)
class Published:
    """A set of judged pairs, and how reward models are fitted to it."""

    pairs: Sequence[Judgement]
    prompt_length: int
    response_length: int
    fit: Texts


def published(human: Path | None, posts: Path | None) -> dict[str, Published]:
    """Those that are at hand."""
    found = {}
    if human:
        fit = KWise(first_passes=2, batch=8)  # some five systems' summaries of each article
        found[PEOPLE] = Published(scored.read(human), 176, 176, fit)  # a tenth is longer
    if posts:
        found[JUDGED] = Published(judged.read(posts), 256, 64, Texts(first_passes=2, batch=16))
    return found


def plain(data: str, human: Path | None, posts: Path | None) -> list[str]:
    """Text to learn the language from: no summary of it is judged later."""
    papers = [e for split in ("train", "validation") for e in scitldr.read(data.partition(":")[2], split)]
    texts = [f"{e.prompt} {reference}" for e in papers for reference in e.references[:1]]
    if human:
        texts += sorted({each.prompt.body for each in scored.read(human)})
    if posts:
        known = {str(each.prompt) for each in judged.read(posts)}
        for e in judged.posts(posts):
            texts.append(str(e.prompt) if str(e.prompt) in known else f"{e.prompt} {e.references[0]}")
    return texts


def read(edition: Edition, data: str, out: Path, human: Path | None, posts: Path | None) -> dict[str, Any]:
    """The record of a language model that reads plain text, from which all reward models begin."""
    began, settings = time.perf_counter(), _settings(edition)
    texts = plain(data, human, posts)
    context = max(each.prompt_length + each.response_length for each in published(human, posts).values())
    tokenizer = train_tokenizer(texts, settings.vocab)
    shape, kind = (settings.layers, settings.width, settings.heads), parts.scratch(settings) or "gpt2"
    model = new_model(tokenizer, *shape, context, settings.seed, kind)
    learn = replace(parts.pretrain(settings) or Pretrain(), epochs=edition.reading)
    unfinished = out / ".reader"
    found = learn(on(device(settings.device), model), tokenizer, texts, folder=unfinished, progress=True)
    save_model(model, tokenizer, out / READER)
    shutil.rmtree(unfinished)
    facts = {"texts": len(texts), **found, "seconds": time.perf_counter() - began}
    return {"seed": settings.seed, "method": READER, "name": READER} | facts


def told(name: str, edition: Edition, out: Path, human: Path | None, posts: Path | None) -> dict[str, Any]:
    """The record of one of the published sets."""
    began, settings = time.perf_counter(), _settings(edition)
    found = published(human, posts)[name]
    tokenizer = load_tokenizer(out / READER)
    model = on(device(settings.device), load_model(out / READER, tokenizer))
    pairs = _in_folds(found.pairs, settings.seed)
    scores: dict[Judgement, tuple[float, float]] = {}
    for fold in sorted({pair.split for pair in pairs}):
        fitted = [pair for pair in pairs if pair.split != fold]
        held_out = [pair for pair in pairs if pair.split == fold]
        reward = _fitted(replace(found, pairs=fitted), settings, tokenizer, model)
        sides = [reward.judge([p.prompt for p in held_out], [side(p) for p in held_out]) for side in (_left, _right)]
        scores |= dict(zip(held_out, zip(*(each.tolist() for each in sides), strict=True), strict=True))

    def by_reward(some: Sequence[Judgement]) -> Array:
        return np.array([scores[pair] for pair in some]).T

    cells = accuracies(pairs, _judges(name, by_reward))
    ties = sum(pair.preference == 0.5 for pair in pairs)
    facts = {"pairs": len(pairs), "ties": ties, "seconds": time.perf_counter() - began}
    return {"seed": settings.seed, "method": "published", "name": name, "cells": [asdict(c) for c in cells]} | facts


def _judges(name: str, by_reward: Scores) -> Mapping[str, Scores]:
    """People's pairs have a reference; of a judged post, one side is the reference itself."""
    baselines = {n: s for n, s in BASELINES.items() if name == PEOPLE or not n.startswith("rouge")}
    own: dict[str, Scores] = {} if name == PEOPLE else {"the model's": _by_model}
    return {"reward model": by_reward, **baselines, **own}


def _by_model(pairs: Sequence[Judgement]) -> Array:
    return np.array([[float(pair.policies[side] == "model") for pair in pairs] for side in (0, 1)])


def _in_folds(pairs: Sequence[Judgement], seed: int) -> list[Judgement]:
    """The pairs with their fold as `split`: those of one article or post are in the same one."""
    ids = sorted({pair.id for pair in pairs})
    order = np.random.default_rng(seed).permutation(len(ids))
    fold = {id: int(place) * FOLDS // len(ids) + 1 for id, place in zip(ids, order, strict=True)}
    return [replace(pair, split=f"{fold[pair.id]} of {FOLDS}") for pair in pairs]


def _settings(edition: Edition) -> Settings:
    return Settings.of({**PRESETS[edition.preset], **edition.given})


def _fitted(of: Published, settings: Settings, tokenizer: PreTrainedTokenizerBase, model: LanguageModel) -> RewardModel:
    """An ensemble fitted to the pairs."""
    lengths = of.prompt_length, of.response_length
    reward = RewardModel.of(model, tokenizer, *lengths, settings.members, settings.seed)
    prompts = [pair.prompt for pair in of.pairs]
    left, right = (reward.read(prompts, [side(p) for p in of.pairs]).segments() for side in (_left, _right))
    comparisons = [
        Comparison(a, b, pair.preference, query)
        for query, (a, b, pair) in enumerate(zip(left, right, of.pairs, strict=True), 1)
        if pair.preference is not None and a.obs.tobytes() != b.obs.tobytes()  # they may differ where both are cut
    ]
    rng = np.random.default_rng(settings.seed)
    of.fit(reward.ensemble, of.fit.optimizer(reward.ensemble), comparisons, of.fit.first_passes, rng)
    return reward


def _left(pair: Judgement) -> str:
    return pair.left


def _right(pair: Judgement) -> str:
    return pair.right

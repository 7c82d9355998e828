"""The learned reward of text: an ensemble of scores, centred on what people wrote, and paid to a policy."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedTokenizerBase

from prefrl.files import Unreadable, read_json, reading, whole_folder
from prefrl.reward.ensemble import Ensemble
from prefrl.text.environment import Reward
from prefrl.text.models import LanguageModel
from prefrl.text.samples import Prompt, Samples
from prefrl.text.score import Score, score_net
from prefrl.text.tokens import to_samples
from prefrl.types import Array

WEIGHTS, SETTINGS = "reward.safetensors", "reward.json"
AT_ONCE = 32
"""Texts scored at once."""

Combine = Callable[[Array], Array]
"""Scores of every member (members, B) -> what a policy is paid, (B,)."""


def mean(scores: Array) -> Array:
    """What the members say on average."""
    combined: Array = scores.mean(0)
    return combined


def least(scores: Array) -> Array:
    """What the member that likes a text least says of it (Coste et al. 2023, worst-case optimisation)."""
    combined: Array = scores.min(0)
    return combined


@dataclass(frozen=True)
class Pessimism:
    """The mean, less what members disagree: a policy gains nothing where only some are fooled (Coste et al. 2023)."""

    weight: float = 1.0
    """Of the standard deviation over members, which has the unit of the score."""

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf:
            raise ValueError(f"pessimism's weight must be a number from 0 on, got {self.weight}")

    def __call__(self, scores: Array) -> Array:
        combined: Array = scores.mean(0) - self.weight * scores.std(0)
        return combined


@dataclass(frozen=True, eq=False)
class RewardModel:
    """Scores texts by an ensemble that reads them with its own tokenizer; lengths, in tokens, are what it learned on.

    Scores are log-odds: of two texts of one prompt, the better one's less the other's says how likely it is preferred.
    """

    ensemble: Ensemble
    tokenizer: PreTrainedTokenizerBase
    prompt_length: int = 512
    response_length: int = 128

    @classmethod
    def of(
        cls,
        model: LanguageModel,
        tokenizer: PreTrainedTokenizerBase,
        prompt_length: int = 512,
        response_length: int = 128,
        members: int = 3,
        seed: int = 0,
    ) -> Self:
        """Members that start from a language model, each with a random head of its own."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            ensemble = Ensemble((), (), score_net(model, tokenizer.pad_token_id), members, std=None)
        return cls(ensemble.to(model.device), tokenizer, prompt_length, response_length)

    @property
    def nets(self) -> list[Score]:
        """The members; a value net may start from the first."""
        return [member for member in self.ensemble.members if isinstance(member, Score)]

    def read(self, prompts: Sequence[Prompt], texts: Sequence[str]) -> Samples:
        """Texts as the members see them."""
        return to_samples(self.tokenizer, prompts, texts, self.prompt_length, self.response_length)

    @torch.no_grad()
    def scores(self, samples: Samples) -> Array:
        """What every member says of samples in its tokens, (members, B), less what it says of references."""
        self.ensemble.eval()
        mean = self.ensemble.reward_mean
        parts = samples.ids.to(mean.device).split(AT_ONCE)
        found = torch.stack([torch.cat([net.scores(ids) for ids in parts]) for net in self.nets])
        scores: Array = (found - mean.unsqueeze(1)).cpu().numpy()
        return scores

    def centre(self, references: Samples) -> float:
        """Makes every member's mean score of `references` 0 (detail 6); the mean over all members before that."""
        before = self.scores(references).mean(1)
        self.ensemble.reward_mean += torch.as_tensor(before, device=self.ensemble.reward_mean.device)
        return float(before.mean())

    def judge(self, prompts: Sequence[Prompt], texts: Sequence[str], combine: Combine = mean) -> Array:
        """Scores of texts, (B,)."""
        starts = range(0, len(texts), AT_ONCE)
        parts = [self.scores(self.read(prompts[i : i + AT_ONCE], texts[i : i + AT_ONCE])) for i in starts]
        return combine(np.concatenate(parts, 1))

    def reward(self, tokenizer: PreTrainedTokenizerBase, combine: Combine = mean) -> Reward:
        """What a policy with this tokenizer is paid: its tokens are read as they are, if they mean the same here.

        Otherwise its texts are read anew, and prompts too, cut where they are too long for the members; head and tail
        of each must fit into their `prompt_length`.
        """
        same = tokenizer.get_vocab() == self.tokenizer.get_vocab()
        own = tokenizer.pad_token_id, tokenizer.eos_token_id
        alike = same and own == (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id)

        def paid(samples: Samples, prompts: list[Prompt], texts: list[str]) -> Array:
            return combine(self.scores(samples)) if alike else self.judge(prompts, texts, combine)

        return paid

    def save(self, folder: Path) -> None:
        """In a folder, which is complete or is not there; an older one is replaced."""
        lengths = {"prompt_length": self.prompt_length, "response_length": self.response_length}
        facts = {**lengths, "members": len(self.ensemble), "version": self.ensemble.version}
        config: Any = self.nets[0].backbone.config
        with whole_folder(folder) as draft:
            config.save_pretrained(str(draft))
            self.tokenizer.save_pretrained(str(draft))
            (draft / WEIGHTS).write_bytes(self.ensemble.to_bytes())
            (draft / SETTINGS).write_text(json.dumps(facts))

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> Self:
        """What `save` wrote; raises Unreadable, a ValueError, for a folder that holds no reward model."""
        if not (folder / SETTINGS).exists():
            raise Unreadable(f"{folder} is no reward model: {SETTINGS} is missing")
        facts = read_json(folder / SETTINGS)
        with reading(folder):
            tokenizer = AutoTokenizer.from_pretrained(str(folder))
            config = AutoConfig.from_pretrained(str(folder))
            net = partial(_blank, config, tokenizer.pad_token_id)
            ensemble = Ensemble((), (), net, int(facts["members"]), std=None)
            ensemble.from_bytes((folder / WEIGHTS).read_bytes(), int(facts["version"]))
            return cls(ensemble.to(device), tokenizer, int(facts["prompt_length"]), int(facts["response_length"]))


def _blank(config: object, pad: int, *shapes: Sequence[int]) -> Score:
    return Score(AutoModel.from_config(config), pad)

"""Held-out posts, and what policies' summaries of them come to: by judge, by reward, by distance from the start."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from prefrl.summarize.compare import judge_of, knows_quality
from prefrl.summarize.folder import SummaryFolder
from prefrl.summarize.posts import Posts, posts
from prefrl.summarize.ppo import paid
from prefrl.summarize.settings import Settings
from prefrl.summarize.sft import loaded
from prefrl.text.environment import TextReward, scores_of
from prefrl.text.evaluation import Evaluation, evaluate, leave_out
from prefrl.text.generate import distance, generate
from prefrl.text.judge import Judge
from prefrl.text.models import LanguageModel
from prefrl.text.oracle import copied_share
from prefrl.text.rouge import words
from prefrl.text.samples import Example
from prefrl.text.sampling import Policy, stream
from prefrl.text.tokens import PreTrainedTokenizerBase, encode_prompts, to_samples

AT_ONCE = 16
"""Posts in one batch, of whose summaries each token is weighed against all that could have been in its place."""


@dataclass(frozen=True, eq=False)
class Exam:
    """Held-out posts, the model that training began with, and who judges."""

    settings: Settings
    examples: list[Example]
    tokenizer: PreTrainedTokenizerBase
    model: LanguageModel
    """The one that training began with."""
    reward: TextReward | None
    """None where there is none yet."""
    judge: Judge | None
    """The oracle without its noise, or the model that answered; None where people answered."""
    blind: "Blind | None"

    @classmethod
    def of(cls, folder: SummaryFolder) -> "Exam":
        settings = folder.settings
        tokenizer, model = loaded(folder, "sft", settings)
        of = posts(settings, tokenizer)
        examples = of.test[: settings.judged]
        judges = knows_quality(settings)
        return cls(
            settings,
            examples,
            tokenizer,
            model,
            _reward(folder, settings, of, tokenizer),
            judge_of(settings, of, tokenizer) if judges else None,
            Blind.of(settings, of, examples, tokenizer) if judges else None,
        )

    @cached_property
    def begun(self) -> list[str]:
        """What the model that training began with says."""
        return self.said(self.model, "sft")

    def said(self, model: LanguageModel, name: str) -> list[str]:
        """What is judged: a model's summary of each post; what it draws follows from its name."""
        return self.policy(model, self.settings.judged_at)(self.examples, stream(self.settings.seed, name))

    def policy(self, model: LanguageModel, temperature: float) -> Policy:
        lengths = self.settings.prompt_length, self.settings.response_length
        return Policy(model, self.tokenizer, *lengths, temperature, progress=True)

    @torch.no_grad()
    def nats(self, model: LanguageModel) -> float:
        """KL of a model from the start, of a sequence: the mean over one that it draws for each post (detail 14).

        All at the temperature of training (detail 9).
        """
        found: list[float] = []
        longest, warm = self.settings.response_length, self.settings.temperature
        generator = torch.Generator(model.device).manual_seed(self.settings.seed)
        for start in tqdm(range(0, len(self.examples), AT_ONCE), "KL", unit="batch", disable=None):
            chosen = [example.prompt for example in self.examples[start : start + AT_ONCE]]
            ids, _ = encode_prompts(self.tokenizer, chosen, self.settings.prompt_length)
            drawn = generate(model, self.tokenizer, ids.to(model.device), longest, warm, generator)
            found += distance(model, self.model, drawn.trimmed(), warm).tolist()
        return float(np.mean(found))

    def measured(self, texts: list[str], nats: float) -> dict[str, Any]:
        """What one policy's summaries come to; `nats`: how far it is from the start."""
        copied = [copied_share(text, e.prompt.body) for text, e in zip(texts, self.examples, strict=True)]
        found: dict[str, Any] = {
            "kl": nats,
            "words": float(np.mean([len(words(text)) for text in texts])),
            "copied": float(np.mean(copied)),
        }
        if self.reward is not None:
            prompts = [str(example.prompt) for example in self.examples]
            found["reward"] = float(np.mean(self.reward(prompts, texts)))
        if self.judge is not None and texts is not self.begun:
            found["over_sft"] = _told(evaluate(self.examples, texts, self.begun, self.judge))
        if self.blind is not None:
            found["over_people"] = self.blind.evaluated(texts)
        return found

    def samples(self, said: Mapping[str, Sequence[str]], most: int) -> list[dict[str, Any]]:
        """The first posts, and what policies say of them."""
        return [
            {"prompt": str(e.prompt), "references": list(e.references), **{name: of[i] for name, of in said.items()}}
            for i, e in enumerate(self.examples[:most])
        ]


@dataclass(frozen=True, eq=False)
class Blind:
    """A person's summary of each post that has several, and a judge that has not seen it."""

    rows: list[int]
    examples: list[Example]
    people: list[str]
    judge: Judge

    @classmethod
    def of(
        cls, settings: Settings, of: Posts, examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase
    ) -> "Blind | None":
        rows = [row for row, example in enumerate(examples) if len(example.references) > 1]
        if not rows:
            return None
        left_out = leave_out([examples[row] for row in rows], settings.seed)
        rest = [example for example, _ in left_out]
        judge = judge_of(settings, of._replace(known=rest), tokenizer)
        return cls(rows, rest, [text for _, text in left_out], judge)

    def evaluated(self, texts: Sequence[str]) -> dict[str, Any]:
        return _told(evaluate(self.examples, [texts[row] for row in self.rows], self.people, self.judge))


def _reward(
    folder: SummaryFolder, settings: Settings, of: Posts, tokenizer: PreTrainedTokenizerBase
) -> TextReward | None:
    """What ppo is paid, of texts on held-out posts."""
    if settings.learns_reward and folder.found("reward") is None:
        return None
    pays, _ = paid(folder, settings, tokenizer)
    prompts = {str(example.prompt): example.prompt for example in of.test}
    lengths = settings.prompt_length, settings.response_length

    def reward(asked: list[str], texts: list[str]) -> list[float]:
        whole = [prompts[prompt] for prompt in asked]
        found: list[float] = scores_of(pays, to_samples(tokenizer, whole, texts, *lengths), whole, texts).tolist()
        return found

    return reward


def _told(found: Evaluation) -> dict[str, Any]:
    return asdict(found) | {"wins": found.wins._asdict(), "at_equal_length": found.at_equal_length._asdict()}

"""How far a language model is from the SFT model, what the reward and the oracle think of it, and what it says."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import torch

from prefrl.summarize import parts
from prefrl.summarize.compare import sources
from prefrl.summarize.folder import SummaryFolder
from prefrl.summarize.posts import posts
from prefrl.summarize.settings import Settings
from prefrl.summarize.sft import loaded
from prefrl.text.accuracy import accuracies, by_lead, by_length, by_reward
from prefrl.text.best_of_n import over_optimisation
from prefrl.text.data import Judgement
from prefrl.text.generate import distance, generate
from prefrl.text.models import LanguageModel
from prefrl.text.oracle import Quality, copied_share
from prefrl.text.reward_model import RewardModel, least, mean
from prefrl.text.rouge import words
from prefrl.text.samples import Example, Samples, cat
from prefrl.text.sampling import Policy, sample_pairs, stream
from prefrl.text.tokens import PreTrainedTokenizerBase, encode_prompts

GREEDY, DRAWN = "greedy", "drawn"
AT_ONCE = 32
"""Continuations of one batch."""


@dataclass(frozen=True, eq=False)
class Bench:
    """Held-out posts, and what summaries of them are measured with: the same of all policies of a seed."""

    settings: Settings
    tokenizer: PreTrainedTokenizerBase
    sft: LanguageModel
    reward: RewardModel
    quality: Quality
    """The oracle's, without its noise."""
    examples: Sequence[Example]
    """All of the held-out split: summaries of them are compared."""
    drawn: Sequence[Example]
    """Those of which summaries are drawn, to measure KL, reward and quality."""

    @classmethod
    def of(cls, base: SummaryFolder, prompts: int) -> Self:
        """`base` has finished its reward; `prompts`: so many of the held-out posts are drawn for."""
        settings = base.settings
        tokenizer, sft = loaded(base, "sft", settings)
        test = posts(settings).test
        reward = RewardModel.load(base.model("reward"), str(sft.device))
        return cls(settings, tokenizer, sft, reward, parts.quality(settings), test[: settings.judged], test[:prompts])

    def said(self, model: LanguageModel, name: str) -> dict[str, list[str]]:
        """Summaries of all held-out posts: the likeliest ones, and drawn as in training, by chances of its `name`."""
        lengths = self.settings.prompt_length, self.settings.response_length
        warm = {GREEDY: 0.0, DRAWN: self.settings.temperature}
        own = stream(self.settings.seed, name)
        return {
            how: Policy(model, self.tokenizer, *lengths, temperature)(self.examples, own)
            for how, temperature in warm.items()
        }

    def point(self, model: LanguageModel) -> dict[str, float]:
        """Of summaries drawn as in training: KL in nats per summary, what members say, quality, length, copying."""
        with torch.no_grad():
            samples = self._samples(model, self.drawn)
            batches = [samples[i : i + AT_ONCE].to(model.device) for i in range(0, len(samples), AT_ONCE)]
            warm = self.settings.temperature  # that of training: KL is of these distributions
            away = [distance(model, self.sft, some, warm) for some in batches]
        scores = self.reward.scores(samples)
        said = samples.texts(self.tokenizer)
        pairs = list(zip(self.drawn, said, strict=True))
        return {
            "kl": float(torch.cat(away).mean()),
            "proxy": float(scores.mean()),
            "least": float(scores.min(0).mean()),
            "deviation": float(scores.std(0).mean()),
            "oracle": float(np.mean([self.quality(example, text) for example, text in pairs])),
            "words": float(np.mean([len(words(text)) for text in said])),
            "copied": float(np.mean([copied_share(text, example.prompt.body) for example, text in pairs])),
            "ended": float(samples.ended.float().mean()),
        }

    def best_of_n(self, prompts: int, draws: int) -> dict[str, list[dict[str, Any]]]:
        """Points of best-of-n from the SFT model, by the ensemble's mean and by its least member."""
        chosen = self.drawn[:prompts]
        several = [example for example in chosen for _ in range(draws)]
        samples = self._samples(self.sft, several)
        scores = self.reward.scores(samples)
        said = samples.texts(self.tokenizer)
        shape = len(chosen), draws
        quality = np.array([self.quality(e, text) for e, text in zip(several, said, strict=True)]).reshape(shape)
        ns = [2**i for i in range(draws.bit_length()) if 2**i <= draws]
        found = {}
        for name, combine in {"mean": mean, "min": least}.items():
            by = combine(scores).reshape(shape)
            points = over_optimisation(by, quality, ns)
            proxies = over_optimisation(by, scores.mean(0).reshape(shape), ns)  # one scale for all
            found[name] = [
                {"n": n, "kl": point.kl, "proxy": proxy.oracle, "oracle": point.oracle}
                for n, point, proxy in zip(ns, points, proxies, strict=True)
            ]
        return found

    def _samples(self, model: LanguageModel, examples: Sequence[Example]) -> Samples:
        """Drawn as in training, the same whenever they are drawn."""
        generator = torch.Generator(model.device).manual_seed(self.settings.seed)
        longest, drawn = self.settings.response_length, []
        ids, _ = encode_prompts(self.tokenizer, [e.prompt for e in examples], self.settings.prompt_length)
        for rows in ids.split(AT_ONCE):
            some = rows.to(model.device)
            drawn.append(generate(model, self.tokenizer, some, longest, self.settings.temperature, generator).to("cpu"))
        return cat(drawn)


def told_right(bench: Bench, base: SummaryFolder, pairs: int) -> list[dict[str, Any]]:
    """How often reward, length and lead tell the better of two summaries of a held-out post, the oracle not erring.

    `pairs`: of each post.
    """
    rng = np.random.default_rng([bench.settings.seed, pairs])
    drawn = sample_pairs(bench.examples, sources(base, bench.settings), rng, pairs)
    differences = [bench.quality(e, left) - bench.quality(e, right) for e, (_, left), (_, right) in drawn]
    judged = [
        Judgement(e.prompt, left, right, (np.sign(size) + 1) / 2, "oracle", abs(size), policies=(a, b))
        for (e, (a, left), (b, right)), size in zip(drawn, differences, strict=True)
    ]
    cells = accuracies(judged, {"reward model": by_reward(bench.reward), "length": by_length, "lead": by_lead})
    return [asdict(cell) for cell in cells]

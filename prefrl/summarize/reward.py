"""The third stage: an ensemble of reward models, fitted to the answers by the learner of control."""

from dataclasses import replace

import numpy as np

from prefrl.loop import Learner
from prefrl.queries import Uniform
from prefrl.schedules import Upfront
from prefrl.summarize import parts
from prefrl.summarize.compare import judge_of, knows_quality, sources
from prefrl.summarize.folder import SummaryFolder
from prefrl.summarize.newer import SEEN
from prefrl.summarize.posts import Posts, posts
from prefrl.summarize.settings import Settings
from prefrl.summarize.sft import loaded
from prefrl.text.accuracy import accuracies, by_length, by_reward
from prefrl.text.data import Judgement
from prefrl.text.judge import verdict
from prefrl.text.reward_model import RewardModel
from prefrl.text.sampling import sample_pairs
from prefrl.text.tokens import PreTrainedTokenizerBase


def fit(folder: SummaryFolder) -> dict[str, float]:
    """Fits, centres on people's summaries of watched posts, and says how often it is right about held-out pairs."""
    settings = folder.settings
    tokenizer, model = loaded(folder, "sft", settings)
    of = posts(settings, tokenizer)
    lengths = settings.prompt_length, settings.response_length
    reward = RewardModel.of(model, tokenizer, *lengths, settings.members, settings.seed)
    written = [(example.prompt, text) for example in of.validation for text in example.references]
    references = reward.read([prompt for prompt, _ in written], [text for _, text in written])
    wanted = parts.fit(settings)
    wanted = replace(wanted, seed=wanted.seed + settings.seed, folder=folder.unfinished("reward"), progress=True)
    with folder.comparisons().open_store() as store:
        learner = Learner(
            store=store,
            ensemble=reward.ensemble,
            budget=settings.comparisons,
            select=Uniform(),
            schedule=Upfront(),
            fit=wanted,
            seed=settings.seed,
        )
        found = learner.learn(references.segments(), step=0)
    if not found:
        raise ValueError(f"nobody has preferred a summary in {folder.path / 'comparisons'}: there is nothing to fit to")
    reward.save(folder.model("reward"))
    found |= {SEEN: float(learner.seen)}
    return found | (_right(folder, settings, of, tokenizer, reward) if knows_quality(settings) else {})


def _right(
    folder: SummaryFolder, settings: Settings, of: Posts, tokenizer: PreTrainedTokenizerBase, reward: RewardModel
) -> dict[str, float]:
    """How often reward and length tell the better of two summaries of a watched post, without the oracle's noise.

    Both are nan where nobody prefers either side of any pair.
    """
    rng = np.random.default_rng([settings.seed, len(of.validation)])
    pairs = sample_pairs(of.validation, sources(folder, settings), rng)
    judge = judge_of(settings, of, tokenizer)
    judged = [
        Judgement(example.prompt, left, right, verdict(judge, str(example.prompt), left, right))
        for example, (_, left), (_, right) in pairs
    ]
    told = any(pair.preference not in (None, 0.5) for pair in judged)
    return {
        f"reward/{name}_right": accuracies(judged, {name: scores})[0].accuracy if told else np.nan
        for name, scores in {"model": by_reward(reward), "length": by_length}.items()
    }

"""What decides how a language model learns to summarise: one value, and its presets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from prefrl.runs import check_settings, option

STAGES = ("sft", "compare", "reward", "ppo", "evaluate")
"""In the order in which each needs what those before it made."""
DIRECT = ("dpo", "ipo", "kto")
"""Stages beside reward and ppo: they need the answers alone."""
HUMAN, LEARNED, LIKERT = "human", "learned", "likert"
TOKENS, BEGUN = "tokens", "pretrained"
"""What settings belong to that the first model depends on, before it learns from summaries; those of the former decide
what its tokens are, and so what the comparisons hold."""


def of(stage: str, default: Any, help: str, also: Sequence[str] = ()) -> Any:
    """A setting of `stage`, which cannot be changed when that is finished; `also`: further stages that read it."""
    return option(default, help, stages=(stage, *also))


@dataclass(frozen=True)
class Settings:
    """Everything that decides what the stages make; a value that cannot be raises ValueError.

    Components are names as in `RunConfig`: `sft(epochs=2)`, `kl(beta=0.1)`, or `module:name` of the user's.
    """

    data: str = of(TOKENS, "grammar", "grammar, or scitldr, tldr, jsonl with a colon and a folder, file or hub's name")
    posts: int = of(TOKENS, 100_000, "posts to learn from, at most")
    model: str = of(
        TOKENS, "new", "new: from scratch, new:llama; or a Hugging Face causal language model's folder or name"
    )
    vocab: int = of(TOKENS, 4_000, "tokens that a new model's tokenizer learns")
    layers: int = of(BEGUN, 4, "of a new model")
    width: int = of(BEGUN, 192, "of a new model's layers")
    heads: int = of(BEGUN, 4, "of attention in each layer of a new model")
    prompt_length: int = of(TOKENS, 512, "tokens of a prompt; longer posts are cut")
    response_length: int = of(TOKENS, 48, "tokens of a summary, the end-of-text token included")
    pretrain: str | None = of(BEGUN, None, "learn the posts' own text before: pretrain(epochs=5)")
    sft: str = of("sft", "sft", "how summaries that people wrote are learned: sft(epochs=2)")
    sources: str = of(
        "compare", "sft reference", "whose summaries are compared: sft, sft@0.7 (colder), pretrained, ..."
    )
    comparisons: int = of("compare", 2_000, "answers to get")
    together: int = of("compare", 2, "summaries of one post that are compared with each other: 2 in pairs, or more")
    oracle: str = of(
        "compare",
        "rouge",
        "who answers: rouge(copying=0.5), human, judge:MODEL, or module:name",
        also=["evaluate"],
    )
    wrong: float = of("compare", 0.25, "share of answers that rouge gives against what it thinks, as people would")
    comparisons_from: str | None = of(
        "compare",
        None,
        "a published file of answers instead: tldr:FILE, or trl, texts, verdicts",
        also=["evaluate"],
    )
    members: int = of("reward", 3, "models in the reward ensemble")
    fit: str = of("reward", "texts", "how rewards are fitted: texts(passes=2), k_wise, texts(loss=margin(1.0))")
    score: str = of(
        "ppo", "mean", "what of the ensemble is paid: mean, min, or mean minus so many deviations: 0.5", also=DIRECT
    )
    reward: str = of(
        "ppo", LEARNED, "learned; or module:function of prompts and summaries, which gives scores", also=DIRECT
    )
    algo: str = of("ppo", "ppo", "ppo, a2c or trpo")
    episodes: int = of("ppo", 10_000, "summaries to learn from")
    temperature: float = of("ppo", 1.0, "at which summaries are drawn in training", also=DIRECT)
    kl: str = of("ppo", "kl", "what straying from the start costs: kl(beta=0.1), kl(target=6)")
    lora: int = of("ppo", 0, "rank of adapters to train in place of the policy's own weights; 0: none", also=DIRECT)
    ptx: float = of("ppo", 0.0, "weight of the loss on people's summaries in every update (PPO-ptx)")
    chunks: int = of("ppo", 1, "pieces of a minibatch whose gradients are summed, where memory is short")
    hyper: dict[str, Any] = of("ppo", {}, "settings of the algorithm that differ from its preset: learning_rate=1e-5")
    dpo: str = of("dpo", "dpo(lr=1e-4)", "how a policy is fitted to the answers directly, by `dpo`: dpo(beta=0.3)")
    ipo: str = of("ipo", "ipo(lr=1e-4)", "the same, by `ipo`")
    kto: str = of("kto", "kto(lr=1e-4)", "the same, by `kto`")
    judged: int = of("evaluate", 200, "held-out posts to judge by", also=DIRECT)
    judged_at: float = of("evaluate", 0.0, "temperature at which judged summaries are drawn; 0: greedy", also=DIRECT)
    best_of: int = of("evaluate", 16, "summaries by the SFT model, the best of which by reward is judged too; 1: none")
    device: str = option("auto", "where models live: cpu, cuda, auto")
    seed: int = of(TOKENS, 0, "seed of everything random")

    def __post_init__(self) -> None:
        for name in POSITIVE:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.temperature < inf:
            raise ValueError(f"temperature must be a number above 0, got {self.temperature}")
        for name in ("lora", "ptx", "judged_at", "seed"):
            if not 0 <= getattr(self, name) < inf:
                raise ValueError(f"{name} must be a number from 0 on, got {getattr(self, name)}")
        if self.together < 2:
            raise ValueError(f"together must be at least 2, got {self.together}: one summary cannot be compared")
        if not 0 <= self.wrong < 0.5:
            raise ValueError(f"wrong is a share of the answers, from 0 to below 0.5, got {self.wrong}")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} cannot be shared by {self.heads} heads: give a multiple of them")

    @property
    def asks_people(self) -> bool:
        """Whether it is people who answer: `human`, or `human(overlap=0.1)`."""
        return self.oracle.partition("(")[0] == HUMAN

    @property
    def learns_reward(self) -> bool:
        """Whether the reward is learned from answers, and no function of texts."""
        return self.reward == LEARNED

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Settings":
        """From plain values; an unknown key, or one of the wrong type, raises ValueError in one line."""
        check_settings(cls, values)
        return cls(**values)


POSITIVE = (
    *("posts", "vocab", "layers", "width", "heads", "prompt_length", "response_length"),
    *("comparisons", "members", "episodes", "chunks", "judged", "best_of"),
)

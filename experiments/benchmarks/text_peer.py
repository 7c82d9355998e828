"""The same PPO in TRL 1.12.0, its last release that has one, and in prefrl: episodes per second, and what they learn.

Both train one language model on one reward model from the same start, with the same KL penalty, losses, optimizer,
epochs, minibatches and lengths, each run in a process of its own with one torch thread; TRL in a virtual environment
of its own (made if missing). Time is that of training alone, without loading. What is theirs stays: TRL generates with
transformers, takes log-probabilities from the forward that generates, computes scores of all tokens at prompts too,
and normalises advantages over the batch, where prefrl does over the minibatch.
"""

import json
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor, nn
from transformers import GPT2ForSequenceClassification, PreTrainedTokenizerBase

from experiments.benchmarks import text_task
from experiments.benchmarks.measure import Row, arguments, installed, markdown, publish, ratios, scratch, table, workers
from prefrl.text.algorithms import LMPPO
from prefrl.text.kl import KL
from prefrl.text.models import load_model, save_model
from prefrl.text.samples import Prompt, Samples
from prefrl.text.scratch import new_model
from prefrl.text.sft import SFT
from prefrl.text.tokens import encode_prompts, load_tokenizer, to_samples
from prefrl.types import Array

PEER = ("trl==1.12.0", "transformers==5.23.0", "datasets==5.2.0", "accelerate==1.15.0", "torch==2.13.0", "numpy==2.4.6")
SHORTEST, LONGEST = 8, 24
"""Words in the sentences that the policy begins with."""
FITTED, BATCH = 300, 64
"""Updates of the reward model, and sentences in each."""


@dataclass(frozen=True)
class Task:
    """What both are given: the published settings, at a size for one core."""

    episodes: int = 70 * 64
    batch: int = 64
    minibatches: int = 4
    epochs: int = 4
    prompt_length: int = 16
    response_length: int = 32
    layers: int = 2
    width: int = 64
    lr: float = 1e-4
    adam_epsilon: float = 1e-8
    beta: float = 0.05
    gamma: float = 1.0
    gae_lambda: float = 0.95
    clip_range: float = 0.2
    vf_coef: float = 0.05


Run = dict[str, Any]
"""Seconds, episodes, and the curves of score and KL, one value per rollout."""


def prepare(folder: Path, task: Task) -> None:
    """The policy, the reward model and the prompts, as files that both read."""
    tokenizer = text_task.tokenizer()
    policy = new_model(tokenizer, task.layers, task.width, context=task.prompt_length + task.response_length)
    prompts = text_task.prompts(2_000, task.prompt_length, seed=1)
    texts = text_task.sentences(len(prompts), SHORTEST, LONGEST, seed=2)
    lengths = task.prompt_length, task.response_length
    SFT(epochs=4, lr=2e-3)(policy, to_samples(tokenizer, prompts, texts, *lengths))
    save_model(policy, tokenizer, folder / "policy")
    reward = GPT2ForSequenceClassification.from_pretrained(folder / "policy", num_labels=1)
    fit(reward, tokenizer, prompts, lengths)
    reward.save_pretrained(folder / "reward")
    ids, _ = encode_prompts(tokenizer, prompts, task.prompt_length)
    (folder / "task.json").write_text(json.dumps(asdict(task) | {"prompts": ids.tolist()}))


def fit(
    reward: GPT2ForSequenceClassification,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    lengths: tuple[int, int],
) -> None:
    """Regression on the share of liked words: -2 for none, 2 for all."""
    rng = np.random.default_rng(3)
    optimizer = torch.optim.Adam(reward.parameters(), lr=1e-3)
    reward.eval()
    for _ in range(FITTED):
        chosen = [prompts[i] for i in rng.integers(len(prompts), size=BATCH)]
        texts = text_task.leaning(BATCH, SHORTEST, LONGEST, rng)
        target = torch.tensor([4 * text_task.quality(text) - 2 for text in texts])
        said = scores(reward, to_samples(tokenizer, chosen, texts, *lengths))
        optimizer.zero_grad()
        nn.functional.mse_loss(said, target).backward()
        optimizer.step()


def scores(reward: GPT2ForSequenceClassification, samples: Samples) -> Tensor:
    """At the last real token of each sample, (B,)."""
    hidden = reward.transformer(
        input_ids=samples.ids, attention_mask=samples.attention, position_ids=samples.positions, use_cache=False
    ).last_hidden_state
    last = samples.prompts.shape[1] + samples.lengths - 1
    said: Tensor = reward.score(hidden[torch.arange(len(samples)), last]).squeeze(1)
    return said


class Curves(BaseCallback):
    """What every rollout came to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, list[float]] = {"score": [], "kl": []}

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        for name, values in self.found.items():
            values.append(float(self.logger.name_to_value[f"rollout/{name}"]))


class ValueStart(nn.Module):
    """The reward model as a value net's start: its parts, by the names that such a start gives them."""

    def __init__(self, reward: GPT2ForSequenceClassification) -> None:
        super().__init__()
        self.backbone, self.head = reward.transformer, reward.score


def prefrl(folder: Path, task: Task, seed: int) -> Run:
    tokenizer = load_tokenizer(folder / "policy")
    reward = GPT2ForSequenceClassification.from_pretrained(folder / "reward").eval()

    @torch.no_grad()
    def scored(samples: Samples, prompts: list[Prompt], texts: list[str]) -> Array:
        return scores(reward, samples).numpy()

    learner = LMPPO(
        load_model(folder / "policy", tokenizer),
        tokenizer,
        text_task.prompts(2_000, task.prompt_length, seed=1),
        scored,
        value_from=ValueStart(reward),
        kl=KL(task.beta),
        prompt_length=task.prompt_length,
        response_length=task.response_length,
        missing_eos=None,
        n_sequences=task.batch,
        batch_size=task.batch // task.minibatches,
        n_epochs=task.epochs,
        learning_rate=task.lr,
        gamma=task.gamma,
        gae_lambda=task.gae_lambda,
        clip_range=task.clip_range,
        vf_coef=task.vf_coef,
        max_grad_norm=float("inf"),
        policy_kwargs={"optimizer_kwargs": {"eps": task.adam_epsilon}},
        seed=seed,
        device="cpu",
    )
    curves = Curves()
    began = time.perf_counter()
    learner.learn_episodes(task.episodes, curves)
    return {"seconds": time.perf_counter() - began, "episodes": learner.episodes, "curves": curves.found}


def trl(python: Path, folder: Path, seed: int) -> Run:
    script = [str(python), "-m", "experiments.benchmarks.text_peer_run", str(folder), "--seed", str(seed)]
    done = subprocess.run(script, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    run: Run = json.loads(done.stdout.splitlines()[-1])  # what TRL logs comes before
    return run


def speed(run: Run) -> float:
    return float(run["episodes"] / run["seconds"])


def learned(runs: dict[str, list[Run]], points: int = 8) -> str:
    """Mean score and KL of each seed over stretches of the same episodes."""
    head = ["episodes", *(f"{name}, {what}" for what in ("score", "KL") for name in runs)]
    curves = {name: [run["curves"] for run in many] for name, many in runs.items()}
    rollouts = min(len(curve["score"]) for many in curves.values() for curve in many)
    episodes = next(iter(runs.values()))[0]["episodes"] // rollouts
    lines = []
    for some in np.array_split(np.arange(rollouts), min(points, rollouts)):
        means = [
            [f"{mean(curve[what][i] for i in some):.2f}" for curve in curves[name]]
            for what in ("score", "kl")
            for name in runs
        ]
        lines.append([f"to {episodes * (some[-1] + 1):,}", *(" ".join(seeds) for seeds in means)])
    return markdown(head, lines)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--venv", type=Path, default=Path(".venv-trl"), help="where TRL is, or will be")
    for name in ("episodes", "layers", "width"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Task, name))
    given = parser.parse_args()
    python = installed(given.venv, PEER)
    task = replace(Task(), episodes=given.episodes, layers=given.layers, width=given.width)
    runs: dict[str, list[Run]] = {"TRL": [], "prefrl": []}
    with scratch() as place, workers(1) as pool:
        folder = Path(place)
        pool.submit(prepare, folder, task).result()
        for seed in range(given.seeds):
            runs["TRL"].append(trl(python, folder, seed))
            runs["prefrl"].append(pool.submit(prefrl, folder, task, seed).result())
    speeds = {name: [speed(run) for run in many] for name, many in runs.items()}
    rows = [Row(f"{name}, episodes/s", values, format=",.1f") for name, values in speeds.items()]
    rows.append(Row("prefrl / TRL", ratios(speeds["prefrl"], speeds["TRL"]), "at least 1.5"))
    text = (
        f"# The same PPO in TRL\n\nA GPT-2 of {task.layers} layers of {task.width}; {task.episodes:,} episodes in "
        f"rollouts of {task.batch}, {task.epochs} epochs of {task.minibatches} minibatches, prompts of "
        f"{task.prompt_length} tokens, continuations of at most {task.response_length}; a repeat is a seed.\n\n"
        f"{table(rows)}\n\nMean score of the rollouts, and KL in nats per sequence, one number per seed:\n\n"
        f"{learned(runs)}\n\nTRL ran with {', '.join(PEER)}."
    )
    publish(given.out, "text_peer", text, {"task": asdict(task), "runs": runs})


if __name__ == "__main__":
    main()

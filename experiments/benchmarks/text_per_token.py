"""One row per sequence against one row per token: LMPPO, and Stable-Baselines3's PPO stepping token by token.

The peer is stock: an environment whose observation is the text so far and whose action is the next token, and a policy
whose features are the last hidden state of a backbone each for actor and critic. Both train the same GPT-2 from the
same start, with the same epochs and minibatches of as many tokens, and are paid by the same function of the text;
the peer pays for no KL, and so has less to do. The time is that of a token that was trained on.
"""

import resource
import time
from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from experiments.benchmarks import text_task
from experiments.benchmarks.measure import Row, arguments, interleaved, publish, ratios, table
from prefrl.text.algorithms import LMPPO
from prefrl.text.environment import on_text
from prefrl.text.models import backbone
from prefrl.text.samples import Prompt, positions
from prefrl.text.scratch import new_model
from prefrl.text.tokens import encode_prompts
from prefrl.types import Array

SIZES = {(12, 16): 8, (64, 32): 20, (128, 48): 80}
"""Tokens of prompts and of continuations, and how many times cheaper a token is to be."""
SETTINGS: dict[str, Any] = {"n_epochs": 4, "learning_rate": 1e-4, "gamma": 1.0, "gae_lambda": 0.95, "vf_coef": 0.05}
Cost = dict[str, float]
"""Microseconds per token, and gigabytes that the process held at most."""


class Tokens(VecEnv):
    """A token per step; an episode ends with the end-of-text token or after `longest`, and is paid then."""

    render_mode: str | None = None

    def __init__(
        self, prompts: Sequence[Prompt], tokenizer: PreTrainedTokenizerBase, n_envs: int, longest: int
    ) -> None:
        self._ids = encode_prompts(tokenizer, prompts, 10**6)[0].numpy()
        self._tokenizer, self._longest, self._next = tokenizer, longest, 0
        width = self._ids.shape[1]
        self._text = np.full((n_envs, width + longest), tokenizer.pad_token_id)
        self._filled = np.full(n_envs, width)
        vocab = len(tokenizer)
        super().__init__(n_envs, spaces.Box(0, vocab, (width + longest,), np.int64), spaces.Discrete(vocab))

    def reset(self) -> Array:
        for env in range(self.num_envs):
            self._begin(env)
        return self._text.copy()

    def _begin(self, env: int) -> None:
        width = self._ids.shape[1]
        self._text[env, :width] = self._ids[self._next % len(self._ids)]
        self._text[env, width:] = self._tokenizer.pad_token_id
        self._filled[env] = width
        self._next += 1

    def step_async(self, actions: Array) -> None:
        self._actions = actions

    def step_wait(self) -> tuple[Array, Array, Array, list[dict[str, Any]]]:
        self._text[np.arange(self.num_envs), self._filled] = self._actions
        self._filled += 1
        done = (self._actions == self._tokenizer.eos_token_id) | (self._filled == self._text.shape[1])
        rewards = np.zeros(self.num_envs, np.float32)
        for env in np.flatnonzero(done):
            words = self._tokenizer.decode(self._text[env, self._ids.shape[1] :], skip_special_tokens=True)
            rewards[env] = text_task.quality(words)
            self._begin(env)
        return self._text.copy(), rewards, done, [{} for _ in range(self.num_envs)]

    def close(self) -> None:
        """Nothing is open."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self, attr_name)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        setattr(self, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        return [getattr(self, method_name)(*args, **kwargs)] * self.num_envs

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * self.num_envs


class LastHidden(BaseFeaturesExtractor):
    """The hidden state at the last token so far; columns that are padding in all rows are left out."""

    def __init__(self, observation_space: spaces.Box, base: nn.Module, width: int, pad: int) -> None:
        super().__init__(observation_space, width)
        self.base, self.pad = deepcopy(base), pad

    def forward(self, observations: Tensor) -> Tensor:
        ids = observations.long()
        last = (ids != self.pad).long().cumsum(1).argmax(1)
        ids = ids[:, : int(last.max()) + 1]
        real = ids != self.pad
        hidden = self.base(input_ids=ids, attention_mask=real, position_ids=positions(real), use_cache=False)
        return hidden.last_hidden_state[torch.arange(len(ids)), last]


def cost(learner: OnPolicyAlgorithm, tokens: int) -> Cost:
    began = time.perf_counter()
    learner.learn(tokens)
    seconds = (time.perf_counter() - began) / learner.num_timesteps
    return {"time": 1e6 * seconds, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


def per_sequence(prompt: int, longest: int, sequences: int, rounds: int, width: int, minibatches: int) -> Cost:
    tokenizer = text_task.tokenizer()
    learner = LMPPO(
        new_model(tokenizer, width=width, context=prompt + longest),
        tokenizer,
        text_task.prompts(1_000, prompt, seed=1),
        on_text(lambda prompts, texts: [text_task.quality(text) for text in texts]),
        prompt_length=prompt,
        response_length=longest,
        n_sequences=sequences,
        batch_size=sequences // minibatches,
        device="cpu",
        **SETTINGS,
    )
    return cost(learner, rounds * sequences * longest)


def per_token(prompt: int, longest: int, sequences: int, rounds: int, width: int, minibatches: int) -> Cost:
    tokenizer = text_task.tokenizer()
    base = backbone(new_model(tokenizer, width=width, context=prompt + longest))
    extractor = {"base": base, "width": width, "pad": tokenizer.pad_token_id}
    learner = PPO(
        "MlpPolicy",
        Tokens(text_task.prompts(1_000, prompt, seed=1), tokenizer, sequences, longest),
        n_steps=longest,
        batch_size=sequences * longest // minibatches,
        policy_kwargs={
            "features_extractor_class": LastHidden,
            "features_extractor_kwargs": extractor,
            "share_features_extractor": False,
            "net_arch": [],
            "ortho_init": False,
        },
        seed=0,
        device="cpu",
        **SETTINGS,
    )
    return cost(learner, rounds * sequences * longest)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--sequences", type=int, default=64, help="of a rollout")
    parser.add_argument("--minibatches", type=int, default=1, help="of a rollout; LMPPO's own number is one")
    parser.add_argument("--rounds", type=int, default=1, help="rollouts token by token; of sequences 10 times as many")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--longest", type=int, default=48, help="leave out longer continuations")
    given = parser.parse_args()
    rows, numbers = [], {}
    for (prompt, longest), target in SIZES.items():
        if longest > given.longest:
            continue
        size = f"P{prompt} T{longest}"
        ways = {
            name: partial(way, prompt, longest, given.sequences, rounds, given.width, given.minibatches)
            for name, way, rounds in (("sequence", per_sequence, 10 * given.rounds), ("token", per_token, given.rounds))
        }
        numbers[size] = interleaved(ways, given.repeats)
        found = {(name, what): [run[what] for run in runs] for name, runs in numbers[size].items() for what in runs[0]}
        rows += [Row(f"{size}, a row per {name}, µs per token", found[name, "time"], format=",.0f") for name in ways]
        cheaper = ratios(found["token", "time"], found["sequence", "time"])
        rows.append(Row(f"{size}, times cheaper", cheaper, f"at least {target}", ".1f"))
        rows += [Row(f"{size}, a row per {name}, GB of memory", found[name, "memory"], format=".1f") for name in ways]
    title = (
        f"# One row per sequence, or per token\n\nA GPT-2 of 2 layers of {given.width}; {given.sequences} sequences "
        f"per rollout, {SETTINGS['n_epochs']} epochs of minibatches of {given.sequences // given.minibatches}; prompts "
        f"of P tokens, continuations of at most T.\n\n"
    )
    publish(given.out, "text_per_token", title + table(rows), {"costs": numbers})


if __name__ == "__main__":
    main()

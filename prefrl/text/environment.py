"""Prompts as an environment of one step: what is observed is a prompt, what is done is its whole continuation."""

import traceback
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from prefrl.text.samples import Prompt, Samples
from prefrl.text.tokens import encode_prompts
from prefrl.types import Array

Reward = Callable[[Samples, list[Prompt], list[str]], Array]
"""(samples, their prompts before they were cut, their continuations) -> a score of each, (B,)."""
LARGEST = 1e6
"""Of scores, which are squared and summed in float32."""
TextReward = Callable[[list[str], list[str]], Sequence[float]]
"""(prompts, continuations) -> a score of each."""


def plain(scores: Any) -> Any:
    """Scores with numbers in place of tensors, whichever device they are on, and whether a gradient is kept."""
    if isinstance(scores, Tensor):
        return scores.tolist()
    return [plain(each) for each in scores] if isinstance(scores, list | tuple) else scores


class BadReward(ValueError):
    """A reward said nothing that can be learned from."""


def on_text(function: TextReward) -> Reward:
    """Any function of prompts and continuations as a reward; texts are as people read them."""

    def reward(samples: Samples, prompts: list[Prompt], texts: list[str]) -> Array:
        asked = [str(prompt) for prompt in prompts]
        try:
            scores = function(asked, texts)
        except Exception as error:
            culprit = next(
                (text for prompt, text in zip(asked, texts, strict=True) if _raises(function, prompt, text)), texts[0]
            )
            raised = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(raised.filename).name}, line {raised.lineno}"
            raise BadReward(
                f"{_name(function)} raised {type(error).__name__}: {error}; on {culprit!r} ({where})"
            ) from error
        return np.asarray(plain(scores), dtype=np.float64)

    return wraps(function)(reward)


def scores_of(reward: Reward, samples: Samples, prompts: list[Prompt], texts: list[str]) -> Array:
    """What the reward says of samples, (B,) float32.

    Raises BadReward, a ValueError, that names the reward and a text where it says nothing usable, before anything is
    learned from it.
    """
    try:
        scores = np.asarray(reward(samples, prompts, texts), dtype=np.float64)
    except BadReward:
        raise
    except Exception as error:
        raise BadReward(
            f"{_name(reward)} raised {type(error).__name__}: {error}; on a batch with {texts[0]!r}"
        ) from error
    if scores.shape != (len(texts),):
        raise BadReward(
            f"{_name(reward)} gave scores of shape {scores.shape} for {len(texts)} continuations, "
            f"the first of which is {texts[0]!r}: give one number for each"
        )
    bad = np.flatnonzero(~(np.abs(scores) <= LARGEST))
    if bad.size:
        raise BadReward(f"{_name(reward)} gave {scores[bad[0]]} for {texts[bad[0]]!r}: give one from -1e6 to 1e6")
    return scores.astype(np.float32)


class Prompts(VecEnv):
    """Prompts in an order drawn anew for each pass; every step ends all episodes, and scores them.

    Observations are left-padded token ids (sequences, P), actions right-padded ones (sequences, R), int64. `position`
    counts prompts that were continued, and decides which come next: nothing else is to be kept to go on from here.
    """

    render_mode: str | None = None

    def __init__(
        self,
        prompts: Sequence[Prompt],
        tokenizer: PreTrainedTokenizerBase,
        reward: Reward,
        sequences: int,
        longest_prompt: int,
        longest_response: int,
        seed: int,
    ) -> None:
        if not prompts:
            raise ValueError("there are no prompts to continue: give at least one")
        self.ids, self.cut = encode_prompts(tokenizer, prompts, longest_prompt)
        """Of all prompts, (N, P); how many did not fit, and were cut."""
        self.position = 0
        self._prompts = list(prompts)
        self._tokenizer, self._reward, self._seed = tokenizer, reward, seed
        shape, vocab = (self.ids.shape[1],), len(tokenizer)
        super().__init__(
            sequences,
            spaces.Box(0, vocab, shape, np.int64),
            spaces.MultiDiscrete(np.full(longest_response, vocab, np.int64)),
        )

    def rows(self) -> Array:
        """Which prompts are to be continued now, (sequences,)."""
        numbers = np.arange(self.position, self.position + self.num_envs)
        passes, places = np.divmod(numbers, len(self._prompts))
        orders = {
            number: np.random.default_rng([self._seed, number]).permutation(len(self._prompts))
            for number in np.unique(passes).tolist()
        }
        return np.array([orders[number][place] for number, place in zip(passes.tolist(), places, strict=True)])

    def reset(self) -> Array:
        """The prompts that are to be continued now, (sequences, P)."""
        return self.ids[torch.from_numpy(self.rows())].numpy()

    def step_async(self, actions: Array) -> None:
        """Takes continuations."""
        self._actions = actions

    def step_wait(self) -> tuple[Array, Array, Array, list[dict[str, Any]]]:
        """The next prompts, the scores, that all are done, and the texts as `prompt` and `text`."""
        samples = self._samples(torch.as_tensor(self._actions))
        prompts = [self._prompts[row] for row in self.rows()]
        texts = samples.texts(self._tokenizer)
        scores = scores_of(self._reward, samples, prompts, texts)
        self.position += self.num_envs
        infos = [{"prompt": str(prompt), "text": text} for prompt, text in zip(prompts, texts, strict=True)]
        return self.reset(), scores, np.ones(self.num_envs, dtype=bool), infos

    def _samples(self, responses: Tensor) -> Samples:
        prompts = torch.from_numpy(self.reset()).to(responses.device)
        return Samples(prompts, responses, self._tokenizer.pad_token_id, self._tokenizer.eos_token_id)

    def close(self) -> None:
        """Nothing is open."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The same for all: they share what they are."""
        return [getattr(self, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Sets it for all."""
        setattr(self, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Calls it once, for all."""
        return [getattr(self, method_name)(*args, **kwargs)]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """None is."""
        return [False] * self.num_envs


def _raises(function: TextReward, prompt: str, text: str) -> bool:
    try:
        function([prompt], [text])
    except Exception:
        return True
    return False


def _name(function: Callable[..., object]) -> str:
    return f"the reward {getattr(function, '__name__', type(function).__name__)}"

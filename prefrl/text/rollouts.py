"""How an algorithm of Stable-Baselines3 that learns on-policy comes by sequences: its update is left as it is."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.type_aliases import MaybeCallback
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from prefrl.text import saving
from prefrl.text.buffer import SequenceBuffer
from prefrl.text.environment import Prompts, Reward
from prefrl.text.generate import chosen, continued, spread, token_logits
from prefrl.text.kl import KL, per_sequence, token_rewards, without_end
from prefrl.text.models import LanguageModel, context_of, load_model, reference_of
from prefrl.text.policy import SequencePolicy
from prefrl.text.ptx import Ptx
from prefrl.text.samples import Prompt, Samples

USUAL_KL = KL()


class SequenceRollouts(OnPolicyAlgorithm):
    """Goes before an algorithm among the bases: `class LMPPO(SequenceRollouts, PPO)`.

    A rollout is one continuation of each of `n_sequences` prompts; a timestep is a real token of one. A token is paid
    its KL to the reference, the last one also the score (Stiennon et al. 2020, section 3.4).
    """

    usual: ClassVar[Mapping[str, Any]] = {}
    """Settings that fit sequences, where the algorithm's own defaults do not."""

    def __init__(
        self,
        model: LanguageModel,
        tokenizer: PreTrainedTokenizerBase,
        prompts: Sequence[Prompt],
        reward: Reward,
        *,
        value_from: nn.Module | str | Path | None = None,
        kl: KL = USUAL_KL,
        response_length: int = 48,
        prompt_length: int = 512,
        temperature: float = 1.0,
        missing_eos: float | None = -1.0,
        ptx: Ptx | None = None,
        n_sequences: int = 64,
        chunks: int = 1,
        policy_kwargs: Mapping[str, Any] | None = None,
        seed: int = 0,
        **settings: Any,
    ) -> None:
        """Trains a copy of `model`; what that is now is the reference.

        `value_from`: what the value net starts from: the reward model's net (paper), a language model or its name; the
        policy's own, if not given. `missing_eos`: the most that counts as score of what did not end (None: its own).
        `chunks`: see `SequencePolicy`. `settings`: the algorithm's own.
        """
        given = {name: value for name, value in (locals() | settings).items() if name not in _NOT_SETTINGS}
        settings = {**self.usual, **settings}
        if "batch_size" in settings:  # SB3 warns of a larger one, as it counts steps
            settings["batch_size"] = min(settings["batch_size"], n_sequences)
        if isinstance(value_from, str | Path):
            value_from = load_model(value_from, tokenizer)
        _check(temperature, n_sequences, settings.get("batch_size", n_sequences))
        self.tokenizer, self.kl, self.temperature, self.missing_eos = tokenizer, kl, temperature, missing_eos
        self.chunks, self._given, self.beta = chunks, given, kl.beta
        self.episodes = 0
        """Sequences that were learned from."""
        self._goal: int | None = None
        self._good: dict[str, Tensor] = {}
        nets = {"model": model, "tokenizer": tokenizer, "value_from": value_from, "ptx": ptx}
        how = {"temperature": temperature, "chunks": chunks, "with_entropy": bool(settings.get("ent_coef"))}
        longest = min(prompt_length, _room(model, response_length))
        super().__init__(
            policy=SequencePolicy,
            env=Prompts(prompts, tokenizer, reward, n_sequences, longest, response_length, seed),
            n_steps=response_length,
            rollout_buffer_class=SequenceBuffer,
            policy_kwargs={**nets, **how, **(policy_kwargs or {})},
            seed=seed,
            **settings,
        )
        self._reference = reference_of(self.language_model)
        self._steps = 0

    @property
    def language_model(self) -> LanguageModel:
        """The model in training."""
        assert isinstance(self.policy, SequencePolicy)
        return self.policy.model

    @property
    def cut(self) -> int:
        """How many of the prompts were too long, and were cut."""
        assert isinstance(self.env, Prompts)
        return self.env.cut

    def learn_episodes(self, episodes: int, callback: MaybeCallback = None, log_interval: int = 1) -> Self:
        """As `learn`, until so many more sequences were learned from, in whole rollouts.

        Schedules run over all sequences there will have been by then, as in SB3's `learn` without a reset.
        """
        assert self.env is not None
        self._goal = self.episodes + episodes
        try:
            rollouts = -(-episodes // self.env.num_envs)
            self.learn(rollouts * self.env.num_envs * self.n_steps, callback, log_interval, reset_num_timesteps=False)
        finally:
            self._goal = None
        return self

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """Continues the next prompts, has them scored, and fills the buffer; false where training is to end.

        Random numbers follow from the seed and the sequences learned from: training that goes on from a file repeats
        the training that was not interrupted, even if a callback saved it while it was here.
        """
        assert isinstance(env, Prompts) and isinstance(rollout_buffer, SequenceBuffer)
        assert isinstance(self.policy, SequencePolicy)
        if self._goal is not None and self.episodes >= self._goal:
            return False
        self.policy.set_training_mode(False)
        rollout_buffer.reset()
        self._steps, env.position = self.num_timesteps, self.episodes
        rollout_buffer.rng = self._seeded()
        callback.on_rollout_start()
        samples = self._continued(env).trimmed()
        self.policy.prompt_length = samples.prompts.shape[1]
        values, own, reference = self._evaluated(samples)
        kl = float(per_sequence(own, reference, samples.mask).mean())
        self._stop_or_remember(kl)
        _, scores, dones, infos = env.step(samples.responses.cpu().numpy())
        counted = without_end(torch.from_numpy(scores).to(self.device), samples.ended, self.missing_eos)
        rewards = token_rewards(counted, own, reference, samples.mask, self.beta)
        rollout_buffer.fill(samples, rewards, values, own)
        self._record(samples, scores, kl, rewards, own)
        self.num_timesteps += int(samples.lengths.sum())
        callback.update_locals(locals())
        if not callback.on_step():
            return False
        callback.on_rollout_end()
        self._steps, self.episodes = self.num_timesteps, self.episodes + len(samples)
        self.beta = self.kl.adapted(self.beta, kl, len(samples))
        return True

    def _seeded(self) -> np.random.Generator:
        """Seeds what draws, and gives a generator for what is drawn from none of the libraries'."""
        seeds = np.random.SeedSequence([self.seed or 0, self.episodes])
        set_random_seed(int(seeds.generate_state(1)[0]))
        return np.random.default_rng(seeds)

    @torch.no_grad()
    def _continued(self, env: Prompts) -> Samples:
        prompts = torch.from_numpy(env.reset()).to(self.device)
        tokens = self.tokenizer
        model = self.language_model
        return continued(model, prompts, self.n_steps, tokens.pad_token_id, tokens.eos_token_id, self.temperature)

    @torch.no_grad()
    def _evaluated(self, samples: Samples) -> tuple[Tensor, Tensor, Tensor]:
        """Values and log-probabilities of the policy, and log-probabilities of the reference, (B, R) each.

        By the forward that training uses: the one that generates rounds otherwise (detail 13).
        """
        assert isinstance(self.policy, SequencePolicy)
        size = -(-int(getattr(self, "batch_size", len(samples))) // self.chunks)
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        for rows in torch.arange(len(samples), device=self.device).split(size):
            some = self.policy.samples(samples[rows].ids)
            values, own, _ = self.policy.evaluate(some)
            with self._reference() as reference:  # of the same width: it rounds as the policy does
                theirs = chosen(token_logits(reference, some, self.temperature), some.responses[some.mask])
            mask = samples[rows].mask
            parts.append((spread(values, mask), spread(own, mask), spread(theirs, mask)))
        values, own, theirs = (torch.cat(each) for each in zip(*parts, strict=True))
        return values, own, theirs

    def _stop_or_remember(self, kl: float) -> None:
        """Raises where the policy has gone too far, with the parameters of the last rollout at which it had not."""
        learning = {name: each for name, each in self.language_model.named_parameters() if each.requires_grad}
        try:
            self.kl.check(kl, self.beta)
        except RuntimeError:
            with torch.no_grad():
                for name, parameter in self._good.items():
                    learning[name].copy_(parameter)
            raise
        self._good = {name: parameter.detach().clone() for name, parameter in learning.items()}

    def _record(self, samples: Samples, scores: np.ndarray[Any, Any], kl: float, rewards: Tensor, own: Tensor) -> None:
        tokens = samples.lengths.sum()
        metrics = {
            "score": float(scores.mean()),
            "reward": float(rewards.sum(1).mean()),
            "kl": kl,
            "length": float(tokens / len(samples)),
            "ended": float(samples.ended.float().mean()),
            "beta": self.beta,
            "entropy": float(-own.sum() / tokens),  # of what was drawn: an estimate that costs nothing
        }
        for name, value in metrics.items():
            self.logger.record(f"rollout/{name}", value)

    def _update_current_progress_remaining(self, num_timesteps: int, total_timesteps: int) -> None:
        super()._update_current_progress_remaining(num_timesteps, total_timesteps)
        if self._goal is not None:
            self._current_progress_remaining = max(1 - self.episodes / self._goal, 0.0)

    def save(self, path: saving.Target, exclude: object = None, include: object = None) -> None:
        """Networks, optimizer, plain settings and counters; not the reference, reward, prompts and tokenizer."""
        counters = {name: getattr(self, name) for name in _COUNTERS}
        saving.write(self, path, self._given, counters | {"num_timesteps": self._steps})

    @classmethod
    def load(cls, path: saving.Target, *args: Any, **kwargs: Any) -> Self:
        """`load(path, model, tokenizer, prompts, reward, **settings)`: goes on from what `save` wrote.

        `model` is the one that training began with, and the reference still; settings given here replace kept ones, and
        another penalty begins at its own beta.
        Nothing in the file runs code.
        """
        settings, counters = saving.read(path, kwargs)
        algorithm = cls(*args, **settings)
        saving.read_parameters(algorithm, path)
        for name in _COUNTERS:
            setattr(algorithm, name, counters[name])
        algorithm.num_timesteps = algorithm._steps = counters["num_timesteps"]
        return algorithm


_NOT_SETTINGS = ("self", "model", "tokenizer", "prompts", "reward", "settings", "device", "__class__")
_COUNTERS = ("episodes", "beta", "_n_updates")


def _check(temperature: float, n_sequences: int, batch_size: int) -> None:
    if temperature <= 0:
        raise ValueError(f"temperature must be positive in training, got {temperature}: only evaluation is greedy")
    if n_sequences < 2 or n_sequences % min(batch_size, n_sequences):
        raise ValueError(f"n_sequences must be 2 or more and a multiple of batch_size {batch_size}, got {n_sequences}")


def _room(model: LanguageModel, response_length: int) -> int:
    """Tokens of the model's context that continuations leave to prompts."""
    room = context_of(model) - response_length
    if room < 1:
        raise ValueError(
            f"continuations of {response_length} tokens leave no room for prompts in the model's context of "
            f"{context_of(model)}: lower response_length"
        )
    return room

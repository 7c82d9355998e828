"""What a rollout of sequences was: padded while advantages are computed, flattened over real tokens for training."""

from collections.abc import Generator

import numpy as np
import torch
from stable_baselines3.common.buffers import BaseBuffer, RolloutBuffer
from stable_baselines3.common.type_aliases import RolloutBufferSamples
from torch import Tensor

from prefrl.text.samples import Samples
from prefrl.types import Array


class SequenceBuffer(RolloutBuffer):
    """One continuation for each environment of SB3, one token for each of its steps: arrays are (R, sequences)."""

    samples: Samples
    rng: np.random.Generator
    """Draws the order of sequences."""

    def reset(self) -> None:
        """Empties the buffer."""
        shape = (self.buffer_size, self.n_envs)
        self.rewards, self.returns, self.episode_starts, self.values, self.log_probs, self.advantages = (
            np.zeros(shape, dtype=np.float32) for _ in range(6)
        )
        self.generator_ready = False
        BaseBuffer.reset(self)

    def fill(self, samples: Samples, rewards: Tensor, values: Tensor, log_probs: Tensor) -> None:
        """Takes a rollout, (sequences, R or fewer) each, and computes its advantages.

        They stop where a sequence does (detail 12): after its last token an episode starts whose steps earn nothing and
        are worth nothing, so that their advantages are 0.
        """
        self.samples = samples
        padded = {"rewards": rewards, "values": values, "log_probs": log_probs}
        for name, numbers in padded.items():
            getattr(self, name)[: numbers.shape[1]] = (numbers * samples.mask).T.float().cpu().numpy()
        lengths = samples.lengths.cpu().numpy()
        shorter = np.flatnonzero(lengths < self.buffer_size)
        self.episode_starts[lengths[shorter], shorter] = 1
        self.pos, self.full = self.buffer_size, True
        self.compute_returns_and_advantage(torch.zeros(self.n_envs), np.ones(self.n_envs, dtype=bool))

    def get(self, batch_size: int | None = None) -> Generator[RolloutBufferSamples, None, None]:
        """Minibatches of so many sequences, all if not given, in a new order each time.

        Sequences as (sequences, P + R) token ids; everything else of their real tokens, (tokens,).
        """
        assert self.full, "a rollout is to be collected first"
        if not self.generator_ready:
            self._flatten()
        order = self.rng.permutation(self.n_envs)
        size = batch_size or self.n_envs
        for start in range(0, self.n_envs, size):
            yield self._get_samples(order[start : start + size])

    def _flatten(self) -> None:
        """Keeps real tokens only, (tokens,), one sequence after the other: SB3 computes over all there are, too."""
        mask = self.samples.mask.cpu().numpy()
        for name in ("values", "log_probs", "advantages", "returns"):
            setattr(self, name, getattr(self, name).T[:, : mask.shape[1]][mask])
        self._ends = np.cumsum(mask.sum(1))
        self._ids, self._tokens = self.samples.ids, self.samples.responses[self.samples.mask]
        self.generator_ready = True

    def _get_samples(self, batch_inds: Array, env: object = None) -> RolloutBufferSamples:
        starts = np.concatenate([[0], self._ends[:-1]])
        tokens = np.concatenate([np.arange(starts[row], self._ends[row]) for row in batch_inds])
        numbers = (self.values, self.log_probs, self.advantages, self.returns)
        return RolloutBufferSamples(
            self._ids[torch.from_numpy(batch_inds)],
            self._tokens[torch.from_numpy(tokens)],
            *(self.to_torch(each[tokens]) for each in numbers),
        )

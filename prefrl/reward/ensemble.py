"""Several nets that learn from the same comparisons, normalised one by one and averaged."""

from collections.abc import Sequence

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from prefrl.reward.networks import MLP, MakeNet, RewardNet
from prefrl.types import Array, Segment

STD = 1.0
"""Standard deviation of the reward that the policy is paid on MuJoCo (Christiano et al. 2017, appendix A.1)."""

CLIP = 10.0
"""Standardised observations are clipped here, as SB3 does: what hardly moved so far may move a thousandfold."""

CHUNK = 4_000
"""Steps predicted at once: activations that stay in cache make it 2.7 times as fast as all at once."""

FRAMES_AT_ONCE = 100
"""Steps predicted at once where observations are frames, for the same reason."""


class Ensemble(nn.Module):
    """r_hat = mean over members of (r_m - mean_m) / std_m, times `std` (section 2.2.3).

    Every net sees float32 inputs: observations standardised by `adapt` (pixels divided by 255 instead; of whole numbers
    such as pixels and tokens, what the net's own `prepare` makes), and discrete actions, if `choices` is given,
    one-hot. `obs_shape`, `act_shape`: of one observation and one action. `std`: None leaves every net the scale that
    it has, the log-odds of preferences, and takes off its mean alone.
    Raises ValueError for segments of different lengths.
    """

    version = 0
    """The published version these parameters are; 0 before any fit, when every step is paid 0."""

    def __init__(
        self,
        obs_shape: Sequence[int],
        act_shape: Sequence[int],
        net: MakeNet = MLP,
        members: int = 3,
        choices: int | None = None,
        std: float | None = STD,
    ) -> None:
        super().__init__()
        if members < 1:
            raise ValueError(f"an ensemble needs at least one member, got {members}")
        self.choices, self.std = choices, std
        inputs = (choices,) if choices else act_shape
        self.members = nn.ModuleList([net(obs_shape, inputs) for _ in range(members)])
        for name, shape in [("obs", tuple(obs_shape)), ("reward", (members,))]:
            self.register_buffer(f"{name}_mean", torch.zeros(shape))
            self.register_buffer(f"{name}_std", torch.ones(shape))
        self.obs_mean: Tensor
        self.obs_std: Tensor
        self.reward_mean: Tensor
        self.reward_std: Tensor

    def __len__(self) -> int:
        return len(self.members)

    def forward(self, obs: Tensor, acts: Tensor) -> Tensor:
        """Encoded obs (batch, T, *obs) and acts (batch, T, *act) -> raw rewards (members, batch, T)."""
        return torch.stack([member(obs, acts) for member in self.members])

    def encode(self, obs: Array, acts: Array) -> tuple[Tensor, Tensor]:
        """What an environment gives and takes -> what the nets see."""
        device = self.obs_mean.device
        x, a = torch.as_tensor(obs, device=device), torch.as_tensor(acts, device=device)
        x = self._prepared(x)
        a = nn.functional.one_hot(a.long(), self.choices).float() if self.choices else a.float()
        return x, a

    def _prepared(self, obs: Tensor) -> Tensor:
        prepare = getattr(self.members[0], "prepare", None)
        if prepare is not None and not obs.is_floating_point():
            prepared: Tensor = prepare(obs)
            return prepared
        if obs.dtype == torch.uint8:
            return obs.float() / 255
        return ((obs.float() - self.obs_mean) / self.obs_std).clamp(-CLIP, CLIP)

    def adapt(self, obs: Array) -> None:
        """Standardises observations by the mean and spread of `obs` (..., *obs).

        Pixels are left alone, and whole numbers that the nets prepare themselves.
        """
        if obs.dtype == np.uint8 or (obs.dtype.kind in "iu" and hasattr(self.members[0], "prepare")):
            return
        flat = torch.as_tensor(obs, dtype=torch.float32).reshape(-1, *self.obs_mean.shape)
        self.obs_mean.copy_(flat.mean(0))
        self.obs_std.copy_(flat.std(0, correction=0).clamp(min=1e-3))

    @torch.no_grad()
    def rewards(self, obs: Array, acts: Array) -> Array:
        """obs (batch, T, *obs), acts (batch, T, *act) -> raw rewards (members, batch, T), no gradient."""
        self.eval()
        size = max((FRAMES_AT_ONCE if obs.dtype == np.uint8 else CHUNK) // acts.shape[1], 1)
        starts = range(0, len(acts), size)
        parts = [self(*self.encode(obs[i : i + size], acts[i : i + size])).cpu().numpy() for i in starts]
        return np.concatenate(parts, axis=1)

    def returns(self, segments: Sequence[Segment]) -> Array:
        """Predicted return of each segment: (members, segments)."""
        total: Array = self.rewards(*stack(segments)).sum(2)
        return total

    def normalise(self, segments: Sequence[Segment]) -> Array:
        """Re-estimates every member's mean and standard deviation on `segments` of the current policy.

        Returns their rewards, normalised: (members, segments, T).
        """
        obs, acts = stack(segments)
        raw, paid = self.rewards(obs, acts), self._paid(obs, acts)
        predicted = torch.as_tensor(raw.reshape(len(raw), -1) if paid is None else raw[:, paid])
        self.reward_mean.copy_(predicted.mean(1))
        if self.std is not None:
            self.reward_std.copy_(predicted.std(1, correction=0).clamp(min=1e-6))
        return self._normalised(raw, paid)

    def pay(self, obs: Array, acts: Array) -> Array:
        """The reward of each step that the policy is paid, (batch, T), for obs (batch, T, *obs) and acts."""
        if self.version == 0:
            return np.zeros(np.shape(acts)[:2], dtype=np.float32)
        paid: Array = self._normalised(self.rewards(obs, acts), self._paid(obs, acts)).mean(0)
        return paid

    def _paid(self, obs: Array, acts: Array) -> Array | None:
        """Which steps the nets give a reward, (batch, T); None if they give all of them one."""
        which = getattr(self.members[0], "paid", None)
        if which is None:
            return None
        with torch.no_grad():
            paid: Array = which(*self.encode(obs, acts)).cpu().numpy()
        return paid

    def _normalised(self, raw: Array, paid: Array | None) -> Array:
        mean, std = (moment.cpu().numpy()[:, None, None] for moment in (self.reward_mean, self.reward_std))
        normalised: Array = (1.0 if self.std is None else self.std) * (raw - mean) / std
        return normalised if paid is None else np.where(paid, normalised, 0)

    def to_bytes(self) -> bytes:
        """Parameters and normalisers in safetensors' format."""
        return save({name: value.contiguous() for name, value in self.state_dict().items()})

    def from_bytes(self, data: bytes, version: int) -> None:
        """Takes over what `to_bytes` gave and `publish` numbered."""
        self.load_state_dict(load(data))
        self.version = version


def stack(segments: Sequence[Segment]) -> tuple[Array, Array]:
    """obs (segments, T, *obs) and acts (segments, T, *act)."""
    lengths = {len(segment) for segment in segments}
    if len(lengths) > 1:
        low, high = min(lengths), max(lengths)
        raise ValueError(f"segments of {low} and {high} steps cannot be compared: give every query one length")
    return np.stack([s.obs for s in segments]), np.stack([s.acts for s in segments])


__all__ = ["Ensemble", "RewardNet", "stack"]

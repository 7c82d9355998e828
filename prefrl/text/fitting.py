"""How reward models of text are fitted: `Fit` with other numbers, every text forwarded once."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from prefrl.reward.ensemble import Ensemble, stack
from prefrl.reward.fit import Data, Fit
from prefrl.reward.loss import Loss, logistic
from prefrl.types import Array, Comparison, Segment


@dataclass(frozen=True)
class Texts(Fit):
    """One pass over the comparisons, of labellers that mean what they say (Stiennon et al. 2020, appendix B.1)."""

    first_passes: int = 1
    """More of them over-fit."""
    passes: int = 1
    lr: float = 3e-4
    """For models of a few million parameters; those of a hundred million take 1e-4 or less, of billions 1e-5."""
    l2: float = 0.0
    l2_bounds: tuple[float, float] = (0.0, 0.0)
    loss: Loss = logistic
    """`Margin` wants the better side ahead by some log-odds more."""
    at_once: int = 256
    """Texts whose activations are in memory together; those of a larger batch are computed twice instead."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.at_once <= 0:
            raise ValueError(f"fit's at_once must be positive, got {self.at_once}")

    def data(self, ensemble: Ensemble, comparisons: Sequence[Comparison]) -> Data:
        return Distinct(ensemble, comparisons, self.at_once)


@dataclass(frozen=True)
class KWise(Texts):
    """All comparisons of one prompt are one element of a batch (Ouyang et al. 2022, section 3.5).

    The loss is the mean over its pairs, for one forward pass of each text in place of one of each side of each pair:
    pairs that are shuffled show the model every text K - 1 times in a pass, and it over-fits.
    """

    def elements(self, comparisons: Sequence[Comparison]) -> tuple[list[int], Array]:
        prompts = [_prompt(c.left) for c in comparisons]
        numbered = {name: number for number, name in enumerate(dict.fromkeys(prompts))}
        return prompts, np.array([numbered[name] for name in prompts])


class Distinct(Data):
    """Comparisons of texts, which may take part in several: tokens (texts, T), and which two are compared."""

    def __init__(self, ensemble: Ensemble, comparisons: Sequence[Comparison], at_once: int) -> None:
        texts: dict[bytes, Segment] = {}
        numbers: dict[bytes, int] = {}
        for segment in (side for c in comparisons for side in (c.left, c.right)):
            numbers.setdefault(key := segment.obs.tobytes(), len(numbers))
            texts.setdefault(key, segment)
        self._which = np.array([[numbers[s.obs.tobytes()] for s in (c.left, c.right)] for c in comparisons])
        self._obs, self._acts = ensemble.encode(*stack([*texts.values()]))
        self._at_once = at_once
        self.mu = torch.tensor([c.preference for c in comparisons], dtype=torch.float32, device=self._obs.device)

    def returns(self, member: torch.nn.Module, rows: Array) -> tuple[Tensor, Tensor]:
        """A member's scores of both sides of some comparisons, (rows,), (rows,): every text is forwarded once."""
        texts, where = np.unique(self._which[rows], return_inverse=True)
        parts = [torch.from_numpy(texts[i : i + self._at_once]) for i in range(0, len(texts), self._at_once)]
        again = len(parts) > 1 and torch.is_grad_enabled()

        def score(obs: Tensor, acts: Tensor) -> Tensor:
            scores: Tensor = member(obs, acts).sum(1)
            return scores

        inputs = [(self._obs[part], self._acts[part]) for part in parts]
        scores = [checkpoint(score, *both, use_reentrant=False) if again else score(*both) for both in inputs]
        left, right = torch.cat(scores)[torch.from_numpy(where.reshape(-1, 2))].unbind(1)
        return left, right


def _prompt(segment: Segment) -> int:
    """A number for what stands before the continuation, the same in every store and process."""
    before = segment.obs[: int(np.argmax(segment.acts == 1))]
    return int.from_bytes(sha256(before.tobytes()).digest()[:8])

"""How reward models of text are fitted: `Fit` with other numbers, every text forwarded once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from tqdm import tqdm

from prefrl.reward.ensemble import Ensemble, stack
from prefrl.reward.fit import Data, Fit
from prefrl.reward.loss import Loss, logistic
from prefrl.text.kept import Kept, digest
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
    save_every: int = 50
    """Updates between two saved states, where there is a folder for them."""
    folder: Path | None = None
    """Where a fit that was cut off goes on, if it is the same; a setting, as it is the learner that fits."""
    progress: bool = False
    """Whether a bar is shown on a terminal."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("at_once", "save_every"):
            if getattr(self, name) <= 0:
                raise ValueError(f"fit's {name} must be positive, got {getattr(self, name)}")

    def data(self, ensemble: Ensemble, comparisons: Sequence[Comparison]) -> Data:
        return Distinct(ensemble, comparisons, self.at_once)

    def watched(
        self,
        batches: Iterator[list[Array]],
        updates: int,
        ensemble: Ensemble,
        optimizer: torch.optim.Adam,
        comparisons: Sequence[Comparison],
    ) -> Iterator[list[Array]]:
        """Those that are left, if some were learned from before a kill."""
        first = next(batches)
        kept = Kept(self.folder, self._promised(updates, ensemble, comparisons, first), ensemble, optimizer)
        try:
            state = kept.load("updates")
        except ValueError:
            state = None  # of another fit, or broken
        done = 0 if state is None else int(state)
        left = islice(chain([first], batches), done, None)
        bar = tqdm(left, "reward", updates, initial=done, disable=None if self.progress else True)
        for made, rows in enumerate(bar, done + 1):
            yield rows
            if made % self.save_every == 0 or made == updates:
                kept.save(updates=torch.tensor(made))

    def _promised(
        self, updates: int, ensemble: Ensemble, comparisons: Sequence[Comparison], first: Sequence[Array]
    ) -> dict[str, Any]:
        """What the fit depends on; the `first` update's rows follow from who draws what, and by which chance."""
        if self.folder is None:
            return {}
        settings = {name: getattr(self, name) for name in ("batch", "lr", "l2")}
        loss = getattr(self.loss, "__name__", repr(self.loss))
        rows = [drawn.tolist() for drawn in first]
        start, data = digest(*ensemble.parameters()), _digest(comparisons)
        return settings | {"loss": loss, "updates": updates, "data": data, "start": start, "first": rows}


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


def _digest(comparisons: Sequence[Comparison]) -> str:
    """Name of what is compared, and of the answers."""
    held = sha256()
    for c in comparisons:
        for side in (c.left.obs, c.right.obs, np.float64(c.preference)):
            held.update(side.tobytes())
    return held.hexdigest()

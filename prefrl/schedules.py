"""When to ask: which share of the label budget should have been asked by which point of the run."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Hyperbolic:
    """After the initial labels, a rate proportional to 1 / (progress + constant) (Christiano et al. 2017, A.1)."""

    initial: float = 0.25
    """Share asked about the untrained policy; the paper's for MuJoCo."""
    constant: float = 0.2
    """In lengths of the run; smaller asks earlier.

    The paper's 2e6 steps are 2.0 in a run of 1e6, which hardly anneals. With 0.2, six of ten labels are asked in
    the first quarter: a reward that is wrong early leads the policy where later labels do not bring it back.
    """

    def __post_init__(self) -> None:
        _check_initial(self.initial)
        if not 0 < self.constant < math.inf:
            raise ValueError(f"constant is {self.constant}: give a number above 0, in lengths of the run")

    def __call__(self, progress: float) -> float:
        rest = math.log1p(progress / self.constant) / math.log1p(1 / self.constant)
        return self.initial + (1 - self.initial) * rest


@dataclass(frozen=True)
class Constant:
    """After the initial labels, one rate throughout."""

    initial: float = 0.25
    """Share asked about the untrained policy."""

    def __post_init__(self) -> None:
        _check_initial(self.initial)

    def __call__(self, progress: float) -> float:
        return self.initial + (1 - self.initial) * progress


@dataclass(frozen=True)
class Upfront:
    """Everything about the untrained policy: the paper's ablation, which does badly."""

    def __call__(self, progress: float) -> float:
        return 1.0


def _check_initial(initial: float) -> None:
    if not 0 < initial <= 1:
        raise ValueError(f"initial is {initial}: give a share above 0, at most 1")

"""What a run takes where its configuration says nothing: one choice for vectors, one for frames."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Usual:
    """Names as in a configuration, and numbers that go with them."""

    net: str
    fit: str
    schedule: str
    std: float
    """Standard deviation of the reward that the policy is paid."""
    recent_steps: int
    """Steps of the policy, the newest, that are asked about, and on which rewards are normalised."""


VECTORS = Usual("mlp", "fit", "hyperbolic", std=1.0, recent_steps=30_000)
"""Christiano et al. 2017, appendix A.1; the steps are a few rollouts."""

FRAMES = Usual("cnn", "frames", "hyperbolic(initial=0.0909, constant=0.1)", std=0.05, recent_steps=5_000)
"""Appendix A.2: 500 of 5,500 labels about the untrained policy, then a rate of 5e6 / (T + 5e6) for T up to 5e7.

Predicted rewards of as many steps as of vectors would take the predictor longer than a turn does.
"""


def usual(frames: bool) -> Usual:
    """For observations that are frames, or vectors."""
    return FRAMES if frames else VECTORS

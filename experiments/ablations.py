"""What each part is there for: the ablations of section 3.3 (Christiano et al. 2017), on two tasks.

    prefrl reproduce ablations

One part is left out at a time. "Returns" replaces comparisons by what an oracle could say of one segment alone: its
true return, to which the reward is fitted by least squares.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.mujoco import NOTHING, TRUE, beside_true, enough
from prefrl.reproduce.claim import Claim, Verdict
from prefrl.reproduce.records import Record
from prefrl.reproduce.statistics import shares
from prefrl.reproduce.tables import percent
from prefrl.reward.fit import Fit
from prefrl.types import Segment

TASKS = ("HalfCheetah", "Hopper")
LABELS = 700
STEPS = 400_000
"""Where learning curves have parted: two fifths of the tasks' full length, and of its cost."""
ONLINE = f"{LABELS} labels"
ABLATIONS: dict[str, dict[str, Any]] = {
    "random queries": {"select": "uniform"},
    "no ensemble": {"members": 1, "select": "uniform"},  # one net disagrees with nobody: pairs are random too
    "offline labels": {"schedule": "upfront"},
    "no regularisation": {"fit": "fit(l2=0.0, l2_bounds=(0.0, 0.0))"},
    "single steps": {"segment_length": 1},
    "returns": {"oracle": "experiments.ablations:rating", "fit": "experiments.ablations:FIT_RETURNS"},
}


def rating(left: Segment, right: Segment) -> float:
    """The mean true reward of the left segment as a share in (0, 1), which a logit turns back; the right is ignored."""
    assert left.truth is not None
    return 1 / (1 + math.exp(-float(np.mean(left.truth))))


def squared_error(left: Tensor, right: Tensor, mu: Tensor) -> Tensor:
    """Of the predicted return of the left segment; `mu` is its `rating`."""
    return (left - torch.logit(mu)) ** 2


FIT_RETURNS = Fit(loss=squared_error)


def verdicts(records: Sequence[Record]) -> list[Verdict]:
    return [below(records, ablation) for ablation in ("offline labels", "single steps", "returns")]


def below(records: Sequence[Record], ablation: str, by: float = 0.2) -> Verdict:
    """On the task where leaving a part out costs most."""
    whole, without = (shares(records, condition, TRUE) for condition in (ONLINE, ablation))
    lost = {task: float(np.mean(whole[task]) - np.mean(found)) for task, found in without.items() if task in whole}
    claim, target = f"{ablation} below comparisons online", f"by {by:.0%} of the baseline on one task or more"
    said = ", ".join(f"{task} {percent(abs(cost))} {'below' if cost > 0 else 'above'}" for task, cost in lost.items())
    reached = max(lost.values()) >= by if enough(whole, TASKS) and enough(without, TASKS) else None
    return Verdict(claim, target, said or NOTHING, reached)


CLAIM = Claim(
    name="ablations",
    about="Comparisons of segments, asked all along, beat every other way of learning a reward",
    runs=beside_true(TASKS, LABELS, STEPS, {ONLINE: {}} | ABLATIONS),
    verdicts=verdicts,
)

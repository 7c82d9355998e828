"""What a few seeds say: returns as shares of a baseline's."""

from collections.abc import Sequence
from statistics import fmean

import numpy as np

from prefrl.reproduce.records import Record

BASELINE = "true reward"


def share(record: Record, records: Sequence[Record], baseline: str = BASELINE) -> float:
    """Of the way from the untrained policy (0) to the mean of the baseline's seeds (1) on the record's task.

    Untrained is the mean over all records of the task. nan if the baseline is missing, or no better than untrained.
    Both ends are taken as known: intervals of shares do not hold the baseline's own spread.
    """
    same = [other for other in records if other.task == record.task]
    reached = [other.result for other in same if other.condition == baseline]
    if not reached:
        return np.nan
    untrained = fmean(other.untrained for other in same)
    way = fmean(reached) - untrained
    return (record.result - untrained) / way if way > 0 else np.nan


def shares(records: Sequence[Record], condition: str, baseline: str = BASELINE) -> dict[str, list[float]]:
    """Task -> the share of each seed of the condition; without tasks where there are no shares."""
    found: dict[str, list[float]] = {}
    for record in records:
        if record.condition == condition:
            part = share(record, records, baseline)
            if not np.isnan(part):
                found.setdefault(record.task, []).append(part)
    return found

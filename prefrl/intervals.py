"""What a few values say: the interquartile mean, and intervals around a statistic."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import bootstrap

from prefrl.types import Array

Statistic = Callable[[Array, int], Array]
"""(values, axis) -> of the values along that axis; `np.mean` is one."""


@overload
def interquartile_mean(values: ArrayLike, axis: None = None) -> float: ...


@overload
def interquartile_mean(values: ArrayLike, axis: int) -> Array: ...


def interquartile_mean(values: ArrayLike, axis: int | None = None) -> float | Array:
    """Mean of the middle half; of all values, or along an axis.

    A value that a quartile cuts counts for the part of it inside: of three, the middle one counts four times as much
    as the others. For multiples of four values this is `scipy.stats.trim_mean(values, 0.25)`, which rliable takes
    (Agarwal et al. 2021); for others that rounds to whole values, and of three or fewer leaves the plain mean.
    """
    array = np.asarray(values, dtype=float)
    array = array.reshape(-1) if axis is None else np.moveaxis(array, axis, -1)
    n = array.shape[-1]
    if n == 0:
        raise ValueError("no values have no interquartile mean")
    ranks = np.arange(n)
    inside = (np.minimum(ranks + 1, 0.75 * n) - np.maximum(ranks, 0.25 * n)).clip(min=0)
    means: Array = np.sort(array, axis=-1) @ (2 * inside / n)
    return float(means) if axis is None else means


class Interval(NamedTuple):
    """A statistic, and the bounds between which it is believed to be; nan where nothing tells them."""

    value: float
    low: float
    high: float


def interval(
    values_by_stratum: Sequence[Sequence[float]],
    statistic: Statistic = interquartile_mean,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Of all values together, by the percentile method: each stratum, a task, is resampled in itself.

    The order of values and of strata does not matter. One value in every stratum tells nothing about spread: bounds
    are then nan, not the value itself, so that no single seed passes for a sure one. Where only some strata have one
    value, those stay as they are, and the interval is too narrow. Few seeds know little: of three, it is about their
    range, and is missed more often than `level` says.
    """
    strata = [np.array(values) for values in sorted(sorted(values) for values in values_by_stratum if len(values))]
    if not strata:
        raise ValueError("an interval needs at least one value")
    every = np.concatenate(strata)
    value = float(statistic(every, -1))
    varied = [values for values in strata if len(values) > 1]
    if not varied:
        return Interval(value, np.nan, np.nan)
    fixed = np.array([values[0] for values in strata if len(values) == 1])

    def together(*samples: Array, axis: int) -> Array:
        shape = (*samples[0].shape[:-1], len(fixed))
        return statistic(np.concatenate([*samples, np.broadcast_to(fixed, shape)], axis=-1), axis)

    result = bootstrap(
        varied, together, n_resamples=resamples, confidence_level=level, method="percentile", vectorized=True, rng=seed
    )
    return Interval(value, float(result.confidence_interval.low), float(result.confidence_interval.high))

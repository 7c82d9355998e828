"""How good a reward is, told from labels alone, or (in experiments) from the true reward."""

import numpy as np

from prefrl.types import Array

BINS = np.linspace(0.5, 1.0, 6)
"""Edges of the confidence bins in which calibration is measured."""


def prequential(p: Array, mu: Array) -> dict[str, float]:
    """Each fresh label scored by the reward that has not seen it: p predicted, mu answered, both (labels,).

    Ties have no right side, so they do not count as errors: their mean distance from 1/2 is told apart.
    """
    decisive = mu != 0.5
    metrics = {"reward/prequential_loss": float(-(mu * np.log(p) + (1 - mu) * np.log(1 - p)).mean())}
    if decisive.any():
        metrics["reward/prequential_accuracy"] = float(((p > 0.5) == (mu > 0.5))[decisive].mean())
    if not decisive.all():
        metrics["reward/prequential_tie_distance"] = float(np.abs(p - 0.5)[~decisive].mean())
    return metrics


def calibration(p: Array, mu: Array) -> dict[str, float]:
    """Share of right answers in each bin of confidence, and their expected calibration error."""
    decisive = mu != 0.5
    confidence = np.maximum(p, 1 - p)[decisive]
    right = ((p > 0.5) == (mu > 0.5))[decisive]
    if not len(confidence):
        return {}
    which = np.clip(np.digitize(confidence, BINS) - 1, 0, len(BINS) - 2)
    metrics, error = {}, 0.0
    for i in np.unique(which):
        here = which == i
        error += abs(confidence[here].mean() - right[here].mean()) * here.mean()
        metrics[f"reward/right_at_{BINS[i]:.1f}_to_{BINS[i + 1]:.1f}"] = float(right[here].mean())
    return metrics | {"reward/calibration_error": float(error)}


def distribution(rewards: Array) -> dict[str, float]:
    """Of normalised rewards (members, segments, T): quantiles of their mean, and how far members differ."""
    mean = rewards.mean(0)
    low, median, high = np.quantile(mean, [0.05, 0.5, 0.95])
    return {
        "reward/std": float(mean.std()),
        "reward/q05": float(low),
        "reward/q50": float(median),
        "reward/q95": float(high),
        "reward/spread": float(rewards.std(0).mean()),
    }


def pearson(predicted: Array, truth: Array) -> float:
    """Correlation over steps of learned and true reward; 0 where either is constant."""
    predicted, truth = np.ravel(predicted), np.ravel(truth)
    if predicted.std() < 1e-12 or truth.std() < 1e-12:
        return 0.0
    return float(np.corrcoef(predicted, truth)[0, 1])

"""A new reward from the labels of a run; no environment is needed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from prefrl.files import read_json, reading
from prefrl.loop import Learner
from prefrl.parts import completed, find_fit, find_net
from prefrl.queries import Uniform
from prefrl.reward.ensemble import Ensemble
from prefrl.runs import RunFolder
from prefrl.schedules import Upfront
from prefrl.usual import usual

PASSES = 100
"""Over all labels, for nets that begin anew: as many as a run's later refits make together."""


def refit(path: Path, fit: str | None = None, seed: int = 0) -> dict[str, float]:
    """Fits a fresh ensemble to all answers in the store and publishes it; what was found.

    The nets are normalised on the newest quarter of the segments that were asked about. `fit`: settings in place of the
    run's, as in `fit(first_passes=100)`. Raises ValueError for what is no run, or has no labels.
    """
    folder = RunFolder.open(path)
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    with folder.open_store() as store:
        queries = store.queries()
        if not store.counts().labelled:
            raise ValueError(f"{path} has no labels to fit to")
        newest = queries[-max(len(queries) // 4, 1) :]
        recent = [store.segment(id).blind() for query in newest for id in (query.left, query.right)]
        frames = recent[0].obs.dtype == np.uint8
        recent = recent[-max(usual(frames).recent_steps // len(recent[0]), 2) :]
        config = completed(folder.config, frames)
        with reading(file := folder.path / "spaces.json"):
            ensemble = Ensemble(**read_json(file), net=find_net(config.net or ""), members=config.members)
        settings = find_fit(fit or config.fit or "")
        if not fit and settings.rate is None:
            settings = replace(settings, first_passes=PASSES)
        learner = Learner(store, ensemble, config.labels, Uniform(), Upfront(), settings, seed)
        return learner.learn(recent, step=queries[-1].step)

"""A learner on a store, small enough to be fitted in milliseconds, and what it is asked about."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import torch

from prefrl.loop import Learner
from prefrl.oracles import Synthetic
from prefrl.queries import Uniform
from prefrl.reward.ensemble import Ensemble
from prefrl.reward.fit import Fit
from prefrl.reward.networks import MLP
from prefrl.schedules import Constant
from prefrl.types import Label, Segment

STEPS = 5
"""Steps of a segment."""
TOTAL = 100
"""Steps of a run."""
TURNS = (10, 25, 50, 75, 100)
"""Steps after which a run has turns."""


def segments(step, count=12):
    """Of a policy after `step` steps; the true reward is the first observation."""
    rng = np.random.default_rng(step)
    obs, acts = rng.normal(size=(2, count, STEPS, 2)).astype(np.float32)
    return [Segment(o, a, o[:, 0].astype(float), step=step) for o, a in zip(obs, acts, strict=True)]


def make(seed=0):
    torch.manual_seed(seed)
    return Ensemble((2,), (2,), net=partial(MLP, width=8))


def learner(store, budget=40, **parts):
    usual = {"select": Uniform(), "schedule": Constant(initial=0.25), "fit": Fit(first_passes=4, passes=2, batch=8)}
    return Learner(store, make(), budget, **{**usual, **parts})


def parts(oracle=None, people=False, **facts):
    """As much of a configuration as processes look at."""
    config = SimpleNamespace(total_timesteps=TOTAL, env="tests.tiny_envs:Dot-v0")
    return SimpleNamespace(oracle=oracle or Synthetic(), people=people, config=config, facts=SimpleNamespace(**facts))


def publish(store, seed=1):
    """Another reward; its version."""
    return store.publish(make(seed).to_bytes(), step=seed, labels=5)


def answer(store, *preferences, queries=None, labeller="someone", **more):
    """To the queries, or to all that are open, in turn."""
    asked = store.unanswered() if queries is None else queries
    given = zip(asked, [*preferences] * len(asked), strict=False)
    return store.answer([Label(query.id, preference, labeller, **more) for query, preference in given])

"""Deep reinforcement learning from preferences, on Gymnasium and Stable-Baselines3."""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefrl.control.callback import PreferenceCallback as PreferenceCallback
    from prefrl.control.rollout import Cutter as Cutter
    from prefrl.control.rollout import learned as learned
    from prefrl.control.vec_env import Recorder as Recorder
    from prefrl.evaluate import evaluate as evaluate
    from prefrl.loop import Learner as Learner
    from prefrl.loop import Lockstep as Lockstep
    from prefrl.loop import Turns as Turns
    from prefrl.recent import Recent as Recent
    from prefrl.refit import refit as refit
    from prefrl.report import report as report
    from prefrl.reward.ensemble import Ensemble as Ensemble
    from prefrl.reward.fit import Fit as Fit
    from prefrl.runs import RunConfig as RunConfig
    from prefrl.store import Store as Store
    from prefrl.train import resume as resume
    from prefrl.train import train as train
    from prefrl.types import Comparison as Comparison
    from prefrl.types import Label as Label
    from prefrl.types import Query as Query
    from prefrl.types import Segment as Segment

_HOMES = {
    "RunConfig": "prefrl.runs",
    "train": "prefrl.train",
    "resume": "prefrl.train",
    "evaluate": "prefrl.evaluate",
    "refit": "prefrl.refit",
    "report": "prefrl.report",
    "Segment": "prefrl.types",
    "Query": "prefrl.types",
    "Label": "prefrl.types",
    "Comparison": "prefrl.types",
    "Store": "prefrl.store",
    "Ensemble": "prefrl.reward.ensemble",
    "Fit": "prefrl.reward.fit",
    "Learner": "prefrl.loop",
    "Lockstep": "prefrl.loop",
    "Recent": "prefrl.loop",
    "Turns": "prefrl.loop",
    "Recorder": "prefrl.control.vec_env",
    "Cutter": "prefrl.control.rollout",
    "learned": "prefrl.control.rollout",
    "PreferenceCallback": "prefrl.control.callback",
}
"""Public name -> the module that defines it; imported when first used, so that the command line starts at once."""

__all__ = [*_HOMES]


class _Package(ModuleType):
    """Keeps `prefrl.train` the function when Python, importing `prefrl/train.py`, would make it the module."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'prefrl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__


sys.modules[__name__].__class__ = _Package

"""Deep reinforcement learning from preferences, on Gymnasium and Stable-Baselines3."""

from importlib import import_module

_HOMES = {
    "RunConfig": "prefrl.runs",
    "RunFolder": "prefrl.runs",
    "train": "prefrl.train",
    "resume": "prefrl.train",
    "evaluate": "prefrl.evaluate",
}
__all__ = [*_HOMES]


def __getattr__(name: str) -> object:  # the command line starts without torch
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'prefrl' has no attribute {name!r}")

"""Flags of the command line that several commands share, and what they come to."""

import argparse
from dataclasses import MISSING, Field, fields
from typing import Any

from prefrl.runs import RunConfig, read_settings

OTHER_NAMES = {
    "env": ("--env-id",),
    "total_timesteps": ("-n", "--n-timesteps"),
    "hyper": ("-params", "--hyperparams"),
    "n_envs": ("--num-envs",),
}
"""Names of our flags in SB3's zoo and in CleanRL."""


def add_settings(command: argparse.ArgumentParser, of: type = RunConfig) -> None:
    """A flag for every setting of a run, or of another configuration."""
    for setting in fields(of):
        flags = (f"--{setting.name.replace('_', '-')}", *OTHER_NAMES.get(setting.name, ()))
        options: dict[str, Any] = {"help": _help(setting), "default": argparse.SUPPRESS, "dest": setting.name}
        if setting.type in (bool, "bool"):
            options |= {"action": "store_true"}
        elif setting.default_factory is dict:
            options |= {"nargs": "+", "metavar": "NAME=VALUE"}
        else:
            options |= {"type": _kind(str(setting.type)), "metavar": setting.name.upper()}
        if setting.metadata.get("alone"):
            options |= {"nargs": "?", "const": setting.metadata["alone"]}
        command.add_argument(*flags, **options)


def _kind(annotation: str) -> type:
    return next((kind for kind in (int, float) if kind.__name__ in annotation), str)


def _help(setting: "Field[Any]") -> str:
    default = "" if setting.default in (MISSING, None, False) else f" (default: {setting.default})"
    return str(setting.metadata["help"]).replace("%", "%%") + default


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, got {text}")
    return int(text)


def config(given: argparse.Namespace) -> RunConfig:
    """What the flags of `add_settings` say; those that are not given are as in the file `--config`."""
    base = read_settings(given.config) if given.config else {}
    return RunConfig.of(base | settings(given))


def settings(given: argparse.Namespace, of: type = RunConfig) -> dict[str, Any]:
    """Those that flags of `add_settings` were given for."""
    flags = {s.name: getattr(given, s.name) for s in fields(of) if hasattr(given, s.name)}
    if "hyper" in flags:
        flags["hyper"] = dict(_assignment(text) for text in flags["hyper"])
    return flags


def _assignment(text: str) -> tuple[str, Any]:
    """`name=value`, or `name:value` as in SB3's zoo."""
    import yaml

    name, sign, value = text.partition("=" if "=" in text else ":")
    if not sign:
        raise ValueError(f"cannot read {text!r}: write NAME=VALUE, such as learning_rate=0.001")
    try:
        read = yaml.safe_load(value)
        return name, float(read) if isinstance(read, str) and _is_number(read) else read  # YAML: 3e-4 is a word
    except yaml.YAMLError:
        raise ValueError(f"cannot read {text!r}: write NAME=VALUE, such as learning_rate=0.001") from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

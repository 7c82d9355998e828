"""An algorithm on sequences in a zip file of Stable-Baselines3's kind, that runs no code when it is read."""

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.save_util import load_from_zip_file, save_to_zip_file

from prefrl.files import reading, whole
from prefrl.text.kl import KL

Target = str | Path | io.BufferedIOBase
"""A file, or where it is; `.zip` is added to a name without an ending."""


def write(algorithm: BaseAlgorithm, target: Target, settings: Mapping[str, Any], counters: Mapping[str, Any]) -> None:
    """Networks, optimizer, and as JSON the counters and what of the settings is plain; a whole file or none."""
    plain = {name: _plain(value) for name, value in settings.items()}
    kept = {name: value for name, value in plain.items() if _is_json(value)}
    data = {"settings": kept, "not_kept": sorted(plain.keys() - kept.keys()), "counters": dict(counters)}
    if isinstance(target, str | Path):
        path = _path(target)
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as file:
            assert isinstance(file, io.BufferedIOBase)
            save_to_zip_file(file, data, algorithm.get_parameters())
    else:
        save_to_zip_file(target, data, algorithm.get_parameters())


def read(target: Target, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings, those `given` in place of the kept ones, and counters; beta is that of a penalty that is given anew.

    Raises ValueError where a setting that could not be kept is not given.
    """
    name = _path(target) if isinstance(target, str | Path) else target
    with reading(Path(str(name))), zipfile.ZipFile(name) as archive:
        data = json.loads(archive.read("data"))
        settings, counters = dict(data["settings"]), dict(data["counters"])
        missing = [name for name in data["not_kept"] if name not in given]
    if missing:
        raise ValueError(f"{', '.join(missing)} cannot be kept in a file: give what was given at the start")
    if "kl" in settings:
        kept = settings["kl"] = KL(**settings["kl"])
        anew = given.get("kl", kept)
        if replace(anew, stop_at=kept.stop_at) != kept:
            counters["beta"] = anew.beta
    return settings | dict(given), counters


def read_parameters(algorithm: BaseAlgorithm, target: Target) -> None:
    """Takes over networks and optimizer."""
    name = _path(target) if isinstance(target, str | Path) else target
    with reading(Path(str(name))):
        _, parameters, _ = load_from_zip_file(name, device=algorithm.device, load_data=False)
        algorithm.set_parameters(parameters, device=algorithm.device)


def _plain(value: object) -> object:
    return asdict(value) if isinstance(value, KL) else value


def _is_json(value: object) -> bool:
    try:
        return bool(json.loads(json.dumps(value)) == value)
    except TypeError:
        return False


def _path(target: str | Path) -> Path:
    path = Path(target)
    return path if path.suffix else path.with_suffix(".zip")

"""What the processes of a run tell each other beside the store: how far each is, and what is worth asking about."""

import json
import os
import time
from pathlib import Path
from typing import Any

from prefrl.files import reading

FOLDER = "live"


def write(run: Path, name: str, **facts: Any) -> None:
    """Replaces the status of the process `name`; `facts` are plain values."""
    folder = run / FOLDER
    folder.mkdir(exist_ok=True)
    half = folder / f".{name}.half"
    half.write_text(json.dumps({"pid": os.getpid(), "at": time.time()} | facts))
    half.replace(folder / f"{name}.json")


def read(run: Path, name: str) -> dict[str, Any]:
    """The status that the process `name` wrote last; empty before the first."""
    file = run / FOLDER / f"{name}.json"
    with reading(file):
        try:
            found: dict[str, Any] = json.loads(file.read_text())
        except FileNotFoundError:
            return {}
        return found

"""What is installed here, what is missing, and what to do about it."""

import importlib.util
import sqlite3

from prefrl.control import camera
from prefrl.runs import system

EXTRAS = {
    "mujoco": ("the paper's simulated tasks", ("mujoco",)),
    "atari": ("the paper's games", ("ale_py", "cv2")),
    "text": ("prefrl summarize", ("accelerate", "datasets", "peft", "tokenizers", "transformers")),
    "web": ("the labelling page", ("av", "fastapi", "uvicorn")),
    "postgres": ("--store postgresql://...", ("psycopg",)),
    "parquet": ("prefrl export --format parquet", ("pyarrow",)),
    "ray": ("prefrl reproduce --engine ray", ("ray",)),
    "tune": ("prefrl tune", ("optuna",)),
    "track": ("prefrl train --track", ("wandb",)),
}
"""Extra -> what it is for, and the packages that show it is there."""


def examine() -> str:
    """One line for each thing that matters to a run."""
    found = system()
    lines = [f"python {found['python']} on {found['platform']}, {found['cores']} cores"]
    lines += [f"{name} {version or 'is missing'}" for name, version in found["packages"].items()]
    lines += [f"sqlite {sqlite3.sqlite_version}"]
    for extra, (use, packages) in EXTRAS.items():
        if missing := [package for package in packages if not _installed(package)]:
            lines.append(f'{use} needs {", ".join(missing)}: pip install "prefrl[{extra}]"')
    if _installed("mujoco"):
        library = camera.working_gl()
        lines.append(f"MuJoCo draws clips with {library}" if library else camera.no_gl())
    return "\n".join(lines)


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None

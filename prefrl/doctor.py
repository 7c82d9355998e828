"""What is installed here, what is missing, and what to do about it."""

import importlib.util
import sqlite3

from prefrl.runs import system

EXTRAS = {
    "mujoco": ("mujoco", "the paper's tasks"),
    "parquet": ("pyarrow", "prefrl export --format parquet"),
    "track": ("wandb", "prefrl train --track"),
}
"""Extra -> the package that shows it is there, and what it is for."""


def examine() -> str:
    """One line for each thing that matters to a run."""
    found = system()
    lines = [f"python {found['python']} on {found['platform']}, {found['cores']} cores"]
    lines += [f"{name} {version or 'is missing'}" for name, version in found["packages"].items()]
    lines += [f"sqlite {sqlite3.sqlite_version}"]
    for extra, (package, use) in EXTRAS.items():
        if importlib.util.find_spec(package) is None:
            lines.append(f'{use} needs {package}: pip install "prefrl[{extra}]"')
    return "\n".join(lines)

"""Reading files that may be broken, or a stranger's."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Unreadable(ValueError):
    """A file that does not hold what it should."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Whatever a missing, broken or hostile file makes its readers raise becomes one line that names the file."""
    try:
        yield
    except Unreadable:
        raise
    except Exception as error:
        words = " ".join(str(error).split()) or "it is not what it should be"
        raise Unreadable(f"{path} cannot be read: {type(error).__name__}: {words}") from error


def read_json(path: Path) -> Any:
    """What a JSON file holds."""
    with reading(path):
        return json.loads(path.read_text())

"""Reading files that may be broken, or a stranger's."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Whatever a missing, broken or hostile file makes its readers raise becomes one line that names the file."""
    try:
        yield
    except Exception as error:
        words = " ".join(f"{error}".split()) or type(error).__name__
        raise ValueError(f"{path} cannot be read: {words}") from error

"""What runs beside the policy: whether it can be begun here, and with what."""

import pickle
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefrl.control import camera
from prefrl.loop import Show
from prefrl.oracles import Human
from prefrl.parts import Parts
from prefrl.recent import Recent
from prefrl.store import Store

if TYPE_CHECKING:
    from prefrl.web.options import PageOptions


def check(parts: Parts, objects: Mapping[str, Any], page: "PageOptions | None" = None, run: Path | None = None) -> None:
    """Raises ValueError for what other processes would need and cannot have; `run` None: one that is new."""
    if parts.asynchronous:
        _check_given({**objects, "environment": parts.facts})
    if parts.people:
        _check_people(parts, page, run)


def _check_given(objects: Mapping[str, Any]) -> None:
    for name, value in objects.items():
        if not _can_be_given(value):
            words = f"other processes cannot be given this {name}: define it at the top level of a module"
            raise ValueError(f"{words}, or leave out --asynchronous")


def _can_be_given(value: object) -> bool:
    try:
        pickled = pickle.dumps(value)
    except Exception:  # whatever an object of the user's raises
        return False
    return b"__main__" not in pickled or hasattr(sys.modules["__main__"], "__file__")  # a notebook cannot be imported


def _check_people(parts: Parts, page: "PageOptions | None", run: Path | None) -> None:
    try:
        import prefrl.people  # noqa: F401
        from prefrl.web import serve
    except ImportError as error:
        raise ValueError(f'people need a page, and that {error.name}: pip install "prefrl[web]"') from error
    if parts.facts.drawn and camera.working_gl() is None:
        raise ValueError(camera.no_gl())
    serve.check(run, _options(page))


def filmed(run: Path, store: Store, fps: int, recent: Recent) -> Show:
    """Makes clips of frames; needs PyAV."""
    from prefrl.people import Filmed

    kept = 2 * (recent.segments.maxlen or 0)  # those that were offered last may be recent no longer
    return Filmed(run, store, fps, kept)


def page_server(run: Path, people: Human, page: "PageOptions | None") -> tuple[Any, ...]:
    """What serves the labelling page, with its arguments; needs FastAPI."""
    from prefrl.web.serve import serve

    return serve, run, replace(_options(page), overlap=people.overlap, repeats=people.repeats)


def _options(page: "PageOptions | None") -> "PageOptions":
    from prefrl.web.options import PageOptions

    return page or PageOptions(open_browser=False)

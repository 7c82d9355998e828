"""What a labeller is shown of a query: two clips, or two texts with their prompt."""

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from prefrl import files
from prefrl.files import Unreadable, read_json, reading
from prefrl.types import Query

CLIP, TEXT = (re.compile("[0-9a-f]{64}" + re.escape(suffix), re.ASCII) for suffix in (files.CLIP, files.TEXT))
"""Names that a page can show."""
LONGEST = 1_000_000
"""Bytes of a text; nobody reads more."""
Media = tuple[str | None, str | None]


def showable(media: str | None) -> bool:
    """Whether this is the name of something that a page can show."""
    return media is not None and bool(CLIP.fullmatch(media) or TEXT.fullmatch(media))


class Pairs:
    """Makes pairs as the page gets them. They say nothing about why, or of which policy, it is asked."""

    def __init__(self, run: Path) -> None:
        self.folder = Path(run) / files.FOLDER
        self._read = lru_cache(1000)(self._read_text)

    def __call__(self, query: Query, media: Media) -> dict[str, Any]:
        """Raises Unreadable for a text whose file is none; a side without anything to show is empty."""
        texts = [self._read(name) if name and TEXT.fullmatch(name) else None for name in media]
        sides = [_side(name, text) for name, text in zip(media, texts, strict=True)]
        prompt = next((text["prompt"] for text in texts if text), None)
        return {"query": query.id, "left": sides[0], "right": sides[1], "prompt": prompt}

    def _read_text(self, name: str) -> dict[str, str]:
        path = self.folder / name
        with reading(path):
            if path.stat().st_size > LONGEST:
                raise Unreadable(f"{path} holds more than {LONGEST} bytes: shorten the text")
            found = read_json(path)
            text = {key: str(found[key]) for key in ("prompt", "text")}
            "".join(text.values()).encode()  # JSON can hold lone surrogates, a reply cannot
        return text


def _side(name: str | None, text: dict[str, str] | None) -> dict[str, str]:
    if text:
        return {"text": text["text"]}
    return {"clip": f"/{files.FOLDER}/{name}"} if name and CLIP.fullmatch(name) else {}

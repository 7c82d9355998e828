"""Reading files that may be broken, or a stranger's, and writing whole ones, those that people are shown among them."""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import numpy as np

from prefrl.types import Array

FOLDER = "clips"
"""Where a run keeps what people are shown."""
CLIP, TEXT = ".webm", ".json"
"""How the names of files there end."""


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


def unpack(path: Path) -> dict[str, Array]:
    """The arrays of an npz file; one that holds code runs none of it."""
    with reading(path), path.open("rb") as file, np.load(file, allow_pickle=False) as npz:
        return {name: npz[name] for name in npz.files}


@contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes its name when all of it is on the disk, or never."""
    draft = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with draft.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which takes its name when all of it is there, or never; an older one is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft, old = (path.with_name(f".{path.name}.{uuid4().hex}") for _ in range(2))
    try:
        draft.mkdir()
        yield draft
        for made in (draft, *draft.rglob("*")):
            sync(made)
        if path.exists():
            path.rename(old)
        draft.rename(path)
        sync(path.parent)
        shutil.rmtree(old, ignore_errors=True)  # not before: whatever stops the new one leaves it
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def sync(path: Path) -> None:
    """Makes what a file holds last, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def text(prompt: str, continuation: str, **facts: str | int) -> bytes:
    """What `keep` stores for a segment of text; `facts` are beside what people see."""
    return json.dumps({"prompt": prompt, "text": continuation, **facts}).encode()


def keep(folder: Path, data: bytes, suffix: str) -> str:
    """The name of the file in `folder` that holds `data` from now on: it is named by what it holds."""
    return keep_all(folder, [data], suffix)[0]


def keep_all(folder: Path, datas: Sequence[bytes], suffix: str) -> list[str]:
    """As `keep`, of many: the disk is waited for once, not once a file."""
    folder.mkdir(exist_ok=True)
    names = [sha256(data).hexdigest() + suffix for data in datas]
    fresh = {name: data for name, data in zip(names, datas, strict=True) if not (folder / name).exists()}
    drafts = {folder / f".{name}.{uuid4().hex}": folder / name for name in fresh}
    try:
        for draft, data in zip(drafts, fresh.values(), strict=True):
            draft.write_bytes(data)
            if len(drafts) == 1:
                sync(draft)
        if len(drafts) > 1:
            os.sync()
        for draft, path in drafts.items():
            draft.replace(path)
    finally:
        for draft in drafts:
            draft.unlink(missing_ok=True)
    if fresh:
        sync(folder)
    return names

"""Rows of data sets, from local files or the hub, each of which knows where it stands."""

import csv
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from prefrl.files import Unreadable, reading

SUFFIXES = (".jsonl", ".json", ".csv")
SPLITS = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}
"""What files call the hub's splits."""
ENCODING = "utf-8-sig"
"""UTF-8, with the mark that spreadsheets put before it or without."""
SURROGATE = re.compile("[\ud800-\udfff]")
"""What JSON can hold, and no tokenizer reads."""
CONVERTED = "refs/convert/parquet"
"""Where the hub keeps plain files of data sets that are made by a script, which nobody runs any more."""


@dataclass(frozen=True)
class Row:
    """Named values, and where they stand, for errors: ValueErrors that begin with it."""

    values: Mapping[str, Any]
    where: str

    def find(self, *path: str) -> Any:
        """What stands under these names, one within the other; None where there is nothing."""
        found: Any = self.values
        for name in path:
            found = found.get(name) if isinstance(found, Mapping) else None
        return found

    def has(self, name: str) -> bool:
        return name in self.values

    def text(self, *path: str) -> str:
        """A text that must be there."""
        found = str(self._as(str, "a text", path))
        if not found.isascii() and SURROGATE.search(found):
            raise self.error(f"{'.'.join(path)} is no text: half a pair of surrogates is in it")
        return found

    def maybe(self, *path: str) -> str:
        """A text, empty where there is none."""
        return "" if self.find(*path) is None else self.text(*path)

    def texts(self, *path: str) -> list[str]:
        """Texts that must be there."""
        return [
            Row({"": each}, f"{self.where}: {'.'.join(path)}[{i}]").text("")
            for i, each in enumerate(self.several(*path))
        ]

    def several(self, *path: str) -> list[Any]:
        """A list that must be there."""
        return list(self._as(list, "a list", path))

    def number(self, *path: str) -> float | None:
        """A finite number, None where there is none."""
        if self.find(*path) is None:
            return None
        found: float = self._as((int, float), "a number", path)
        if isinstance(found, bool) or not abs(found) <= sys.float_info.max:
            raise self.error(f"{'.'.join(path)} is {found!r:.40}: give a finite number")
        return float(found)

    def error(self, words: object) -> ValueError:
        return ValueError(f"{self.where}: {words}")

    def _as(self, kind: type | tuple[type, ...], name: str, path: tuple[str, ...]) -> Any:
        found = self.find(*path)
        if found is None:
            raise self.error(f"there is no {'.'.join(path)}, which must be {name}")
        if not isinstance(found, kind):
            raise self.error(f"{'.'.join(path)} is {found!r:.40}: it must be {name}")
        return found


def rows(source: str | Path, split: str | None = None, config: str | None = None) -> Iterator[Row]:
    """Of a file (JSON, a row per line or a list of them, or CSV), all such files of a folder, or a data set of the hub.

    In a folder whose files are named after splits, those of `split` are taken. Raises ValueError for what cannot be
    read, with its line.
    """
    path = Path(source)
    if path.is_dir():
        for file in _files(path, split):
            yield from _of_file(file)
    elif path.exists():
        yield from _of_file(path)
    elif path.suffix in SUFFIXES or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", str(source)):
        raise FileNotFoundError(f"{source} is not a file: give one, a folder, or the name of a data set of the hub")
    else:
        yield from _of_hub(str(source), split, config)


def has_splits(source: str | Path) -> bool:
    """Whether the files of a folder are named after splits; what is not here is the hub's, which has them."""
    path = Path(source)
    names = {name for names in SPLITS.values() for name in names}
    return not path.exists() or (path.is_dir() and any(names & _words(file) for file in _files(path, None)))


def _files(folder: Path, split: str | None) -> list[Path]:
    found = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    if not found:
        raise FileNotFoundError(f"{folder} has no files that end in {', '.join(SUFFIXES)}")
    if split is None or not has_splits(folder):
        return found
    if chosen := [path for path in found if _words(path) & {split, *SPLITS.get(split, ())}]:
        return chosen
    raise FileNotFoundError(f"{folder} has files of other splits and none of {split}: add one with {split} in its name")


def _words(path: Path) -> set[str]:
    return {*re.split(r"[\W_]+", path.stem)}


def _of_file(path: Path) -> Iterator[Row]:
    if path.suffix == ".csv":
        yield from _of_csv(path)
    elif _first_sign(path) == "[":
        with reading(path):
            many = json.loads(path.read_text(encoding=ENCODING))
        for n, values in enumerate(many, 1):
            yield _row(values, f"{path}, row {n}")
    else:
        yield from _of_lines(path)


def _of_lines(path: Path) -> Iterator[Row]:
    with path.open(encoding=ENCODING) as file:
        try:
            for n, line in enumerate(file, 1):
                where = f"{path}, line {n}"
                if line.strip():
                    yield _row(_json(line, where), where)
        except UnicodeDecodeError as error:
            raise Unreadable(f"{path} is not UTF-8: {error.reason}") from error


def _json(line: str, where: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: this is not JSON: {error}") from None


def _of_csv(path: Path) -> Iterator[Row]:
    with reading(path), path.open(encoding=ENCODING, newline="") as file:
        table = csv.DictReader(file)
        begins = table.reader.line_num + 1
        found = []
        for values in table:
            found.append(Row({name: value or None for name, value in values.items()}, f"{path}, line {begins + 1}"))
            begins = table.reader.line_num
    yield from found


def _of_hub(name: str, split: str | None, config: str | None) -> Iterator[Row]:
    wanted = split or "train"
    datasets = import_module("datasets")  # takes a second, for which files have no use
    try:
        try:
            found = datasets.load_dataset(name, config, split=wanted)
        except RuntimeError:
            found = datasets.load_dataset(name, config, split=wanted, revision=CONVERTED)
    except Exception as error:  # of any library beneath
        words = " ".join(str(error).split())
        raise ValueError(f"no file or folder is {name!r}, and the hub gives no data set {name!r}: {words}") from error
    for n, values in enumerate(found, 1):
        yield _row(values, f"{name}, {wanted}, row {n}")


def _row(values: Any, where: str) -> Row:
    if not isinstance(values, dict):
        raise ValueError(f"{where}: this is {values!r:.40}, not a row of named values")
    return Row(values, where)


def _first_sign(path: Path) -> str:
    with reading(path), path.open(encoding=ENCODING) as file:
        return next((line.strip()[0] for line in file if line.strip()), "")

"""Scores from 1 to 7 by people: a blind sheet to be filled in, read back, and summed up per policy."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prefrl.files import Unreadable, read_json, reading, whole
from prefrl.intervals import Interval, interval
from prefrl.text.samples import Example

AXES = ("overall", "accuracy", "coverage", "coherence")
"""What is judged (Stiennon et al. 2020)."""
LOWEST, HIGHEST = 1, 7
SHOWN = ("item", "prompt", "text")
TOLD = 5
"""Mistakes of a sheet that are told at once."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A cell that begins so is run by spreadsheets."""


@dataclass(frozen=True)
class Rating:
    """What somebody thought of one continuation."""

    example: str
    """Id of the example; or its place, where not each has an id of its own."""
    policy: str
    scores: Mapping[str, int]
    """Axis -> from 1, worst, to 7."""


def write_sheet(path: Path, examples: Sequence[Example], texts: Mapping[str, Sequence[str]], seed: int = 0) -> Path:
    """A CSV file for one person: what each policy said of each example, shuffled, without names, four empty columns.

    Who said what is in a file beside it, which is given back and not to be shown. A sheet that exists is left alone.
    """
    for policy, said in texts.items():
        if len(said) != len(examples):
            raise ValueError(f"{policy!r} has {len(said)} texts of {len(examples)} examples: give each one")
    names = [example.id for example in examples]
    if "" in names or len({*names}) < len(names):
        names = [str(place) for place in range(len(examples))]
    rows = [(place, policy) for place in range(len(examples)) for policy in texts]
    order = np.random.default_rng(seed).permutation(len(rows)).tolist()
    sheet = io.StringIO(newline="")
    writer = csv.writer(sheet)
    writer.writerow([*SHOWN, *AXES])
    hidden = {}
    for item, (place, policy) in enumerate((rows[i] for i in order), start=1):
        writer.writerow([item, _cell(str(examples[place].prompt)), _cell(texts[policy][place]), *[""] * len(AXES)])
        hidden[str(item)] = {"example": names[place], "policy": policy}
    key = path.with_suffix(".key.json")
    if path.exists() or (key.exists() and read_json(key) != hidden):  # a kill may have left the key alone
        raise FileExistsError(f"{path} or its key exists, and people may have filled it in: choose another name")
    with whole(key) as file:
        file.write(json.dumps(hidden, indent=1).encode())
    with whole(path) as file:
        file.write(sheet.getvalue().encode("utf-8-sig", "replace"))  # the mark tells spreadsheets that this is UTF-8
    return key


def read_sheet(path: Path, key: Path | None = None) -> list[Rating]:
    """What was filled in; rows that were left empty are left out.

    Raises Unreadable, with line numbers, for rows filled in by half, for scores that are none, and for other rows than
    were handed out.
    """
    hidden: dict[str, Any] = read_json(key or path.with_suffix(".key.json"))
    ratings, wrong, seen = [], [], set()
    for line, row in _rows(path):
        item = row["item"].strip()
        scores, mistakes = _scores(row)
        if item not in hidden:
            mistakes = [f"there is no item {item!r}"]
        elif item in seen:
            mistakes = [f"item {item} is there twice"]
        seen.add(item)
        wrong += [f"line {line}: {mistake}" for mistake in mistakes]
        if scores and not mistakes:
            ratings.append(Rating(str(hidden[item]["example"]), str(hidden[item]["policy"]), scores))
    if wrong:
        more = f"; and {len(wrong) - TOLD} more" if len(wrong) > TOLD else ""
        raise Unreadable(f"{path}: {'; '.join(wrong[:TOLD])}{more}")
    return ratings


def filled_in(path: Path) -> bool:
    """Whether there is a sheet that somebody has begun to fill in; one that cannot be read counts."""
    try:
        return path.exists() and bool(read_sheet(path))
    except Unreadable:
        return True


def summary(ratings: Sequence[Rating]) -> dict[str, dict[str, Interval]]:
    """Policy -> axis -> mean score, over examples; several people's scores of one are averaged first."""
    found: dict[str, dict[str, Interval]] = {}
    for policy in sorted({rating.policy for rating in ratings}):
        of = [rating for rating in ratings if rating.policy == policy]
        examples = sorted({rating.example for rating in of})
        found[policy] = {
            axis: interval(
                [[float(np.mean([r.scores[axis] for r in of if r.example == example])) for example in examples]],
                np.mean,
            )
            for axis in AXES
        }
    return found


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """With the line on which each row begins; the separator is what a spreadsheet has made of the comma."""
    with reading(path):
        content = path.read_bytes().decode("utf-8-sig")
        first = content.splitlines()[0] if content.strip() else ""
        separator = max(",;\t", key=first.count)
        rows = csv.reader(io.StringIO(content, newline=""), delimiter=separator, strict=True)
        names = next(rows, [])
        if missing := [name for name in ("item", *AXES) if name not in names]:
            raise Unreadable(f"{path} has no column {', '.join(missing)}: keep the first line as it was")
        line = rows.line_num + 1
        for cells in rows:
            if any(cell.strip() for cell in cells):
                yield line, dict(zip(names, [*cells, *[""] * len(names)]))
            line = rows.line_num + 1


def _scores(row: Mapping[str, str]) -> tuple[dict[str, int], list[str]]:
    """The scores of a row, and what is wrong with it; neither where it is empty."""
    given = {axis: row[axis].strip() for axis in AXES}
    if not any(given.values()):
        return {}, []
    allowed = {str(score): score for score in range(LOWEST, HIGHEST + 1)}
    mistakes = [
        f"{axis} is {said!r}, not a whole number from {LOWEST} to {HIGHEST}"
        for axis, said in given.items()
        if said not in allowed
    ]
    return {axis: allowed[said] for axis, said in given.items() if said in allowed}, mistakes


def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) else text

"""One's own posts and judged pairs, a JSON object per line.

A prompt is `"prompt"`, or `"head"`, `"body"` and `"tail"`, of which only the body may be cut. A post may have a list of
`"references"` beside it, and an `"id"`, and nothing else. A judged pair has `"left"`, `"right"` and `"preference"`: the
chance that left is better, 0.5 for a tie, null for "cannot tell". It may have `"labeller"`, `"confidence"`, `"split"`,
`"policies"` (of left and of right), `"id"` and `"references"`.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from prefrl.names import unknown
from prefrl.text.data.judgement import Judgement, Written
from prefrl.text.data.rows import Row, rows
from prefrl.text.samples import Example, Prompt

PARTS = ("head", "body", "tail")
"""Fields of a prompt whose body alone may be cut."""
POST = ("prompt", *PARTS, "references", "id")
"""Fields of a post."""


def read(source: str | Path, split: str | None = None) -> list[Example]:
    """Posts; raises ValueError with the line for rows with missing fields, or with others.

    References may be missing, so another name for them must not go unseen.
    """
    return [_post(row) for row in rows(source, split)]


def read_judged(source: str | Path, split: str | None = None) -> list[Judgement]:
    """Judged pairs; raises ValueError with the line for rows with missing fields."""
    return [_judgement(row) for row in rows(source, split)]


def write(judgements: Sequence[Judgement], file: IO[bytes]) -> Written:
    """A line each; nothing is left out."""
    for each in judgements:
        file.write(json.dumps(_plain(each)).encode() + b"\n")
    said = [each.preference for each in judgements]
    return Written(len(said), said.count(0.5), said.count(None), {})


def _plain(each: Judgement) -> dict[str, object]:
    parts = {"head": each.prompt.head, "body": each.prompt.body, "tail": each.prompt.tail}
    told = parts if each.prompt.head or each.prompt.tail else {"prompt": each.prompt.body}
    rest = {name: value for name, value in vars(each).items() if name != "prompt"}
    return {**told, **rest}


def _post(row: Row) -> Example:
    for name in row.values:
        if name not in POST:
            raise row.error(unknown("field", str(name), POST))
    prompt, references = _prompt(row), _references(row)
    if not all(text.strip() for text in references):
        raise row.error("a reference is empty: leave it out")
    return Example(prompt, references, row.maybe("id"))


def _judgement(row: Row) -> Judgement:
    if not row.has("preference"):
        raise row.error("there is no preference: write the chance that left is better, or null for cannot tell")
    policies = row.texts("policies") if row.find("policies") is not None else ["", ""]
    if len(policies) != 2:
        raise row.error(f"policies are those of left and right, not of {len(policies)} texts")
    try:
        return Judgement(
            _prompt(row),
            row.text("left"),
            row.text("right"),
            row.number("preference"),
            row.maybe("labeller"),
            row.number("confidence"),
            row.maybe("split"),
            (policies[0], policies[1]),
            row.maybe("id"),
            _references(row),
        )
    except ValueError as error:
        raise error if str(error).startswith(row.where) else row.error(error) from None


def _prompt(row: Row) -> Prompt:
    prompt = _parts(row)
    if not str(prompt).strip():
        raise row.error("the prompt is empty: leave the row out")
    return prompt


def _parts(row: Row) -> Prompt:
    if row.find("prompt") is not None:
        if any(row.find(part) is not None for part in PARTS):
            raise row.error("a prompt stands beside parts of one: write prompt, or body with head and tail")
        return Prompt(row.text("prompt"))
    if row.find("body") is None:
        raise row.error("there is no prompt: write prompt, or body with head and tail")
    return Prompt(row.text("body"), row.maybe("head"), row.maybe("tail"))


def _references(row: Row) -> tuple[str, ...]:
    return tuple(row.texts("references")) if row.find("references") is not None else ()

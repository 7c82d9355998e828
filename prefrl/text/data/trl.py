"""Pairs as TRL's trainers read them: rows of prompt, chosen and rejected."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from prefrl.text.data import tldr
from prefrl.text.data.judgement import Judgement, Written
from prefrl.text.data.rows import Row, rows


def read(source: str | Path, split: str | None = None) -> list[Judgement]:
    """Pairs whose left side was chosen; prompts that are Reddit queries get their parts back.

    Raises ValueError with the line for rows with missing fields, and for conversations.
    """
    return [_judgement(row) for row in rows(source, split)]


def write(judgements: Sequence[Judgement], file: IO[bytes]) -> Written:
    """A line each; TRL's rows hold sure answers, and neither who gave them nor how sure they were."""
    left_out: Counter[str] = Counter()
    written = 0
    for each in judgements:
        if each.preference not in (0, 1):
            left_out[_unsure(each.preference)] += 1
            continue
        chosen, rejected = (each.left, each.right) if each.preference == 1 else (each.right, each.left)
        row = {"prompt": str(each.prompt), "chosen": f" {chosen.strip()}", "rejected": f" {rejected.strip()}"}
        file.write(json.dumps(row).encode() + b"\n")
        written += 1
        left_out["labellers"] += each.labeller != ""
        left_out["confidences"] += each.confidence is not None
        left_out["splits"] += each.split != ""
        left_out["names of policies"] += any(each.policies)
        left_out["ids"] += each.id != ""
        left_out["references"] += len(each.references)
    return Written(written, 0, 0, {what: count for what, count in left_out.items() if count})


def _unsure(preference: float | None) -> str:
    return {None: "cannot tell", 0.5: "ties"}.get(preference, "preferences between 0, 0.5 and 1")


def _judgement(row: Row) -> Judgement:
    for name in ("prompt", "chosen", "rejected"):
        if isinstance(row.find(name), list):
            raise row.error(f"{name} is a conversation: apply its chat template first, as trl.apply_chat_template does")
    if not row.text("prompt").strip():
        raise row.error("the prompt is empty: leave the row out")
    chosen, rejected = (row.text(name).strip() for name in ("chosen", "rejected"))
    return Judgement(tldr.parsed(row.text("prompt")), chosen, rejected, 1.0)

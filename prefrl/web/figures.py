"""How each labeller labels, and how far they agree: the figures of the admin page."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict
from statistics import median
from typing import Any

from prefrl.types import BROKEN, STALE
from prefrl.web.agreement import LEFT, RIGHT, TIE, category, krippendorff_alpha, repeat_agreement, side_bias
from prefrl.web.board import Board
from prefrl.web.rows import Said

Everything = Mapping[int, Mapping[str, Said]]


def figures(board: Board, wanted: int) -> dict[str, Any]:
    """By the newest label of every labeller to every query; only `undone` counts rows."""
    counts = asdict(board.store.counts())
    with board.lock:
        said: Everything = dict(board.rows.said)
        undone = dict(board.rows.undone)
        originals = {query: first for query in said if (first := board.rows.original(query))}
    per_labeller: dict[str, list[Said]] = defaultdict(list)
    for answers in said.values():
        for labeller, one in answers.items():
            per_labeller[labeller].append(one)
    again = _repeated(said, originals)
    shared = [decided for answers in said.values() if len(decided := _categories(answers)) > 1]
    for note in (BROKEN, STALE):
        counts[note] = sum(any(one.note == note for one in answers.values()) for answers in said.values())
    return {
        "labellers": [
            {"labeller": name, **_labels(per_labeller[name]), "undone": undone.get(name, 0), **_again(again[name])}
            for name in sorted(per_labeller)
            if name
        ],
        "alpha": krippendorff_alpha(shared),
        "overlapping": len(shared),
        "counts": counts,
        "wanted": wanted,
    }


def _labels(said: list[Said]) -> dict[str, Any]:
    answers = [one for one in said if one.note == ""]
    decided = [category(one.preference) for one in answers if one.preference is not None]
    share, z = side_bias(decided.count(LEFT), decided.count(RIGHT))
    return {
        "labels": len(decided),
        "ties": decided.count(TIE),
        "cannot_tell": len(answers) - len(decided),
        "broken": sum(one.note == BROKEN for one in said),
        "seconds": median(one.seconds for one in answers) if answers else None,
        "left_share": share,
        "left_z": z,
    }


def _categories(answers: Mapping[str, Said]) -> list[str]:
    return [category(one.preference) for one in answers.values() if one.preference is not None]


def _repeated(said: Everything, originals: Mapping[int, int]) -> dict[str, list[tuple[float, float]]]:
    """What each labeller said to pairs that he was asked twice."""
    found = defaultdict(list)
    for query, original in originals.items():
        for labeller, second in said[query].items():
            first = said.get(original, {}).get(labeller)
            if first and first.preference is not None and second.preference is not None:
                found[labeller].append((first.preference, second.preference))
    return found


def _again(answers: list[tuple[float, float]]) -> dict[str, Any]:
    return {"repeats": len(answers), "repeat_agreement": repeat_agreement(answers)}

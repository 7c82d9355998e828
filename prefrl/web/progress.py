"""How far a run is, as its labellers may know it."""

import fcntl
import math
import time
from pathlib import Path
from typing import Any

from prefrl import live
from prefrl.files import Unreadable, read_json
from prefrl.room import shortage
from prefrl.store import Store
from prefrl.web.board import Board
from prefrl.web.pairs import CLIP

QUESTION = "Which one is better?"


def paused(run: Path) -> str | None:
    """Why the run does not go on."""
    if full := shortage(run):
        return full
    why = _status(run, "policy").get("paused")
    return _clean(why) if why and _at_work(run) else None


def _at_work(run: Path) -> bool:
    """Whether a process holds the run's lock: what one that was killed said last is not so any more."""
    try:
        with (run / ".lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # and at once let go
    except FileNotFoundError:
        return False
    except OSError:  # held; or a file system that cannot tell
        return True
    return False


def state(run: Path, board: Board, labeller: str, wanted: int) -> dict[str, str | None]:
    """The state of the page for this labeller, and what to tell him."""
    if why := paused(run):
        return {"state": "paused", "message": why}
    if done(board) >= wanted:
        return {"state": "done", "message": None}
    return {"state": "waiting" if board.waiting(labeller) else "ready", "message": None}


def done(board: Board) -> int:
    with board.lock:
        return sum(board.rows.labelled.values())


def progress(run: Path, board: Board, labeller: str, wanted: int) -> dict[str, Any]:
    with board.lock:
        yours, pace = board.rows.labelled[labeller], board.rows.per_minute(labeller)
    figures = {"done": done(board), "wanted": wanted, "yours": yours, "per_minute": round(pace, 1)}
    return {**figures, "learned": learned(run, board.store), **state(run, board, labeller, wanted)}


def learned(run: Path, store: Store) -> dict[str, Any] | None:
    """What the learner says of its last fit, or the store of an earlier one: nothing of rewards or the policy."""
    said = _status(run, "learner")
    metrics = said.get("metrics")
    if not isinstance(metrics, dict) or not (version := _number(metrics.get("reward/version"))):
        return _published(store)
    accuracy = _number(said.get("right"))
    at = _number(said.get("at")) or time.time()
    return {
        "version": int(version),
        "labels": int(_number(metrics.get("labels/learned")) or 0),
        "accuracy": accuracy,
        "seconds_ago": max(0.0, round(time.time() - at, 1)),
    }


def _published(store: Store) -> dict[str, Any] | None:
    """Of a learner that has just begun, or has gone."""
    versions = store.versions()
    if not versions:
        return None
    return {"version": versions[-1].id, "labels": versions[-1].labels, "accuracy": None, "seconds_ago": None}


def instructions(run: Path, question: str | None) -> dict[str, Any]:
    """What the run says about the task, and defaults for what it does not say; `question`: of its configuration."""
    try:
        said = read_json(run / "instructions.json")
    except Unreadable:
        said = {}
    if not isinstance(said, dict):
        said = {}
    look_for = said.get("look_for")
    return {
        "question": _clean(said.get("question") or question or QUESTION),
        "look_for": [_clean(line) for line in look_for] if isinstance(look_for, list) else [],
        "good": _example(said.get("good")),
        "bad": _example(said.get("bad")),
    }


def _example(said: Any) -> dict[str, str | None] | None:
    if not isinstance(said, dict):
        return None
    clip = said.get("clip")
    known = isinstance(clip, str) and CLIP.fullmatch(clip)
    return {"text": _clean(said.get("text") or ""), "clip": clip if known else None}


def _status(run: Path, name: str) -> dict[str, Any]:
    try:
        found = live.read(run, name)
    except Unreadable:
        return {}
    return found if isinstance(found, dict) else {}


def _clean(text: object) -> str:
    """As JSON can carry it: a file may hold lone surrogates."""
    return str(text).encode(errors="replace").decode()


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None

"""Judged pairs of texts in a store, and from there to files."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import astuple, replace
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from prefrl.files import FOLDER, TEXT, keep_all, read_json, reading, text, whole
from prefrl.store import Store
from prefrl.text.compare import VERSUS, between
from prefrl.text.data import jsonl, tldr, trl
from prefrl.text.data.judgement import Judgement, Written
from prefrl.text.judge import read
from prefrl.text.samples import Prompt
from prefrl.text.tokens import encode_prompts, to_samples
from prefrl.types import Label, Query, Segment

AT_ONCE = 1_000
"""Judgements whose segments are in memory together."""


class Format(NamedTuple):
    """How judgements are read, of a split or of all, and written."""

    read: Callable[[str | Path, str | None], list[Judgement]]
    write: Callable[[Sequence[Judgement], IO[bytes]], Written]


FORMATS: dict[str, Format] = {
    "texts": Format(jsonl.read_judged, jsonl.write),
    "trl": Format(trl.read, trl.write),
    "tldr": Format(tldr.read, tldr.write),
}
"""What `out` writes, and what `prefrl import` reads."""


def put(
    store: Store,
    judgements: Sequence[Judgement],
    tokenizer: PreTrainedTokenizerBase,
    prompt_length: int = 512,
    response_length: int = 128,
) -> dict[str, float]:
    """Segments, queries and labels of judgements; what is put twice is there once. Lengths are in tokens.

    Says how many were put, how many of them were there already, how many prompts and texts had to be cut, and what the
    store has no place for. Somebody who judged one pair again is asked again, at a later `step`.

    Raises ValueError, and puts nothing, for what cannot be read and for lengths other than those of the store.
    """
    _check_lengths(store, prompt_length + response_length)
    sides = [(each, said) for each in judgements for said in (each.left, each.right)]
    _, cut_prompts = encode_prompts(tokenizer, [each.prompt for each in judgements], prompt_length)
    recorded: list[int] = []
    ended = 0
    for start in range(0, len(sides), 2 * AT_ONCE):
        some = sides[start : start + 2 * AT_ONCE]
        samples = to_samples(
            tokenizer, [each.prompt for each, _ in some], [said for _, said in some], prompt_length, response_length
        )
        ended += int(samples.ended.sum())
        shown = keep_all(store.folder / FOLDER, [_shown(each, said) for each, said in some], TEXT)
        new = [replace(segment, media=name) for segment, name in zip(samples.segments(), shown, strict=True)]
        recorded += [segment.id for segment in store.record(new)]
    pairs = list(zip(recorded[::2], recorded[1::2], strict=True))
    known = _ask_and_answer(store, judgements, pairs)
    said = [each.preference for each in judgements]
    return {
        "data/judgements": float(len(said)),
        "data/known": float(known),
        "data/ties": float(said.count(0.5)),
        "data/skipped": float(said.count(None)),
        "data/cut_prompts": float(cut_prompts),
        "data/cut_texts": float(len(sides) - ended),
        "data/references_left_out": float(sum(len(each.references) for each in judgements)),
    }


def _ask_and_answer(store: Store, judgements: Sequence[Judgement], pairs: list[tuple[int, int]]) -> int:
    """How many answers were there already."""
    times: Counter[tuple[object, ...]] = Counter()
    queries, labels = [], []
    for each, pair in zip(judgements, pairs, strict=True):
        again = times[who := (*pair, each.labeller)]
        times[who] += 1
        queries.append(Query(*pair, step=again, why=VERSUS.join(each.policies) if any(each.policies) else ""))
        key = sha256(json.dumps([astuple(each), again]).encode()).hexdigest()
        labels.append(Label(0, each.preference, each.labeller, key=key, confidence=each.confidence))
    asked = store.ask(queries)
    _, newest, _ = store.extent()
    kept = store.answer(replace(label, query=query.id) for label, query in zip(labels, asked, strict=True))
    return sum(label.id <= newest for label in kept)


def _check_lengths(store: Store, length: int) -> None:
    first = next(iter(store.queries()), None)
    if first is not None and len(store.segment(first.left)) != length:
        raise ValueError(
            f"{store.folder} holds texts of {len(store.segment(first.left))} tokens, not of {length}: give lengths of "
            f"prompt and response that come to the same"
        )


def _shown(each: Judgement, said: str) -> bytes:
    """What people see of a text, and beside it what cannot be told from it."""
    lengths = {"head": len(each.prompt.head), "tail": len(each.prompt.tail)}
    facts: dict[str, str | int] = {**lengths, "id": each.id, "split": each.split}
    told = {name: value for name, value in facts.items() if value}
    return text(str(each.prompt), said, **told)


def judgements(store: Store, tokenizer: PreTrainedTokenizerBase | None = None) -> tuple[list[Judgement], int]:
    """What labellers said of pairs of texts, their last word each, and how many labels no longer count.

    `tokenizer`: reads segments that have no text beside their tokens.
    """
    history, asked = store.labels(), {query.id: query for query in store.queries()}
    current = {(label.query, label.labeller): label for label in history}
    said = [label for label in history if current[label.query, label.labeller] is label and not label.note]
    found: list[Judgement] = []
    for start in range(0, len(said), AT_ONCE):
        some = [(label, asked[label.query]) for label in said[start : start + AT_ONCE]]
        media = store.media(id for _, query in some for id in (query.left, query.right))
        bare = store.segments(id for id, name in media.items() if name is None)
        told = {id: _told(store, name, bare.get(id), tokenizer) for id, name in media.items()}
        found += [_judgement(label, query, told[query.left], told[query.right]) for label, query in some]
    return found, len(history) - len(said)


def _told(
    store: Store, name: str | None, segment: Segment | None, tokenizer: PreTrainedTokenizerBase | None
) -> dict[str, Any]:
    if (name is not None and not name.endswith(TEXT)) or (segment is not None and segment.obs.ndim > 1):
        raise ValueError(f"{store.folder} has no texts: give the comparisons of a summariser")
    if name is not None:
        with reading(path := store.folder / FOLDER / name):
            found = read_json(path)
            return {**found, "prompt": str(found["prompt"]), "text": str(found["text"])}
    if segment is None or tokenizer is None:
        raise ValueError(f"{store.folder} has tokens without their text: give the tokenizer that made them")
    prompt, said = read(tokenizer, segment)
    return {"prompt": prompt, "text": said}


def _judgement(label: Label, query: Query, left: dict[str, Any], right: dict[str, Any]) -> Judgement:
    whole_prompt, head = left["prompt"], int(left.get("head", 0))
    end = len(whole_prompt) - int(left.get("tail", 0))
    policies = between(query) or ("", "")
    return Judgement(
        Prompt(whole_prompt[head:end], whole_prompt[:head], whole_prompt[end:]),
        left["text"],
        right["text"],
        label.preference,
        label.labeller,
        label.confidence,
        str(left.get("split", "")),
        (policies[0], policies[1]),
        str(left.get("id", "")),
    )


def out(store: Store, path: Path, format: str = "texts", tokenizer: PreTrainedTokenizerBase | None = None) -> Written:
    """Writes what labellers said to a new file, and counts what the format cannot hold.

    Raises ValueError, and writes nothing, where it can hold none of it.
    """
    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r}: choose one of {', '.join(FORMATS)}")
    if path.exists():
        raise FileExistsError(f"{path} exists: choose another name, or move it away")
    found, superseded = judgements(store, tokenizer)
    with whole(path) as file:
        written = FORMATS[format].write(found, file)
        gone = {"labels that no longer count": superseded, "queries without labels": store.counts().unanswered}
        left_out = {what: count for what, count in {**gone, **written.left_out}.items() if count}
        if not written.written:
            raise ValueError(f"{store.folder} has no judgement that {format} can hold, of {len(found)}: {left_out}")
    return written._replace(left_out=left_out)

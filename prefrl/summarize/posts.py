"""Where posts come from, and which are learned from, watched and judged by."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple
from zlib import crc32

from prefrl.names import unknown
from prefrl.summarize import grammar
from prefrl.summarize.settings import Settings
from prefrl.text.data import Judgement, jsonl, scitldr, tldr, trl
from prefrl.text.data import judged as verdicts
from prefrl.text.samples import Example

HELD_OUT = 10
"""One post in so many is watched, and another one judged by, where a source has no splits."""
MADE_UP = 200
"""Posts of each held-out split of the made-up language."""


class Posts(NamedTuple):
    """Posts with what people wrote for them."""

    train: list[Example]
    validation: list[Example]
    test: list[Example]
    known: list[Example]
    """All of them, with the references that an oracle judges by."""


def posts(settings: Settings) -> Posts:
    """Raises ValueError for sources that cannot be read, or have nothing to learn from."""
    check_data(settings.data)
    kind, _, source = settings.data.partition(":")
    found = SOURCES[kind](source or HUBS.get(kind, ""), settings)
    for name in ("train", "validation", "test"):
        if not getattr(found, name):
            raise ValueError(f"{settings.data} has no posts with references for {name}: give more of them")
    return found._replace(train=found.train[: settings.posts])


def judged(named: str) -> list[Judgement]:
    """The answers of a published file, or of a data set of the hub: `tldr:FILE`."""
    check_judged(named)
    kind, _, source = named.partition(":")
    if found := JUDGED[kind](source):
        return found
    raise ValueError(f"{named} has no answers: give another file")


def check_data(named: str) -> None:
    """Raises ValueError for a kind that cannot be read, or that has no place."""
    kind, _, source = named.partition(":")
    if kind not in SOURCES:
        raise unknown("data", kind, SOURCES)
    if not source and kind != "grammar" and kind not in HUBS:
        raise ValueError(f"say where the posts are: {kind}:FOLDER, a file, or a name on the hub")


def check_judged(named: str) -> None:
    """The same, of answers."""
    kind, _, source = named.partition(":")
    if kind not in JUDGED:
        raise unknown("kind of answers", kind, JUDGED)
    if not source:
        raise ValueError(f"say where the answers are: {kind}:FILE, or a name on the hub")


def _grammar(source: str, settings: Settings) -> Posts:
    splits = [grammar.posts(n, settings.seed + i) for i, n in enumerate((settings.posts, MADE_UP, MADE_UP))]
    written = [[replace(e, references=e.references[:1]) for e in split] for split in splits]
    meant = [replace(e, references=e.references[1:]) for split in splits for e in split]
    train, validation, test = written
    return Posts(train, validation, test, meant)


def _scitldr(source: str, settings: Settings) -> Posts:
    return _all_known(*(scitldr.read(source, split) for split in ("train", "validation", "test")))


def _tldr(source: str, settings: Settings) -> Posts:
    return _all_known(*(tldr.posts(source, split) for split in ("train", "validation", "test")))


def _jsonl(source: str, settings: Settings) -> Posts:
    found = jsonl.read(source)
    place = [crc32(str(example.prompt).encode()) % HELD_OUT for example in found]
    splits = ([e for e, at in zip(found, place, strict=True) if fits(at)] for fits in PLACES)
    return _all_known(*splits)


PLACES: Sequence[Callable[[int], bool]] = (lambda at: at > 1, lambda at: at == 0, lambda at: at == 1)
SOURCES: Mapping[str, Callable[[str, Settings], Posts]] = {
    "grammar": _grammar,
    "scitldr": _scitldr,
    "tldr": _tldr,
    "jsonl": _jsonl,
}
JUDGED: Mapping[str, Callable[[str], list[Judgement]]] = {
    "tldr": tldr.read,
    "jsonl": jsonl.read_judged,
    "trl": trl.read,
    "verdicts": verdicts.read,
}
HUBS = {"scitldr": scitldr.HUB}


def _all_known(*splits: Sequence[Example]) -> Posts:
    train, validation, test = ([example for example in split if example.references] for split in splits)
    return Posts(train, validation, test, [*train, *validation, *test])

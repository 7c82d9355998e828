"""Where posts come from, and which are learned from, watched and judged by."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple
from zlib import crc32

from prefrl.names import unknown
from prefrl.summarize import grammar
from prefrl.summarize.settings import Settings
from prefrl.text.data import FORMATS, Judgement, jsonl, scitldr, tldr
from prefrl.text.data import judged as verdicts
from prefrl.text.data.rows import SPLITS, has_splits
from prefrl.text.samples import Example
from prefrl.text.tokens import PreTrainedTokenizerBase

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
    """All that were read, left out or not, with the references that an oracle judges by."""
    left_out: int = 0
    """Those whose reference was too short or too long, and held-out ones that an earlier split has, too."""


def posts(settings: Settings, tokenizer: PreTrainedTokenizerBase | None = None) -> Posts:
    """Raises ValueError for sources that cannot be read, or have nothing to learn from.

    `tokenizer`: counts the tokens of references; those of Reddit posts must have 24 to 48.
    """
    check_data(settings.data)
    kind, _, source = settings.data.partition(":")
    found = _apart(_grammar(settings) if kind == GRAMMAR else _by_split(SOURCES[kind], source or HUBS.get(kind, "")))
    return of_length(found._replace(train=found.train[: settings.posts]), settings, tokenizer)


def of_length(of: Posts, settings: Settings, tokenizer: PreTrainedTokenizerBase | None) -> Posts:
    """Without the Reddit posts whose reference has not 24 to 48 of the tokenizer's tokens; raises as `posts` does."""
    if tokenizer is not None and settings.data.partition(":")[0] == TLDR:
        kept = {name: tldr.of_length(getattr(of, name), tokenizer) for name in SPLITS}
        splits = {name: split for name, (split, _) in kept.items()}
        of = of._replace(**splits, left_out=of.left_out + sum(count for _, count in kept.values()))
    for name in SPLITS:
        if not getattr(of, name):
            raise ValueError(f"{settings.data} has no posts with references for {name}{_why(of)}: give more of them")
    return of


def judged(named: str) -> list[Judgement]:
    """The answers of a published file, or of a data set of the hub: `tldr:FILE`."""
    check_judged(named)
    kind, _, source = named.partition(":")
    if found := JUDGED[kind](source, "train"):
        return found
    raise ValueError(f"{named} has no answers: give another file")


def check_data(named: str) -> None:
    """Raises ValueError for a kind that cannot be read, or that has no place."""
    kind, _, source = named.partition(":")
    if kind not in (GRAMMAR, *SOURCES):
        raise unknown("data", kind, (GRAMMAR, *SOURCES))
    if named.removeprefix(GRAMMAR).startswith(":"):
        raise ValueError(f"{GRAMMAR} is made up and reads nothing: leave out what follows it in {named!r}")
    if not source and kind != GRAMMAR and kind not in HUBS:
        raise ValueError(f"say where the posts are: {kind}:FOLDER, a file, or a name on the hub")


def check_judged(named: str) -> None:
    """The same, of answers."""
    kind, _, source = named.partition(":")
    if kind not in JUDGED:
        raise unknown("kind of answers", kind, JUDGED)
    if not source:
        raise ValueError(f"say where the answers are: {kind}:FILE, or a name on the hub")


def _grammar(settings: Settings) -> Posts:
    splits = [grammar.posts(n, settings.seed + i) for i, n in enumerate((settings.posts, MADE_UP, MADE_UP))]
    written = [[replace(e, references=e.references[:1]) for e in split] for split in splits]
    meant = [replace(e, references=e.references[1:]) for split in splits for e in split]
    train, validation, test = written
    return Posts(train, validation, test, meant)


def _by_split(read: Callable[[str, str | None], list[Example]], source: str) -> Posts:
    """As the source is split, or by the checksums of its posts."""
    if has_splits(source):
        splits = [read(source, split) for split in SPLITS]
    else:
        found = read(source, None)
        place = [crc32(str(example.prompt).encode()) % HELD_OUT for example in found]
        splits = [[e for e, at in zip(found, place, strict=True) if fits(at)] for fits in PLACES]
    train, validation, test = ([example for example in split if example.references] for split in splits)
    return Posts(train, validation, test, [*train, *validation, *test])


def _apart(of: Posts) -> Posts:
    """Without the held-out posts whose prompt an earlier split has: none is learned from and judged by."""
    splits, seen = {}, set[str]()
    for name in SPLITS:
        split: list[Example] = getattr(of, name)
        splits[name] = [example for example in split if str(example.prompt) not in seen]
        seen |= {str(example.prompt) for example in split}
    left_out = sum(len(getattr(of, name)) - len(kept) for name, kept in splits.items())
    return of._replace(**splits, left_out=left_out)


def _why(of: Posts) -> str:
    why = f"whose reference has not {tldr.SHORTEST} to {tldr.LONGEST} tokens, or which an earlier split has, too"
    return f" ({of.left_out} were left out, {why})" if of.left_out else ""


GRAMMAR, TLDR = "grammar", "tldr"
PLACES: Sequence[Callable[[int], bool]] = (lambda at: at > 1, lambda at: at == 0, lambda at: at == 1)
SOURCES: Mapping[str, Callable[[str, str | None], list[Example]]] = {
    "scitldr": scitldr.read,
    TLDR: tldr.posts,
    "jsonl": jsonl.read,
}
JUDGED: Mapping[str, Callable[[str, str | None], list[Judgement]]] = {
    **{name: format.read for name, format in FORMATS.items()},
    "verdicts": verdicts.read,
}
HUBS = {"scitldr": scitldr.HUB}

"""The second stage: which of two summaries is better, told by an oracle, people, a judge, or a published file."""

import shlex
from collections.abc import Mapping, Sequence

from prefrl.store import Store
from prefrl.summarize import parts
from prefrl.summarize.folder import SummaryFolder
from prefrl.summarize.posts import Posts, judged, posts
from prefrl.summarize.settings import Settings
from prefrl.summarize.sft import loaded, named
from prefrl.text.compare import Compare, answer, asked
from prefrl.text.data import put
from prefrl.text.judge import TRIED, Judge, LanguageModelJudge, OnSegments, check_sides
from prefrl.text.oracle import Preferring, by_prompt
from prefrl.text.sampling import Policy, Sampler, references
from prefrl.text.tokens import PreTrainedTokenizerBase, load_tokenizer


class Waiting(RuntimeError):
    """People have to answer before a stage can go on."""


def compare(folder: SummaryFolder) -> dict[str, float]:
    """Asks about pairs of summaries of posts that are learned from, and gets answers to them.

    Raises Waiting where it is people who answer, and have not.
    """
    settings = folder.settings
    tokenizer = load_tokenizer(folder.model("sft"))
    with folder.comparisons().open_store() as store:
        if settings.comparisons_from:
            published = judged(settings.comparisons_from)[: settings.comparisons]
            return put(store, published, tokenizer, settings.prompt_length, settings.response_length)
        of = posts(settings, tokenizer)
        _ask(folder, settings, of, tokenizer, store)
        if not store.counts().asked:
            raise ValueError("all summaries of each post are alike, nothing can be compared: name other --sources")
        if settings.asks_people:
            _wait_for_people(folder, store)
        else:
            judge = judge_of(settings, of, tokenizer, asked(store, tokenizer))
            check_sides(judge, asked(store, tokenizer, store.unanswered()[:TRIED]))
            answer(store, OnSegments(judge, tokenizer), settings.oracle, progress=True)
        return _counted(store)


def _ask(
    folder: SummaryFolder, settings: Settings, of: Posts, tokenizer: PreTrainedTokenizerBase, store: Store
) -> None:
    """As many pairs as are wanted, if the posts have them: of some, all summaries are alike."""
    paired = settings.together == 2
    ask = Compare(
        per_prompt=-(-settings.comparisons // len(of.train)) if paired else settings.together,
        kind="paired" if paired else "k-wise",
        prompt_length=settings.prompt_length,
        response_length=settings.response_length,
        seed=settings.seed,
        wanted=settings.comparisons,
    )
    if len(store.queries()) < settings.comparisons:
        ask(store, of.train, sources(folder, settings), tokenizer, progress=True)


def _counted(store: Store) -> dict[str, float]:
    counts = store.counts()
    ties = sum(label.preference == 0.5 for label in store.labels())
    found = {"asked": counts.asked, "answered": counts.labelled, "ties": ties, "skipped": counts.skipped}
    return {f"compare/{name}": float(count) for name, count in found.items()}


def sources(folder: SummaryFolder, settings: Settings) -> Mapping[str, Sampler]:
    """Policies by name, as the settings give them; a model that several of them share is there once."""
    given = parts.sources(settings)
    models = {source.model for source in given.values() if source}
    made = {name: loaded(folder, name, settings) for name in models if folder.model(name).is_dir()}
    made |= {name: named(name, settings) for name in models - made.keys()}
    lengths = settings.prompt_length, settings.response_length

    def sampler(source: parts.Source | None) -> Sampler:
        if source is None:
            return references
        tokenizer, model = made[source.model]
        return Policy(model, tokenizer, *lengths, source.temperature)

    return {name: sampler(source) for name, source in given.items()}


def judge_of(
    settings: Settings,
    of: Posts,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[tuple[str, str, str]] = (),
) -> Judge:
    """Who answers, by the setting `oracle`; of its answers to `pairs`, as many are wrong as settings say, or none.

    Raises ValueError where people do.
    """
    kind, _, rest = settings.oracle.partition(":")
    if settings.asks_people:
        raise ValueError("people cannot be asked here: label the pairs, or name another oracle")
    if kind == parts.JUDGE:
        own, model = named(rest, settings)
        return LanguageModelJudge(model, own)
    if rest:
        return parts.own_judge(settings)
    right = Preferring(
        parts.quality(settings), by_prompt(of.known, tokenizer, settings.prompt_length), seed=settings.seed
    )
    known = [pair for pair in pairs if pair[0] in right.examples]  # others were imported with their answers
    return right.erring(known, settings.wrong) if known and settings.wrong else right


def knows_quality(settings: Settings) -> bool:
    """Whether there is somebody to ask about summaries that are new."""
    return not settings.asks_people and settings.comparisons_from is None


def _wait_for_people(folder: SummaryFolder, store: Store) -> None:
    waiting = store.counts().unanswered
    if waiting:
        label = shlex.join(["prefrl", "label", str(folder.comparisons().path)])
        raise Waiting(f"{waiting} pairs wait for people: `{label}` shows them; after that, this command goes on")

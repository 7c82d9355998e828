"""The second stage: which of two summaries is better, told by an oracle, people, a judge, or a published file."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from prefrl.names import attribute, resolve
from prefrl.store import Store
from prefrl.summarize.folder import SummaryFolder
from prefrl.summarize.posts import Posts, judged, posts
from prefrl.summarize.settings import Settings
from prefrl.summarize.sft import loaded
from prefrl.text import oracle as qualities
from prefrl.text.compare import Compare, answer, asked
from prefrl.text.data import put
from prefrl.text.judge import Judge, LanguageModelJudge, OnSegments
from prefrl.text.models import load_model
from prefrl.text.oracle import Preferring, by_prompt
from prefrl.text.sampling import Policy, Sampler, references
from prefrl.text.tokens import PreTrainedTokenizerBase, load_tokenizer

HUMAN, REFERENCE = "human", "reference"


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
        of = posts(settings)
        found = _ask(folder, settings, of, tokenizer, store)
        if settings.oracle == HUMAN:
            _wait_for_people(folder, store)
            return found
        judge = judge_of(settings, of, tokenizer, asked(store, tokenizer))
        return found | answer(store, OnSegments(judge, tokenizer), settings.oracle, progress=True)


class Waiting(RuntimeError):
    """People have to answer before a stage can go on."""


def _ask(
    folder: SummaryFolder, settings: Settings, of: Posts, tokenizer: PreTrainedTokenizerBase, store: Store
) -> dict[str, float]:
    """As many pairs as are wanted, if the posts have them: of some, all summaries are alike."""
    paired = settings.together == 2
    each = -(-settings.comparisons // len(of.train)) if paired else settings.together
    pairs = each if paired else math.comb(each, 2)
    ask = Compare(
        per_prompt=each,
        kind="paired" if paired else "k-wise",
        prompt_length=settings.prompt_length,
        response_length=settings.response_length,
        seed=settings.seed,
    )
    policies, compared, found = sources(folder, settings), 0, dict[str, float]()
    while (missing := settings.comparisons - len(store.queries())) > 0 and compared < len(of.train):
        compared += -(-missing // pairs)
        found = ask(store, of.train[:compared], policies, tokenizer, progress=True)
    return found | {"compare/asked": float(len(store.queries()))}


def sources(folder: SummaryFolder, settings: Settings) -> Mapping[str, Sampler]:
    """Policies by name, as in `sft reference sft@0.7 path/to/another`."""
    names = settings.sources.split()
    models = {name: name.partition("@")[0] for name in names if name != REFERENCE}
    made = {model: _policy(folder, settings, model) for model in {*models.values()}}
    found: dict[str, Sampler] = {
        name: replace(made[model], temperature=float(name.partition("@")[2] or 1)) for name, model in models.items()
    }
    return {name: found.get(name, references) for name in names}


def _policy(folder: SummaryFolder, settings: Settings, name: str) -> Policy:
    path = folder.model(name)
    if path.is_dir():
        tokenizer, model = loaded(folder, name, settings)
    else:
        tokenizer = load_tokenizer(name)
        model = load_model(name, tokenizer)
    return Policy(model, tokenizer, settings.prompt_length, settings.response_length)


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
    if kind == HUMAN:
        raise ValueError("people cannot be asked here: label the pairs, or name another oracle")
    if kind == "judge":
        other = load_tokenizer(rest)
        return LanguageModelJudge(load_model(rest, other), other)
    if rest:
        judge: Judge = attribute(settings.oracle, "judge")
        return judge
    quality = resolve(settings.oracle, qualities, "oracle")
    right = Preferring(quality, by_prompt(of.known, tokenizer, settings.prompt_length), seed=settings.seed)
    return right.erring(pairs, settings.wrong) if pairs and settings.wrong else right


def knows_quality(settings: Settings) -> bool:
    """Whether there is somebody to ask about summaries that are new."""
    return settings.oracle != HUMAN and settings.comparisons_from is None


def _wait_for_people(folder: SummaryFolder, store: Store) -> None:
    waiting = len(store.unanswered())
    if waiting:
        path = folder.comparisons().path
        raise Waiting(f"{waiting} pairs wait for people: `prefrl label {path}` shows them; then this command goes on")

"""The first stage: a language model that has read what people wrote."""

from collections.abc import Sequence

from prefrl.control.policy import device
from prefrl.names import resolve
from prefrl.summarize.folder import SummaryFolder
from prefrl.summarize.posts import Posts, posts
from prefrl.summarize.settings import Settings
from prefrl.text import sft as components
from prefrl.text.models import PreTrainedModel, count_parameters, load_model, new_model, on, save_model
from prefrl.text.samples import Example, Samples
from prefrl.text.tokens import PreTrainedTokenizerBase, encode_prompts, load_tokenizer, to_samples, train_tokenizer

NEW = "new"


def learn(folder: SummaryFolder) -> dict[str, float]:
    """Trains, or loads, a model and its tokenizer, on plain text first where that is wanted; then on summaries."""
    settings = folder.settings
    of = posts(settings)
    found: dict[str, float] = {}
    if settings.pretrain:
        found |= _pretrain(folder, settings, of)
    tokenizer, model = _begun(folder, settings, of)
    train, validation = (_written(settings, tokenizer, split) for split in (of.train, of.validation))
    fit = resolve(settings.sft, components, "sft")
    found |= fit(
        model,
        train.to(model.device),
        validation.to(model.device),
        seed=settings.seed,
        folder=folder.unfinished("sft"),
        progress=True,
    )
    save_model(model, tokenizer, folder.model("sft"))
    _, cut = encode_prompts(tokenizer, [example.prompt for example in of.train], settings.prompt_length)
    counts = {"parameters": count_parameters(model), "summaries": len(train), "prompts_cut": cut}
    return found | {f"sft/{name}": float(count) for name, count in counts.items()}


def _pretrain(folder: SummaryFolder, settings: Settings, of: Posts) -> dict[str, float]:
    if folder.model("pretrained").is_dir():
        return {}
    tokenizer, model = _loaded(settings, of)
    train, validation = ([f"{e.prompt} {text}" for e in split for text in e.references] for split in of[:2])
    pretrain = resolve(str(settings.pretrain), components, "pretrain")
    unfinished = folder.unfinished("pretrained")
    found: dict[str, float] = pretrain(
        model, tokenizer, train, validation, seed=settings.seed, folder=unfinished, progress=True
    )
    save_model(model, tokenizer, folder.model("pretrained"))
    return found


def _begun(folder: SummaryFolder, settings: Settings, of: Posts) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    return loaded(folder, "pretrained", settings) if settings.pretrain else _loaded(settings, of)


def _loaded(settings: Settings, of: Posts) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """As the settings name them; what is new comes from `seed`."""
    where = device(settings.device)
    if settings.model != NEW:
        tokenizer = load_tokenizer(settings.model)
        return tokenizer, on(where, load_model(settings.model, tokenizer))
    tokenizer = train_tokenizer((f"{e.prompt} {' '.join(e.references)}" for e in of.train), settings.vocab)
    context = settings.prompt_length + settings.response_length
    made = new_model(tokenizer, settings.layers, settings.width, settings.heads, context, settings.seed)
    return tokenizer, on(where, made)


def loaded(folder: SummaryFolder, name: str, settings: Settings) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """A model that an earlier stage made, and its tokenizer."""
    path = folder.model(name)
    tokenizer = load_tokenizer(path)
    return tokenizer, on(device(settings.device), load_model(path, tokenizer))


def _written(settings: Settings, tokenizer: PreTrainedTokenizerBase, of: Sequence[Example]) -> Samples:
    pairs = [(example.prompt, text) for example in of for text in example.references]
    prompts, texts = zip(*pairs, strict=True)
    return to_samples(tokenizer, prompts, texts, settings.prompt_length, settings.response_length)

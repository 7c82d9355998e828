"""The first stage: a language model that has read what people wrote."""

from collections.abc import Sequence
from pathlib import Path

from prefrl.control.policy import device
from prefrl.summarize import parts
from prefrl.summarize.folder import SummaryFolder
from prefrl.summarize.posts import Posts, of_length, posts
from prefrl.summarize.settings import BEGUN, Settings
from prefrl.text.models import PreTrainedModel, context_of, count_parameters, load_model, on, save_model
from prefrl.text.samples import Example, Samples
from prefrl.text.scratch import new_model
from prefrl.text.sft import Pretrain
from prefrl.text.tokens import PreTrainedTokenizerBase, encode_prompts, load_tokenizer, to_samples, train_tokenizer


def learn(folder: SummaryFolder) -> dict[str, float]:
    """Trains, or loads, a model and its tokenizer, on plain text first where that is wanted; then on summaries."""
    settings = folder.settings
    of = posts(settings)
    before = parts.pretrain(settings)
    found = _pretrained(folder, settings, of, before) if before else {}
    tokenizer, model = loaded(folder, BEGUN, settings) if before else _begun(settings, of)
    of = of_length(of, settings, tokenizer)
    train, validation = (_written(settings, tokenizer, split) for split in (of.train, of.validation))
    found |= parts.sft(settings)(
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
    counts |= {"posts_left_out": of.left_out} if of.left_out else {}
    return found | {f"sft/{name}": float(count) for name, count in counts.items()}


def _pretrained(folder: SummaryFolder, settings: Settings, of: Posts, pretrain: Pretrain) -> dict[str, float]:
    """What it came to; the model is in a folder of its own."""
    if (known := folder.found(BEGUN)) is not None:
        return known
    tokenizer, model = _begun(settings, of)
    train, validation = ([f"{e.prompt} {text}" for e in split for text in e.references] for split in of[:2])
    unfinished = folder.unfinished(BEGUN)
    found = pretrain(model, tokenizer, train, validation, seed=settings.seed, folder=unfinished, progress=True)
    save_model(model, tokenizer, folder.model(BEGUN))
    folder.finish(BEGUN, found)
    return found


def _begun(settings: Settings, of: Posts) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """As the settings name them; what is new comes from `seed`."""
    needed = settings.prompt_length + settings.response_length
    if kind := parts.scratch(settings):
        learned = train_tokenizer((f"{e.prompt} {' '.join(e.references)}" for e in of.train), settings.vocab)
        made = new_model(learned, settings.layers, settings.width, settings.heads, needed, settings.seed, kind)
        return learned, on(device(settings.device), made)
    tokenizer, model = named(settings.model, settings)
    if needed > context_of(model):
        raise ValueError(
            f"{settings.model} holds {context_of(model)} tokens, not prompts of {settings.prompt_length} with "
            f"summaries of {settings.response_length}: lower --prompt-length"
        )
    return tokenizer, model


def loaded(folder: SummaryFolder, name: str, settings: Settings) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """A model that an earlier stage made, and its tokenizer."""
    return named(folder.model(name), settings)


def named(name: str | Path, settings: Settings) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """Any language model by folder or name on the hub, and its tokenizer.

    Raises ValueError, in one line, where there is none.
    """
    folder = Path(name)
    if (folder.is_absolute() or folder.is_dir()) and not any(folder.glob("*config.json")):
        raise ValueError(f"{name} holds no language model: give the folder of one, such as `sft` in a summariser's")
    try:
        tokenizer = load_tokenizer(name)
        return tokenizer, on(device(settings.device), load_model(name, tokenizer))
    except OSError as error:
        said = str(error).strip().partition("\n")[0]
        raise ValueError(f"no language model can be read from {str(name)!r}: {said}") from error


def _written(settings: Settings, tokenizer: PreTrainedTokenizerBase, of: Sequence[Example]) -> Samples:
    pairs = [(example.prompt, text) for example in of for text in example.references]
    prompts, texts = zip(*pairs, strict=True)
    return to_samples(tokenizer, prompts, texts, settings.prompt_length, settings.response_length)

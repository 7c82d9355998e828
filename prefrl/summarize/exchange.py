"""A summariser's comparisons as files of texts for other programs, and such files among its comparisons."""

from pathlib import Path

from prefrl.runs import COMPARISONS, RunFolder
from prefrl.summarize.folder import SummaryFolder
from prefrl.text.data import FORMATS, out, put
from prefrl.text.data.judgement import Written
from prefrl.text.tokens import load_tokenizer


def export(run: Path, file: Path, format: str) -> Written:
    """Writes what labellers said to a new file; one that exists is left alone."""
    sft = SummaryFolder(run.resolve().parent).model("sft")
    with RunFolder.open(run).open_store() as store:
        return out(store, file, format, load_tokenizer(sft) if sft.is_dir() else None)


def load(run: Path, file: Path, format: str) -> str:
    """Adds a file's judgements, cut to the summariser's lengths; what became of them, in words.

    Raises ValueError for comparisons of no summariser, and before its first stage, whose tokenizer is needed.
    """
    folder = SummaryFolder(run.resolve().parent)
    if run.resolve().name != COMPARISONS or not folder.has_settings:
        raise ValueError(f"{run} is not where a summariser keeps its answers: give DIR/{COMPARISONS}")
    if folder.found("sft") is None:
        raise ValueError(
            f"texts are read by the SFT model's tokenizer: `prefrl summarize sft --out {folder.path}` first"
        )
    settings, tokenizer = folder.settings, load_tokenizer(folder.model("sft"))
    found = FORMATS[format].read(file, None)
    comparisons = folder.comparisons()
    with comparisons.locked(), comparisons.open_store() as store:
        counts = put(store, found, tokenizer, settings.prompt_length, settings.response_length)
    return FOUND.format_map({"new": counts["data/judgements"] - counts["data/known"], **counts})


FOUND = (
    "{data/judgements:.0f} judgements, {new:.0f} new and {data/known:.0f} there already "
    "({data/ties:.0f} ties, {data/skipped:.0f} cannot tell); "
    "{data/cut_prompts:.0f} prompts and {data/cut_texts:.0f} texts cut; "
    "left out: {data/references_left_out:.0f} references"
)

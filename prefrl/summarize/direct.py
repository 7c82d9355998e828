"""Beside reward and ppo: a policy straight from the answers, by DPO, IPO or KTO."""

from typing import Any

from prefrl.summarize import parts
from prefrl.summarize.exam import Exam
from prefrl.summarize.folder import SummaryFolder
from prefrl.summarize.newer import SEEN
from prefrl.summarize.sft import loaded
from prefrl.text.direct import pairs_of
from prefrl.text.models import merged, save_model, with_lora


def learn(folder: SummaryFolder, method: str) -> dict[str, Any]:
    """Fits a copy of the SFT model to all answers, and judges it as `evaluate` judges ppo's."""
    settings = folder.settings
    learns = parts.directly(settings, method)
    tokenizer, plain = loaded(folder, "sft", settings)
    model = with_lora(plain, settings.lora, seed=settings.seed) if settings.lora else plain
    with folder.comparisons().open_store() as store:
        comparisons, seen = store.comparisons()
    pairs = pairs_of(comparisons, tokenizer.pad_token_id, tokenizer.eos_token_id)
    found = learns(model, pairs, seed=settings.seed, folder=folder.unfinished(method), progress=True)
    policy = merged(model)
    save_model(policy, tokenizer, folder.model(method))
    exam = Exam.of(folder)
    found |= {SEEN: float(seen)}
    return found | exam.measured(exam.said(policy, method), exam.nats(policy))

"""Stages in their order, each made once."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prefrl.summarize import compare, evaluate, ppo, reward, sft
from prefrl.summarize.folder import SummaryFolder
from prefrl.summarize.settings import STAGES

MAKE: Mapping[str, Callable[[SummaryFolder], Mapping[str, Any]]] = {
    "sft": sft.learn,
    "compare": compare.compare,
    "reward": reward.fit,
    "ppo": ppo.train,
    "evaluate": evaluate.judge,
}


def run(folder: SummaryFolder, stages: Sequence[str] = STAGES) -> dict[str, Any]:
    """What the stages came to; those that are finished are not made again. After the last, `summary.json` is written.

    Raises ValueError for a stage that needs another before it.
    """
    with folder.locked():
        found = {stage: _made(folder, stage) for stage in stages}
        if folder.found(STAGES[-1]) is not None:
            found["summary"] = summarised(folder)
            folder.summarise(found["summary"])
    return found


def _made(folder: SummaryFolder, stage: str) -> dict[str, Any]:
    if (known := folder.found(stage)) is not None:
        return known
    for earlier in STAGES[: STAGES.index(stage)]:
        if folder.found(earlier) is None and not _is_spared(folder, earlier):
            raise ValueError(f"{stage} needs {earlier} first: `prefrl summarize {earlier} --out {folder.path}`")
    began = time.perf_counter()
    made = dict(MAKE[stage](folder))
    folder.finish(stage, made | {"seconds": time.perf_counter() - began})
    return folder.found(stage) or {}


def _is_spared(folder: SummaryFolder, stage: str) -> bool:
    """A reward that is a function of texts needs no answers."""
    return stage in ("compare", "reward") and folder.settings.reward != ppo.LEARNED


def summarised(folder: SummaryFolder) -> dict[str, Any]:
    """The figures that runs are compared by."""
    stages = {stage: folder.found(stage) or {} for stage in STAGES}
    trained, judged = stages["ppo"], stages["evaluate"]
    return {
        "reward_before": trained["ppo/score_before"],
        "reward_after": trained["ppo/score_after"],
        "kl": trained["ppo/kl_after"],
        "win_rate": judged["over_sft"]["wins"]["value"] if "over_sft" in judged else None,
        "reward_right": stages["reward"].get("reward/model_right"),
        "seed": folder.settings.seed,
        "seconds": sum(each["seconds"] for each in stages.values() if each),
    }

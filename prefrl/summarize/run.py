"""Stages in their order, each made once."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from prefrl.summarize import compare, direct, evaluate, ppo, reward, sft
from prefrl.summarize.folder import SummaryFolder
from prefrl.summarize.order import before
from prefrl.summarize.parts import check
from prefrl.summarize.settings import DIRECT, STAGES, Settings
from prefrl.text.kl import Astray

MAKE: Mapping[str, Callable[[SummaryFolder], Mapping[str, Any]]] = {
    "sft": sft.learn,
    "compare": compare.compare,
    "reward": reward.fit,
    "ppo": ppo.train,
    "evaluate": evaluate.judge,
    **{method: partial(direct.learn, method=method) for method in DIRECT},
}


def begin(path: Path, given: Mapping[str, Any], preset: Mapping[str, Any] | None = None) -> SummaryFolder:
    """The folder with its settings: those it has, or `preset`, and over them what was `given`.

    Raises ValueError for a setting that stands for nothing, and for one that differs from what a finished stage, or one
    that follows it, was made by; then nothing is written. What is not finished begins anew where settings differ.
    """
    folder = SummaryFolder(path)
    if not folder.has_settings:
        check(folder.planned(given, preset or {}))  # what is refused leaves nothing behind, not even a lock
        folder.path.mkdir(parents=True, exist_ok=True)
    with folder.locked():
        settings = folder.planned(given, preset or {})
        check(settings)
        folder.plan(settings)
    return folder


def run(
    folder: SummaryFolder,
    stages: Sequence[str] | None = None,
    tell: Callable[[str, Mapping[str, Any]], object] = lambda stage, found: None,
) -> dict[str, Any]:
    """What the stages came to, all that are needed if not given; those that are finished are not made again.

    `tell` is called after each of them, with its name and what it came to.

    Raises Astray, a RuntimeError, where the policy has gone too far from its start while it was trained: what it was
    before that is kept, and can be evaluated.

    After the last, `summary.json` is written. Raises ValueError for a stage that needs another before it, and before
    one is made again while results of those that follow it are still there.
    """
    with folder.locked():
        found = {}
        for stage in stages or needed(folder.settings):
            found[stage] = _made(folder, stage)
            tell(stage, found[stage])
        if all(folder.found(stage) is not None for stage in needed(folder.settings)):
            folder.summarise(summarised(folder))
    return found


def needed(settings: Settings) -> tuple[str, ...]:
    """All stages but those that nothing comes of: a reward that is a function of texts needs no answers."""
    return tuple(stage for stage in STAGES if stage in (*before(STAGES[-1], settings), STAGES[-1]))


def check_order(folder: SummaryFolder, stage: str) -> None:
    """Raises ValueError where a stage needs one that is not finished."""
    for earlier in before(stage, folder.settings):
        if earlier in STAGES and folder.found(earlier) is None:
            raise ValueError(f"{stage} needs {earlier} first: `prefrl summarize {earlier} --out {folder.path}`")


def _made(folder: SummaryFolder, stage: str) -> dict[str, Any]:
    check_order(folder, stage)
    if (known := folder.found(stage)) is not None:
        return known
    folder.make_way(stage)
    began = time.perf_counter()
    made = dict(MAKE[stage](folder))
    folder.finish(stage, made | {"seconds": time.perf_counter() - began})
    if ppo.STOPPED in made:
        raise Astray(made[ppo.STOPPED])
    return folder.found(stage) or {}


def summarised(folder: SummaryFolder) -> dict[str, Any]:
    """The figures that runs are compared by."""
    stages = {stage: folder.found(stage) or {} for stage in STAGES}
    trained, policy = stages["ppo"], stages["evaluate"]["policies"]["policy"]
    return {
        "reward_before": trained.get("ppo/score_before"),
        "reward_after": trained.get("ppo/score_after"),
        "kl": trained.get("ppo/kl_after"),
        "stopped": ppo.STOPPED in trained,
        "win_rate": policy["over_sft"]["wins"]["value"] if "over_sft" in policy else None,
        "reward_right": stages["reward"].get("reward/model_right"),
        "seed": folder.settings.seed,
        "seconds": sum(each["seconds"] for each in stages.values() if each),
    }

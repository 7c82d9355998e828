"""Which stage needs which, and so which of them follow one that is made again."""

from collections.abc import Mapping

from prefrl.summarize.settings import BEGUN, DIRECT, TOKENS, Settings

NEEDS: Mapping[str, str] = {
    BEGUN: TOKENS,
    "sft": BEGUN,
    "compare": "sft",
    "reward": "compare",
    "ppo": "reward",
    "evaluate": "ppo",
    **dict.fromkeys(DIRECT, "compare"),
}
"""What was made right before each stage, of which it is made."""


def before(stage: str, settings: Settings) -> tuple[str, ...]:
    """All that a stage needs, in order; ppo needs no answers where its reward is a function of texts."""
    needed = "sft" if stage == "ppo" and not settings.learns_reward else NEEDS.get(stage)
    return () if needed is None else (*before(needed, settings), needed)


def after(stage: str, settings: Settings) -> tuple[str, ...]:
    """All stages that need one."""
    return tuple(each for each in NEEDS if stage in before(each, settings))

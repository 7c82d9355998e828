"""What the stages came to, in words for a terminal."""

from collections.abc import Mapping, Sequence
from string import Formatter
from typing import Any

from prefrl.summarize.folder import SummaryFolder
from prefrl.summarize.newer import newer_answers
from prefrl.summarize.settings import DIRECT, STAGES

COLUMNS = ("", "over SFT", "equal length", "over people", "KL", "reward", "words", "copied")
AGAINST = {"over_sft": ("over SFT", "the SFT model's"), "over_people": ("over people", "a person's")}
NOTHING = "-"


def stage(folder: SummaryFolder, name: str, found: Mapping[str, Any]) -> str:
    """What a stage came to, and whether there are answers by now that it has not learned from."""
    line = f"{name}: {_figures(name, found)}"
    if newer := newer_answers(folder, name):
        files = ", ".join(folder.results_from(name))
        line += f"\nanswers that came later: {newer}; to learn from them, copy the folder without {files}"
    return line


def ending(folder: SummaryFolder, stages: Sequence[str]) -> str:
    """The table of policies where one of the `stages` that were asked for makes any, and where all of it is."""
    rows, lines = policies(folder), []
    if rows and not {STAGES[-1], *DIRECT}.isdisjoint(stages):
        lines += ["", table(rows), *_notes(rows, folder.settings.judged_at)]
    return "\n".join([*lines, f"{folder.path}"])


def policies(folder: SummaryFolder) -> dict[str, dict[str, Any]]:
    """What is known of each policy that was judged."""
    found: dict[str, dict[str, Any]] = {**(folder.found(STAGES[-1]) or {}).get("policies", {})}
    return found | {method: made for method in DIRECT if (made := folder.found(method)) is not None}


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Policies, and what their summaries come to."""
    cells = [COLUMNS, *([name, *_row(found)] for name, found in rows.items())]
    widths = [max(len(row[i]) for row in cells) for i in range(len(COLUMNS))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells)


def _notes(rows: Mapping[str, Mapping[str, Any]], temperature: float) -> list[str]:
    """What the columns of the table are, and of how many posts."""
    lines = []
    for name, (column, other) in AGAINST.items():
        counts = sorted({found[name]["prompts"] for found in rows.values() if name in found})
        if counts:
            of = " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
            lines.append(
                f"{column}: share of judged posts ({of}) of which the judge prefers the summary to {other}, ties half."
            )
    how = f"drawn at a temperature of {temperature:g}" if temperature else "greedy"
    lines.append(f"Models' summaries are {how}; best of n: of n that the SFT model draws, the best by reward.")
    return [*lines, "Intervals are of 95 %; KL is in nats from SFT, per summary."]


def likert(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Mean scores of people, from 1 to 7, by policy and axis."""
    lines = []
    for policy, axes in found.items():
        scores = (f"{axis} {_interval(of, '.1f')}" for axis, of in axes.items())
        lines.append(f"{policy}: {', '.join(scores)}")
    return "\n".join(lines)


def _row(found: Mapping[str, Any]) -> list[str]:
    judged, people = found.get("over_sft"), found.get("over_people")
    return [
        _interval(judged["wins"], ".0%") if judged else NOTHING,
        _interval(judged["at_equal_length"], ".0%") if judged else NOTHING,
        _interval(people["wins"], ".0%") if people else NOTHING,
        _number(found["kl"], ".1f"),
        _number(found.get("reward"), ".2f"),
        _number(found["words"], ".1f"),
        _number(found["copied"], ".0%"),
    ]


def _interval(of: Mapping[str, float | None], form: str) -> str:
    """One value, such as that of a single post, has no bounds."""
    bounds = NOTHING if of["low"] is None else f"{_number(of['low'], form)} to {_number(of['high'], form)}"
    return f"{_number(of['value'], form)} ({bounds})"


def _number(value: float | None, form: str) -> str:
    return NOTHING if value is None else format(value, form)


FIGURES: Mapping[str, Sequence[str]] = {
    "sft": (
        "{sft/summaries:.0f} summaries, {sft/prompts_cut:.0f} prompts cut",
        "{sft/posts_left_out:.0f} posts left out for the length of their summary, or since an earlier split has them",
        "{sft/parameters:,.0f} parameters",
        "{sft/validation_loss:.3f} nats per token of held-out ones",
    ),
    "compare": (
        "{compare/answered:.0f} answers, {compare/ties:.0f} of them ties; {compare/skipped:.0f} cannot tell",
        "{data/judgements:.0f} published answers, {data/ties:.0f} of them ties, {data/skipped:.0f} cannot tell; "
        "{data/cut_prompts:.0f} prompts and {data/cut_texts:.0f} summaries cut",
    ),
    "reward": (
        "{labels/learned:.0f} answers learned from, {reward/validation_loss:.3f} nats for those held out",
        "right about {reward/model_right:.0%} of new pairs, length about {reward/length_right:.0%}",
    ),
    "ppo": (
        "{ppo/episodes:.0f} summaries",
        "reward from {ppo/score_before:.2f} to {ppo/score_after:.2f}",
        "{ppo/kl_after:.1f} nats from SFT",
        "tokens from {ppo/length_before:.1f} to {ppo/length_after:.1f}, {ppo/ended_after:.0%} ended",
        "stopped: {ppo/stopped}",
    ),
    **{method: (f"{{{method}/updates:.0f}} updates, loss {{{method}/loss:.3f}}",) for method in DIRECT},
}
"""What is told of each stage, where it is known; all else is in its JSON file."""


def _figures(stage: str, found: Mapping[str, Any]) -> str:
    there = {name for name, value in found.items() if value is not None}
    known = [form for form in FIGURES.get(stage, ()) if _needs(form) <= there]
    return "; ".join([*(form.format_map(found) for form in known), f"{found['seconds']:.0f} s"])


def _needs(form: str) -> set[str]:
    return {name for _, name, *_ in Formatter().parse(form) if name}

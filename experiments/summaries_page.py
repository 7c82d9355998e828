"""The page of the report on summaries, from records and kept texts alone."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmarks.measure import markdown
from experiments.summaries_figures import draw
from experiments.summaries_judged import SFT, Jury, averaged, by_name, last
from experiments.summaries_measure import DRAWN, GREEDY
from experiments.summaries_runs import read_said
from prefrl.files import whole
from prefrl.intervals import Interval
from prefrl.summarize.folder import SummaryFolder
from prefrl.text.accuracy import Cell, table

Record = dict[str, Any]
SHOWN = 10
"""Held-out posts whose summaries are shown: the first ones."""


def write(folder: Path, out: Path, records: Sequence[Record], headline: str) -> None:
    """README.md, its figures and the records, without the texts. `headline`: name of the run that targets are for."""
    folder.mkdir(parents=True, exist_ok=True)
    jury, runs = Jury.of(out), by_name(records)
    parts = [
        "# Claim: noisy comparisons teach a small model to write better summaries, by the oracle that answered them",
        _about(jury, records, runs),
        _verdicts(jury, records, runs, headline),
        "## Every seed",
        _seeds(jury, runs, headline),
        "## Every policy",
        _policies(jury, runs),
        "## Over-optimisation",
        "![Reward and oracle over the distance from SFT](curves.png)",
        CURVES,
        _highest(runs, records),
        "## The reward model on the oracle's held-out pairs",
        _right(records),
        *_published(records),
        "## The first ten held-out posts, unedited",
        _samples(jury, runs, headline),
        "## Time, commands and versions",
        _made(records),
    ]
    draw(records, folder / "curves.png")
    with whole(folder / "records.jsonl") as file:
        file.write("".join(json.dumps(record) + "\n" for record in records).encode())
    with whole(folder / "README.md") as file:
        file.write("\n\n".join(part for part in parts if part).encode() + b"\n")


HOW = {DRAWN: "drawn as in training", GREEDY: "greedy"}
"""What is compared: what PPO trains is what is drawn; the likeliest is told beside it."""
CURVES = """Thin lines are seeds, thick ones their mean over points of equal training. The distance is the square root
of KL(policy, SFT) in nats per summary, estimated on summaries of held-out posts drawn as in training, as reward (the
mean of the ensemble, whatever the policy was paid) and oracle are; best-of-n's is analytic, log n - (n - 1) / n."""


def _about(jury: Jury, records: Sequence[Record], runs: Mapping[str, Sequence[Record]]) -> str:
    settings = SummaryFolder(jury.out / "seed-0" / "base").settings
    base = next(record for record in records if record["method"] == "base")
    stages, seeds = base["stages"], sorted({record["seed"] for record in runs[SFT]})
    return (
        f"Abstracts of papers to one sentence (SciTLDR), by a model of {stages['sft']['sft/parameters'] / 1e6:.1f} "
        f"million parameters that was trained from scratch; {stages['compare']['compare/asked']:,.0f} comparisons of "
        f"summaries by {settings.sources}. **Who prefers is an oracle, no person**: ROUGE to what people wrote, less "
        f"penalties for copying and for length, with {settings.wrong:.0%} of its answers wrong, as Bradley and Terry "
        "have it. It stands for preferences here, not for quality. Start, comparisons and reward are made once per "
        f"seed, and all policies of a seed begin there. Seeds: {', '.join(map(str, seeds))}. What is reported is of "
        "held-out posts, the oracle not erring."
    )


def _verdicts(jury: Jury, records: Sequence[Record], runs: Mapping[str, Sequence[Record]], headline: str) -> str:
    rows = []
    for how, told in HOW.items() if headline in runs else ():
        wins = jury.over(headline, SFT, seeds_of(runs[headline]), how).wins
        reached = wins.value >= 0.6 and wins.low > 0.5
        kl = f"{percent(wins)} at a KL of {last(runs[headline], 'kl'):.1f} nats"
        rows.append([f"PPO over SFT by the oracle, {told}", "60 %, interval above 50 %", kl, reached])
    right = np.mean([r["right"][0]["accuracy"] for r in records if r["method"] == "base"])
    rows.append(["reward model, held-out oracle pairs", "above 70 %", f"{right:.1%}", bool(right > 0.7)])
    if pair := paid_most(runs):
        least, mean, seeds = pair
        each = [jury.over(least, mean, [seed], DRAWN).wins for seed in seeds]
        common = [[record for record in runs[name] if record["seed"] in seeds] for name in (least, mean)]
        ends = " and ".join(f"{last(some, 'oracle'):.3f} at {last(some, 'kl'):.1f} nats" for some in common)
        wins = [f"seed {seed} {percent(won)}" for seed, won in zip(seeds, each, strict=True)]
        said = f"{least} over {mean}: {', '.join(wins)}; by the oracle {ends}"
        never = all(won.high >= 0.5 for won in each)
        rows.append(["pessimism at high KL", "never worse than the mean: no seed's interval below 50 %", said, never])
    for record in records:
        if record["method"] == "published" and record["name"] == "people":
            found = {c["scores"]: c["accuracy"] for c in record["cells"] if c["part"] == "all"}
            said = f"{found['reward model']:.1%}, length {found['length']:.1%}"
            rows.append(["people's pairs", "above length", said, found["reward model"] > found["length"]])
    return markdown(
        ["Claim", "Target", "Found", "Verdict"],
        [[*map(str, row[:-1]), "reached" if row[-1] else "missed"] for row in rows],
    )


def paid_most(runs: Mapping[str, Sequence[Record]]) -> tuple[str, str, list[int]] | None:
    """Policies at the smallest beta that were paid the least member and the mean, and the seeds that both have."""
    beta = min((record["beta"] for found in runs.values() for record in found if record["beta"]), default=0.0)
    least, mean = (f"ppo-{beta:g}-{score}" for score in ("min", "mean"))
    common = {*seeds_of(runs.get(least, []))} & {*seeds_of(runs.get(mean, []))}
    return (least, mean, sorted(common)) if common else None


def seeds_of(records: Sequence[Record]) -> list[int]:
    return [record["seed"] for record in records]


def percent(of: Interval) -> str:
    return f"{of.value:.1%} [{of.low:.1%} to {of.high:.1%}]"


def _seeds(jury: Jury, runs: Mapping[str, Sequence[Record]], headline: str) -> str:
    rows = []
    for record in runs.get(headline, []):
        seed, kl = record["seed"], f"{record['points'][-1]['kl']:.1f}"
        for how, told in HOW.items():
            sft, people = jury.over(headline, SFT, [seed], how), jury.over_people(headline, [seed], how)
            wins = [percent(each) for each in (sft.wins, sft.at_equal_length, people.wins, people.at_equal_length)]
            rows.append([str(seed), told, kl, *wins])
    head = ["Seed", "Summaries", "KL"]
    head += [f"{what}{level}" for what in ("Over SFT", "Over people") for level in ("", ", at equal length")]
    said = f"`{headline}` against SFT, and against a reference that the oracle was not shown."
    return f"{said}\n\n{markdown(head, rows)}"


def _policies(jury: Jury, runs: Mapping[str, Sequence[Record]]) -> str:
    rows = []
    for name, found in runs.items():
        seeds = seeds_of(found)
        over = [jury.over(name, SFT, seeds, how) for how in HOW] if name != SFT else []
        wins = [percent(each) for of in over for each in (of.wins, of.at_equal_length)] or [""] * 4
        people = jury.over_people(name, seeds, DRAWN)
        drawn = [f"{last(found, what):.{digits}f}" for what, digits in (("kl", 1), ("proxy", 2), ("oracle", 3))]
        quality = f"{jury.mean_quality(name, seeds):.3f}"
        told = [f"{people.lengths[0]:.1f}", f"{people.copied[0]:.0%}"]
        against = [percent(people.wins), percent(people.at_equal_length)]
        rows.append([name, str(len(found)), *drawn, quality, *wins, *against, *told])
    rows.append(["people", *[""] * 11, f"{people.lengths[1]:.1f}", f"{people.copied[1]:.0%}"])
    head = ["Policy", "Seeds", "KL", "Reward", "Oracle", "Oracle, greedy", "Wins over SFT", "... at equal length"]
    head += ["Greedy over greedy SFT", "... at equal length", "Wins over people"]
    head += ["... at equal length", "Words", "Copied"]
    return (
        markdown(head, rows)
        + "\n\nWhere nothing else is said, summaries are drawn at training's temperature. Wins with 95 % intervals of "
        "a bootstrap over posts, ties as one half. Copied: the share of words in the longest run that stands in the "
        "abstract. `ppo-BETA-SCORE`: what was paid is the ensemble's mean or its least member."
    )


def _highest(runs: Mapping[str, Sequence[Record]], records: Sequence[Record]) -> str:
    """Where each curve is highest by the oracle, and where it ends."""
    rows = []
    for name, found in runs.items():
        if name.startswith("ppo"):
            points = averaged([record["points"] for record in found], "episodes")
            stopped = sum(bool(record["astray"]) for record in found)
            seeds = f"{len(found)}, {stopped} of them stopped for its KL" if stopped else f"{len(found)}"
            rows.append([name, seeds, *_extremes(points, "episodes")])
    best = [record["curves"] for record in records if record["method"] == "best-of-n"]
    for score in best[0] if best else ():
        points = averaged([each[score] for each in best], "n")
        rows.append([f"best-of-n, {score}", f"{len(best)}", *_extremes(points, "n")])
    head = ["Policy", "Seeds", "Highest oracle", "at sqrt(KL)", "after"]
    return markdown([*head, "Oracle at the end", "at sqrt(KL)", "Reward at the end"], rows)


def _extremes(points: Sequence[Mapping[str, Any]], unit: str) -> list[str]:
    high, end = max(points, key=lambda point: point["oracle"]), points[-1]
    far, farther = (f"{max(point['kl'], 0) ** 0.5:.2f}" for point in (high, end))
    after = f"{high[unit]:,.0f} {unit}" if unit == "episodes" else f"n = {high[unit]:.0f}"
    return [f"{high['oracle']:.3f}", far, after, f"{end['oracle']:.3f}", farther, f"{end['proxy']:.2f}"]


def _right(records: Sequence[Record]) -> str:
    """A table of the first seed, and all seeds' share of all pairs."""
    bases = sorted((record for record in records if record["method"] == "base"), key=lambda record: record["seed"])
    said = ", ".join(f"{record['right'][0]['accuracy']:.1%} (seed {record['seed']})" for record in bases)
    cells = table([Cell(**cell) for cell in bases[0]["right"]])
    first = f"Of seed {bases[0]['seed']}, confidence being the difference in quality:"
    return f"Right of all pairs: {said}. {first}\n\n{cells}"


def _published(records: Sequence[Record]) -> list[str]:
    found = []
    titles = {
        "people": "## People's preferences: systems' summaries of news",
        "language model": "## A language model's preferences: a 1.3B model's summary of a post, or its author's",
    }
    for record in records:
        if record["method"] == "published":
            cells = table([Cell(**cell) for cell in record["cells"]])
            said = (
                f"{record['pairs']:,} pairs, {record['ties']:,} of them ties, which do not count. Splits are the parts "
                "that were held out in turn: every pair is judged by a reward model that saw neither it nor another of "
                "its article or post. Of news, the articles are not published: a person's summary stands in their "
                "place, to which ROUGE and lead compare; of posts, one side is the author's own summary, and so there "
                "is nothing that ROUGE could compare to."
            )
            found += [titles[record["name"]], said, cells]
    return found


def _samples(jury: Jury, runs: Mapping[str, Sequence[Record]], headline: str) -> str:
    """From SciTLDR (Apache-2.0), by the paper's id."""
    of = [(name, how) for name in (SFT, headline) if name in runs for how in HOW]
    said = {f"{name}, {how}": read_said(jury.out, runs[name][0]["seed"], name, how) for name, how in of}
    blocks = []
    for row, example in enumerate(jury.examples[:SHOWN]):
        lines = [f"**{example.id}**", f"- a person: {example.references[0]}"]
        lines += [f"- {name}: {' '.join(texts[row].split())}" for name, texts in said.items()]
        blocks.append("\n".join(lines))
    return "\n\n".join(["Of the first seed. People's are from SciTLDR (Cachola et al. 2020, Apache-2.0).", *blocks])


def _made(records: Sequence[Record]) -> str:
    minutes: dict[str, list[float]] = {}
    for record in records:
        stages = sum(stage["seconds"] for stage in record.get("stages", {}).values())
        minutes.setdefault(record["name"], []).append((record["seconds"] + stages) / 60)
    rows = [[name, str(len(each)), f"{np.mean(each):.1f}"] for name, each in minutes.items()]
    total = sum(sum(each) for each in minutes.values())
    made = dict.fromkeys((r["command"], _versions(r["system"])) for r in records)
    said = "\n\n".join(f"```\n{command}\n```\n\nwith {versions}." for command, versions in made)
    made_by = markdown(["What", "Runs", "Minutes each"], rows)
    return f"{made_by}\n\nTogether {total / 60:.1f} hours of one process.\n\n{said}"


def _versions(system: Mapping[str, Any]) -> str:
    found = {"Python": system["python"], **system["packages"], "commit": system["commit"]}
    return ", ".join(f"{name} {version}" for name, version in found.items() if version)

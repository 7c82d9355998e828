"""The report on summaries, made in small from made-up papers and preferences."""

import json
import sys
from functools import partial

import numpy as np
import pytest

from experiments import summaries, summaries_people
from experiments.summaries_figures import draw
from experiments.summaries_judged import averaged
from experiments.summaries_page import paid_most
from experiments.summaries_runs import EDITIONS, Task, made, tasks
from prefrl.text.kl import KL, Astray
from tests.tiny_text import sentence

METHODS = {"base", "best-of-n", "ppo", "dpo", "ipo", "kto"}


@pytest.fixture(scope="module")
def papers(tmp_path_factory):
    """Files as SciTLDR's: abstracts of two sentences, and what people wrote."""
    folder, rng = tmp_path_factory.mktemp("papers"), np.random.default_rng(0)
    for split, count, references in (("train", 40, 1), ("dev", 4, 2), ("test", 12, 2)):
        rows = [
            {
                "source": [f"{sentence(rng)}.", f"{sentence(rng)}."],
                "target": [f"{sentence(rng)}." for _ in range(references)],
                "paper_id": f"{split}{i}",
            }
            for i in range(count)
        ]
        (folder / f"scitldr_{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def report(papers, tmp_path_factory):
    """The command, run to its end: its folders of runs and of results."""
    folder = tmp_path_factory.mktemp("report")
    run(papers, folder)
    return folder


def run(papers, folder):
    words = ["--data", papers, "--out", folder / "runs", "--results", folder / "results"]
    given = [*words, "--seeds", "1", "--jobs", "1", "--edition", "trial"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["summaries", *map(str, given)])
        summaries.main()


def test_the_report_has_a_record_of_every_method_and_a_point_of_every_snapshot(report):
    records = summaries.read(report / "runs")
    assert {record["method"] for record in records} == METHODS
    assert len(records) == len(tasks(EDITIONS["trial"], 1, curves=1))
    [learned] = [record for record in records if record["name"] == "ppo-0.03-min"]
    assert [point["episodes"] for point in learned["points"]] == [64, 128]


def test_sft_is_no_distance_from_itself(report):
    [base] = [record for record in summaries.read(report / "runs") if record["method"] == "base"]
    assert base["points"][0]["kl"] == 0


def test_the_page_tells_targets_policies_samples_and_commands(report):
    page = (report / "results" / "README.md").read_text()
    for said in (
        "| PPO over SFT by the oracle, drawn as in training |",
        "| PPO over SFT by the oracle, greedy |",
        "| ppo-0.03-min |",
        "| people |",
        "**test0**",
        "--edition trial",
    ):
        assert said in page
    assert (report / "results" / "curves.png").stat().st_size > 10_000


def test_a_policy_that_went_astray_is_no_point_of_its_curve(report, tmp_path, monkeypatch):
    """The one that it was before is."""
    monkeypatch.setattr(KL, "check", lambda self, kl, beta: went_astray() if kl else None)
    base = report / "runs" / "seed-0" / "base"
    (tmp_path / "seed-0").mkdir()
    (tmp_path / "seed-0" / "base").symlink_to(base)
    record = made(Task(0, "ppo", 0.03, "mean"), EDITIONS["trial"], "", tmp_path)
    assert record["astray"] == "too far"
    assert [(point["episodes"], point["kl"]) for point in record["points"]] == [(0, 0)]


def went_astray():
    raise Astray("too far")


def test_what_is_there_is_not_made_again_and_what_a_kill_cut_off_is(report, papers):
    file = report / "runs" / "results.jsonl"
    whole = file.read_text().splitlines()
    cut_off = [line for line in whole if '"best-of-n"' in line]
    others = [line for line in whole if line not in cut_off]
    file.write_text("\n".join([*others, cut_off[0][:40]]))
    run(papers, report)
    again = file.read_text().splitlines()
    assert again[:-1] == others
    assert json.loads(again[-1])["curves"] == json.loads(cut_off[0])["curves"]


def test_bases_come_first_and_then_the_run_that_targets_are_for():
    names = [(task.seed, task.name) for task in tasks(EDITIONS["cpu"], 2, curves=2)]
    first = Task(0, "ppo", *EDITIONS["cpu"].headline).name
    assert names[:4] == [(0, "base"), (1, "base"), (0, first), (1, first)]
    assert len(names) == len({*names}) == 2 * (1 + 8 + 1 + 3)
    assert len(tasks(EDITIONS["cpu"], 2, curves=1)) == 2 * (1 + 1) + (7 + 1 + 3)


def test_pessimism_is_told_where_policies_were_paid_most():
    def paid(score, beta, *seeds):
        return {f"ppo-{beta:g}-{score}": [{"beta": beta, "seed": seed} for seed in seeds]}

    mean, least = paid("mean", 0.01, 0, 1, 2), paid("min", 0.01, 2, 1)
    assert paid_most(mean | least | paid("mean", 0.3, 0) | paid("min", 0.3, 0)) == (
        "ppo-0.01-min",
        "ppo-0.01-mean",
        [1, 2],
    )
    assert paid_most(mean) is None and paid_most(mean | paid("min", 0.01, 3)) is None


def test_records_of_published_preferences_are_no_curves(report, tmp_path):
    records = summaries.read(report / "runs")
    draw([*records, {"seed": 0, "method": "reader", "name": "reader"}], tmp_path / "curves.png")
    draw(records, tmp_path / "without.png")
    assert (tmp_path / "curves.png").read_bytes() == (tmp_path / "without.png").read_bytes()


def test_runs_are_averaged_where_they_have_learned_as_much():
    whole = [{"episodes": 64, "kl": 1}, {"episodes": 128, "kl": 2}, {"episodes": 192, "kl": 3}]
    stopped = [{"episodes": 64, "kl": 3}, {"episodes": 100, "kl": 9}]
    assert averaged([whole, stopped], "episodes") == [{"episodes": 64, "kl": 2}]


def failing(seed):
    if not seed:
        raise RuntimeError("no room")
    return {"seed": seed, "name": "base", "seconds": 1.0}


def test_what_was_made_beside_a_failure_is_kept(tmp_path):
    with pytest.raises(RuntimeError, match="no room"):
        summaries.make(tmp_path, {(seed, "base"): partial(failing, seed) for seed in range(3)}, jobs=2)
    assert {record["seed"] for record in summaries.read(tmp_path)} == {1, 2}


def test_every_published_pair_is_judged_by_a_model_that_saw_nothing_of_its_article(papers, tmp_path, monkeypatch):
    articles = {
        f"a{i}": [
            {"ref": f"article {i}.", "sys_name": f"s{j}", "sys_summ": f"{'good ' * j}{i}", "scores": {"overall": j}}
            for j in range(3)
        ]
        for i in range(10)
    }
    (tmp_path / "scores.json").write_text(json.dumps(articles))
    fits = []
    fitted = summaries_people._fitted

    def noted(of, *rest):
        fits.append({pair.id for pair in of.pairs})
        return fitted(of, *rest)

    monkeypatch.setattr(summaries_people, "_fitted", noted)
    given = tmp_path / "scores.json", None
    summaries_people.read(EDITIONS["trial"], f"scitldr:{papers}", tmp_path, *given)
    record = summaries_people.told("people", EDITIONS["trial"], tmp_path, *given)
    assert [len(ids) for ids in fits] == [8] * 5
    assert all(sum(name not in ids for ids in fits) == 1 for name in articles)
    cells = {cell["scores"]: cell for cell in record["cells"] if cell["part"] == "all"}
    assert cells["length"]["accuracy"] == 1 and cells["reward model"]["pairs"] == 30

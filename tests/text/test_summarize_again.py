"""Stages that are made again: what follows them is never shown as if it were theirs."""

import json
from dataclasses import replace
from unittest.mock import patch

import pytest

from prefrl.summarize.order import after
from prefrl.summarize.run import begin, run
from prefrl.summarize.settings import Settings
from tests.tiny_summaries import TINY, copied

OF_EVALUATE = "evaluate.json, summary.json, likert.csv, likert.key.json"


@pytest.fixture
def finished(summariser, tmp_path):
    return copied(summariser, tmp_path / "copy")


def contents(path):
    return {file: file.read_bytes() for file in path.rglob("*") if file.is_file() and file.name != ".lock"}


@pytest.mark.parametrize(
    ("given", "files"),
    [
        ({"best_of": 3}, OF_EVALUATE),
        ({"kl": "kl(beta=1)"}, f"ppo.json, {OF_EVALUATE}"),
        ({"temperature": 0.5}, f"ppo.json, {OF_EVALUATE}, dpo.json"),
        ({"members": 3}, f"reward.json, ppo.json, {OF_EVALUATE}, dpo.json"),
        ({"wrong": 0.2}, f"compare.json, reward.json, ppo.json, {OF_EVALUATE}, dpo.json"),
        ({"width": 8}, f"sft.json, compare.json, reward.json, ppo.json, {OF_EVALUATE}, dpo.json"),
        ({"vocab": 280}, f"sft.json, compare.json, reward.json, ppo.json, {OF_EVALUATE}, dpo.json, comparisons"),
    ],
    ids=lambda given: next(iter(given)) if isinstance(given, dict) else None,
)
def test_a_setting_is_refused_with_all_that_was_made_by_it(given, files, finished):
    (finished / "dpo.json").write_text('{"reward": 1}')
    with pytest.raises(ValueError, match=r"was made with") as refusal:
        begin(finished, given)
    assert str(refusal.value).endswith(f"choose another --out, or copy the folder without {files}")


def test_results_of_another_policy_are_refused_before_one_is_trained(finished):
    (finished / "ppo.json").unlink()
    with pytest.raises(ValueError, match=f"evaluate of .* was made with kl .* without {OF_EVALUATE}$"):
        begin(finished, {"kl": "kl(beta=1)"})
    folder, before = begin(finished, {}), contents(finished)
    for stages in (["ppo"], None):
        with pytest.raises(ValueError, match=f"ppo of .* to be made again, and {OF_EVALUATE} would still be of"):
            run(folder, stages)
    with pytest.raises(ValueError, match="evaluate needs ppo first"):
        run(folder, ["evaluate"])
    assert run(folder, ["reward"])["reward"]["seconds"] > 0
    assert contents(finished) == before
    for name in OF_EVALUATE.split(", "):
        (finished / name).rename(finished / f"old-{name}")
    folder = begin(finished, {"kl": "kl(beta=1)"})
    run(folder)
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert {line["rollout/beta"] for line in lines} == {1}


def test_a_sheet_that_nobody_has_filled_in_is_written_anew(finished):
    for name in ("evaluate.json", "summary.json"):
        (finished / name).unlink()
    run(begin(finished, {"best_of": 3}))
    assert "best of 3" in (finished / "likert.key.json").read_text()
    (finished / "evaluate.json").unlink()
    sheet = finished / "likert.csv"
    sheet.write_text(f"{sheet.read_text('utf-8-sig').rstrip().removesuffix(',,,,')},7,7,7,7\n")
    filled = sheet.read_bytes()
    with pytest.raises(ValueError, match=r"evaluate of .* was made with best_of 3: .* summary.json, likert.csv, l"):
        begin(finished, {"best_of": 4})
    (finished / "summary.json").unlink()
    with pytest.raises(ValueError, match=r"evaluate of .* was made with best_of 3: .* without likert.csv, likert.key"):
        begin(finished, {"best_of": 4})
    run(begin(finished, {}))
    assert sheet.read_bytes() == filled


def test_a_preset_of_other_settings_is_refused_and_its_own_go_on(finished):
    folder, seeded = begin(finished, {}), {"seed": TINY["seed"]}
    preset = {name: value for name, value in TINY.items() if name not in seeded}
    for given, of in ({}, TINY), (seeded, preset), ({"device": "cpu"}, TINY):
        assert begin(finished, given, of).settings == replace(folder.settings, device=given.get("device", "auto"))
    before = contents(finished)
    with pytest.raises(ValueError, match=r"copy was begun with seed 3, not 0 .*: say which by --seed"):
        begin(finished, {}, preset)
    assert contents(finished) == before


def test_settings_are_checked_by_one_process_at_a_time(finished, tmp_path):
    folder = begin(finished, {})
    with folder.locked(), pytest.raises(ValueError, match="another process is working on"):
        begin(finished, {"posts": 41})

    def overtaken(settings):
        with patch("prefrl.summarize.run.check"):
            begin(tmp_path / "new", {"seed": 5}, TINY)

    with patch("prefrl.summarize.run.check", overtaken), pytest.raises(ValueError, match="begun with seed 5, not 3"):
        begin(tmp_path / "new", {}, TINY)
    with pytest.raises(ValueError, match="nonesuch"):
        begin(tmp_path / "refused", {"algo": "nonesuch"}, TINY)
    assert not (tmp_path / "refused").exists()


def test_policies_that_a_reward_measured_follow_it(summariser, tmp_path):
    path = copied(summariser, tmp_path / "copy", "reward", "ppo", "evaluate")
    (path / "dpo.json").write_text('{"kl": 1}')
    begin(path, {}).make_way("reward")
    (path / "dpo.json").write_text('{"kl": 1, "reward": 1}')
    with pytest.raises(ValueError, match=r"reward of .* dpo.json would still be of"):
        run(begin(path, {}), ["reward"])


def test_what_followers_have_begun_is_begun_anew(summariser, tmp_path):
    folder = begin(copied(summariser, tmp_path / "copy", "reward", "ppo", "evaluate"), {})
    for name in ("reward", "ppo", "dpo"):
        folder.unfinished(name).mkdir()
    folder.make_way("reward")
    assert [name for name in ("reward", "ppo", "dpo") if folder.unfinished(name).exists()] == ["reward", "dpo"]


def test_a_reward_that_is_a_function_follows_no_answers():
    assert after("compare", Settings()) == ("reward", "ppo", "evaluate", "dpo", "ipo", "kto")
    assert after("compare", replace(Settings(), reward="mine:short")) == ("reward", "dpo", "ipo", "kto")

"""The stages one after the other: what they come to, and that one that was cut off goes on as if it had not been."""

import json
from unittest.mock import patch

import pytest

from prefrl.store import Store
from prefrl.summarize import ppo
from prefrl.summarize.run import begin, run
from prefrl.summarize.settings import STAGES
from prefrl.text.descent import Descent
from prefrl.text.kl import KL, Astray
from prefrl.text.models import load_model
from prefrl.text.reward_model import RewardModel
from prefrl.text.sft import Pretrain
from prefrl.text.tokens import load_tokenizer
from prefrl.text.watch import Watch, read
from tests.tiny_summaries import TINY, begun, copied, results, said, same_weights


class Killed(BaseException):
    """Nothing may mend it."""


def killed_at(kind, method, call):
    """Dies in the n-th call of a method."""
    made, calls = getattr(kind, method), iter(range(1, call))

    def dies(self, *args, **kwargs):
        if next(calls, None) is None:
            raise Killed
        return made(self, *args, **kwargs)

    return patch.object(kind, method, dies)


def test_all_stages_are_made_once(summariser):
    before = {file: file.stat().st_mtime_ns for file in summariser.rglob("*") if file.name != "summary.json"}
    found = run(begin(summariser, {}))
    assert [*found] == [*STAGES]
    made = {file: file.stat().st_mtime_ns for file in before}
    changed = {file.name for file in before if before[file] != made[file] and file.is_file()}
    assert changed <= {"settings.yaml", "command.txt", "system.json", ".lock"}


def test_the_summary_holds_what_runs_are_compared_by(summariser):
    found = json.loads((summariser / "summary.json").read_text())
    assert found.keys() >= {"win_rate", "seconds"} and not found["stopped"]
    lines = [json.loads(line) for line in (summariser / "metrics.jsonl").read_text().splitlines()]
    assert [line["episodes"] for line in lines] == [16, 32, 48, 64]
    assert all("train/loss" in line and "rollout/kl" in line for line in lines)
    assert found["reward_before"] == lines[0]["rollout/score"]  # the SFT model's: nothing was learned by then
    assert found["reward_after"] == pytest.approx(sum(line["rollout/score"] for line in lines) / 4)
    assert found["kl"] == pytest.approx(sum(line["rollout/kl"] for line in lines) / 4)
    assert found["win_rate"] == results(summariser)["evaluate.json"]["policies"]["policy"]["over_sft"]["wins"]["value"]


def test_best_of_n_is_judged_at_its_analytic_distance(summariser):
    policies = results(summariser)["evaluate.json"]["policies"]
    assert policies.keys() == {"sft", "policy", "best of 2"}
    assert policies["best of 2"]["kl"] == pytest.approx(0.6931 - 0.5, abs=1e-3)
    assert policies["sft"]["kl"] == 0 and "over_sft" not in policies["sft"]
    assert all({"reward", "words", "copied"} <= found.keys() for found in policies.values())


def test_the_same_settings_make_the_same_summariser(summariser, tmp_path):
    again = begun(tmp_path / "again")
    with killed_at(Descent, "_update", 3), pytest.raises(Killed):
        run(again)
    assert (again.unfinished("sft") / "training.safetensors").exists()
    with killed_at(Store, "ask", 1), pytest.raises(Killed):
        run(again)
    with killed_at(Store, "answer", 1), pytest.raises(Killed):
        run(again)
    with killed_at(RewardModel, "save", 0), pytest.raises(Killed):
        run(again)
    assert (again.unfinished("reward") / "training.safetensors").exists()
    with patch.object(Watch, "__init__", often(Watch.__init__)):
        with killed_at(Watch, "_on_rollout_end", 4), pytest.raises(Killed):
            run(again)
        assert (again.unfinished("ppo") / ppo.STATE).exists()
        run(again)
    assert results(again.path) == results(summariser)
    assert all(same_weights(summariser / name, again.path / name) for name in ("sft", "reward", "policy"))
    assert not any(path.is_dir() for path in again.path.glob(".*"))


def often(begin):
    """Has every rollout but the first saved."""
    return lambda self, *args, **kwargs: begin(self, *args, **{**kwargs, "save_every": 1})


def test_a_model_learns_plain_text_first_and_goes_on_where_it_was_cut_off(tmp_path):
    given = {"pretrain": "pretrain(epochs=2, block=16, batch=16, save_every=1)"}
    whole, cut = begun(tmp_path / "whole", **given), begun(tmp_path / "cut", **given)
    run(whole, ["sft"])
    with killed_at(Pretrain, "_update", 3), pytest.raises(Killed):
        run(cut, ["sft"])
    with patch("prefrl.summarize.sft.parts.sft", side_effect=Killed), pytest.raises(Killed):
        run(cut, ["sft"])
    run(cut, ["sft"])
    assert results(cut.path) == results(whole.path)
    assert same_weights(whole.path / "sft", cut.path / "sft")
    assert {"pretrain/validation_loss", "sft/validation_loss"} <= results(cut.path)["sft.json"].keys()
    assert (cut.path / "pretrained" / "model.safetensors").exists()


def test_settings_of_a_finished_stage_cannot_be_changed(summariser, tmp_path):
    path = copied(summariser, tmp_path / "copy")
    for given, stage in ({"posts": 41}, "sft"), ({"comparisons": 25}, "compare"), ({"kl": "kl(beta=1)"}, "ppo"):
        with pytest.raises(
            ValueError, match=rf"{stage} of .*copy was made with {next(iter(given))} .*: choose another"
        ):
            begin(path, given)
    assert begin(path, {"device": "cpu"}).settings.device == "cpu"


def test_a_stage_that_is_not_finished_begins_anew_by_other_settings(summariser, tmp_path):
    folder = begin(copied(summariser, tmp_path / "copy", "ppo", "evaluate"), {})
    with patch.object(Watch, "__init__", often(Watch.__init__)):
        with killed_at(Watch, "_on_rollout_end", 3), pytest.raises(Killed):
            run(folder, ["ppo"])
        run(begin(folder.path, {"kl": "kl(beta=7)"}), ["ppo"])
    lines = read(folder.path / ppo.METRICS)
    assert [line["episodes"] for line in lines] == [16, 32, 48, 64]
    assert {line["rollout/beta"] for line in lines} == {7}


def test_a_policy_that_goes_astray_is_kept_as_it_was_before(summariser, tmp_path):
    wild = {"kl": "kl(stop_at=0.1)", "hyper": {**TINY["hyper"], "learning_rate": 0.3}}
    folder = begin(copied(summariser, tmp_path / "copy", "ppo", "evaluate"), wild)
    with pytest.raises(RuntimeError, match=r"Lower learning_rate .* The model is in .*policy") as stop:
        run(folder)
    assert same_weights(folder.path / "sft", folder.path / "policy")
    again = f"prefrl summarize ppo --kl 'kl(beta=0.1, stop_at=0.1)' --out {folder.path}"
    assert f"or remove {folder.path / 'ppo.json'}, and `{again}` trains anew" in str(stop.value)
    found = run(folder)  # judges what was kept
    assert found["evaluate"]["policies"]["policy"]["kl"] == 0
    assert found["ppo"]["ppo/stopped"] == str(stop.value) and results(folder.path)["summary.json"]["stopped"]
    assert str(stop.value) in said(folder, found)


def test_a_policy_that_goes_astray_at_once_is_the_sft_model(summariser, tmp_path):
    folder = begin(copied(summariser, tmp_path / "copy", "ppo", "evaluate"), {})
    with patch.object(KL, "check", side_effect=Astray("too far")), pytest.raises(Astray, match=r"^too far\. The model"):
        run(folder)
    assert run(folder)["ppo"]["ppo/episodes"] == 0
    assert same_weights(folder.path / "sft", folder.path / "policy")


def test_any_language_model_can_be_the_start(summariser, tmp_path):
    folder = begun(tmp_path / "new", model=str(summariser / "sft"))
    run(folder, ["sft"])
    tokenizer = load_tokenizer(folder.model("sft"))
    assert tokenizer.get_vocab() == load_tokenizer(summariser / "sft").get_vocab()
    assert load_model(folder.model("sft"), tokenizer).config.n_embd == TINY["width"]
    first, second = (results(path)["sft.json"]["sft/loss"] for path in (summariser, folder.path))
    assert second < first

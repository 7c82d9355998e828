"""`prefrl summarize`: what is printed, and the one line in which something is refused."""

import json
import shutil
from dataclasses import replace
from unittest.mock import Mock, patch

import pytest

from prefrl.cli import main
from prefrl.store import Store
from prefrl.summarize.parts import check
from prefrl.summarize.presets import PRESETS
from prefrl.summarize.run import MAKE, begin, run
from prefrl.summarize.settings import DIRECT, STAGES, Settings
from tests.tiny_summaries import copied, results


def flags(given):
    return [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", *words(value))]


def words(value):
    return [f"{name}={each}" for name, each in value.items()] if isinstance(value, dict) else [str(value)]


def files(folder):
    return {path for path in folder.rglob("*") if path.name != ".lock"}


def refusal(capsys, tmp_path, *command):
    before = files(tmp_path)
    assert main(["summarize", *map(str, command)]) == 2
    output = capsys.readouterr()
    assert output.out == "" and output.err.startswith("prefrl: ") and output.err.count("\n") == 1
    assert files(tmp_path) == before
    return output.err


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"data": "scitldr2"}, "no data 'scitldr2': did you mean 'scitldr'?"),
        ({"data": "jsonl"}, "say where the posts are: jsonl:FOLDER"),
        ({"data": "grammar:foo"}, "grammar is made up and reads nothing: leave out what follows it in 'grammar:foo'"),
        ({"data": "grammar:"}, "leave out what follows it in 'grammar:'"),
        ({"sft": "stf"}, "no sft 'stf': did you mean 'sft'?"),
        ({"sft": "pretrain"}, "sft 'pretrain' is no SFT"),
        ({"sft": "sft(epochs=0)"}, "epochs must be positive, got 0"),
        ({"pretrain": "pretrain(blok=3)"}, "blok"),
        ({"sources": "sft@warm"}, "cannot read the temperature of source 'sft@warm'"),
        ({"sources": "pretrained sft"}, "add --pretrain"),
        ({"sources": " "}, "sources names nobody"),
        ({"oracle": "ruoge"}, "no oracle 'ruoge': did you mean 'rouge'?"),
        ({"oracle": "judge:"}, "--oracle judge:FOLDER"),
        ({"model": "new:rwkv"}, "no kind of new model 'rwkv': there are gpt2, llama"),
        ({"model": "new:lama"}, "no kind of new model 'lama': did you mean 'llama'?"),
        ({"model": "new:llama", "width": 12, "heads": 4}, "width 12 gives each of 4 heads 3, and rotary positions"),
        ({"oracle": "tests.tiny_summaries:prefers_shrot"}, "did you mean 'prefers_short'?"),
        ({"oracle": "tests.tiny_summaries:NO_FUNCTION"}, "cannot be called: name a function"),
        ({"comparisons_from": "csv:a"}, "no kind of answers 'csv'"),
        ({"comparisons_from": "trl"}, "say where the answers are: trl:FILE"),
        ({"sources": "stf reference"}, "no source 'stf': did you mean 'sft'?"),
        ({"together": 1}, "one summary cannot be compared"),
        ({"wrong": 0.5}, "from 0 to below 0.5, got 0.5"),
        ({"fit": "kwize"}, "no fit 'kwize': did you mean 'k_wise'?"),
        ({"fit": "margin(1.0)"}, "fit 'margin(1.0)' is no Texts"),
        ({"score": "1e999"}, "no score '1e999'"),
        ({"score": "mni"}, "no score 'mni': did you mean 'min'?"),
        ({"reward": "tests.tiny_summaries:shrot"}, "no reward 'shrot': did you mean 'short'?"),
        ({"reward": "tests.tiny_summaries:xyz"}, "no reward 'xyz': there are always_left, begun, broken, copied,"),
        ({"reward": "mine"}, "no reward 'mine'"),
        ({"algo": "pppo"}, "no algorithm 'pppo': did you mean 'ppo'?"),
        ({"kl": "kl(beta=-1)"}, "beta must not be negative"),
        ({"judged_at": -1.0}, "judged_at must be a number from 0 on, got -1.0"),
        ({"temperature": 0.0}, "temperature must be a number above 0, got 0.0"),
        ({"hyper": {"learning_rat": 1}}, "no setting of LMPPO 'learning_rat': did you mean 'learning_rate'?"),
        ({"hyper": {"lr": 1}}, "no setting of LMPPO 'lr': did you mean 'learning_rate'?"),
        ({"hyper": {"_init_setup_model": 1}}, "no setting of LMPPO '_init_setup_model': "),
        ({"hyper": {"qqq": 1}}, "'qqq': there are batch_size, clip_range, clip_range_vf, ent_coef, gae_lambda, gamma,"),
        ({"dpo": "ipo"}, "dpo 'ipo' is no DPO"),
        ({"heads": 5}, "width 192 cannot be shared by 5 heads"),
        ({"episodes": 0}, "episodes must be at least 1, got 0"),
        ({"seed": -1}, "seed must be a number from 0 on, got -1"),
        ({"ptx": "nan"}, "ptx must be a number from 0 on, got nan"),
        ({"score": "nan"}, "no score 'nan'"),
        ({"layers": "two"}, "argument --layers: invalid int value: 'two'"),
    ],
    ids=lambda given: " ".join(flags(given)) if isinstance(given, dict) else None,
)
def test_a_setting_is_refused_before_anything_is_made(given, why, tmp_path, capsys):
    assert why in refusal(capsys, tmp_path, "run", "--out", tmp_path / "new", *flags(given))


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["evalute", "--out", "new"], "no stage 'evalute': did you mean 'evaluate'?"),
        (["run"], "the following arguments are required: --out"),
        (["run", "--out", "new", "--preset", "tinny"], "no preset 'tinny': did you mean 'tiny'?"),
        (["ppo", "--out", "new"], "new has no settings.yaml: begin with `prefrl summarize sft --out new`"),
        (
            ["ppo", "--preset", "tiny", "--out", "my new"],
            "begin with `prefrl summarize sft --preset tiny --out 'my new'`",
        ),
        (["likert", "--out", "new"], "new has no settings.yaml"),
        (["run", "--out", "full"], "full holds something else: choose another --out"),
    ],
)
def test_a_command_is_refused(command, why, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    assert why in refusal(capsys, tmp_path, *command)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"data": "jsonl:none.jsonl"}, "none.jsonl"),
        ({"data": "jsonl:bad.jsonl"}, "line 2"),
        ({"data": "jsonl:few.jsonl"}, "has no posts with references for"),
        ({"model": "no/model"}, "no language model can be read from 'no/model'"),
        ({"model": "sft", "prompt_length": 90}, "lower --prompt-length"),
    ],
    ids=["no file", "a missing field", "too few posts", "no model", "too small a model"],
)
def test_what_cannot_be_read_is_said_in_a_line(given, why, summariser, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(summariser / "sft", tmp_path / "sft")
    (tmp_path / "bad.jsonl").write_text('{"prompt": "a", "references": ["b"]}\n{"references": ["b"]}\n')
    (tmp_path / "few.jsonl").write_text('{"prompt": "a", "references": ["b"]}\n')
    assert main(["summarize", "sft", "--out", "new", "--posts", "40", *flags(given)]) == 2
    said = capsys.readouterr().err
    assert why in said and said.count("\n") == 1


def test_a_stage_needs_those_before_it(summariser, tmp_path, capsys):
    path = copied(summariser, tmp_path / "copy", "reward", "ppo", "evaluate")
    assert "ppo needs reward first: `prefrl summarize reward --out" in refusal(capsys, tmp_path, "ppo", "--out", path)


def test_a_reward_that_raises_is_named_and_nothing_is_lost(summariser, tmp_path, capsys):
    path = copied(summariser, tmp_path / "copy", "ppo", "evaluate")
    assert main(["summarize", "ppo", "--out", str(path), "--reward", "tests.tiny_summaries:broken"]) == 2
    assert "the reward broken raised ZeroDivisionError: no words; on" in capsys.readouterr().err
    assert main(["summarize", "ppo", "--out", str(path), "--reward", "tests.tiny_summaries:short"]) == 0


@pytest.mark.parametrize(
    ("judge", "why"),
    [
        (
            "short",
            "the judge short raised TypeError: short() takes 2 positional arguments but 3 were given; on",
        ),
        ("always_left", "the judge always_left prefers the left one of 8 pairs, and again with the sides swapped"),
    ],
)
def test_a_judge_that_cannot_answer_is_named(judge, why, summariser, tmp_path, capsys):
    path = copied(summariser, tmp_path / "copy", "compare", "reward", "ppo", "evaluate")
    assert main(["summarize", "compare", "--out", str(path), "--oracle", f"tests.tiny_summaries:{judge}"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"prefrl: {why}")
    with Store(path / "comparisons") as store:
        assert not store.labels()


def test_people_who_have_not_answered_are_told_where_to(summariser, tmp_path, capsys):
    path = copied(summariser, tmp_path / "copy", "compare", "reward", "ppo", "evaluate")
    assert main(["summarize", "run", "--out", str(path), "--oracle", "human", "--comparisons", "3"]) == 1
    assert f"3 pairs wait for people: `prefrl label {path}/comparisons`" in capsys.readouterr().err


def test_what_stages_came_to_is_printed_in_words(summariser, tmp_path, capsys):
    path = copied(summariser, tmp_path / "copy")
    assert main(["summarize", "run", "--out", str(path)]) == 0
    printed = capsys.readouterr().out
    assert [line.split(":")[0] for line in printed.splitlines()[: len(STAGES)]] == [*STAGES]
    assert "over SFT: share of judged posts (8)" in printed and "Models' summaries are greedy;" in printed
    assert "nats from SFT" in printed and "best of 2" in printed and printed.endswith(f"{path}\n")
    assert main(["summarize", "ppo", "--out", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ppo"]["ppo/episodes"] == 64


def test_what_is_judged_is_greedy_or_drawn(summariser, tmp_path, capsys):
    path = copied(summariser, tmp_path / "copy", "evaluate")
    assert main(["summarize", "evaluate", "--out", str(path), "--judged-at", "1.5"]) == 0
    assert "Models' summaries are drawn at a temperature of 1.5;" in capsys.readouterr().out
    drawn, greedy = (results(each)["evaluate.json"]["policies"]["sft"]["words"] for each in (path, summariser))
    assert drawn != greedy


def test_of_one_judged_post_no_bounds_are_told(summariser, tmp_path, capsys):
    path = copied(summariser, tmp_path / "copy", "evaluate")
    assert main(["summarize", "evaluate", "--out", str(path), "--judged", "1"]) == 0
    printed = capsys.readouterr().out
    assert "over SFT: share of judged posts (1)" in printed and "% (-)" in printed and "nan" not in printed
    for file in path.glob("*.json"):
        json.loads(file.read_text(), parse_constant=pytest.fail)
    wins = json.loads((path / "evaluate.json").read_text())["policies"]["policy"]["over_sft"]["wins"]
    assert wins["low"] is wins["high"] is None


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_settings_all_of_whose_names_stand_for_something(preset):
    check(Settings.of(PRESETS[preset]))


def test_a_wrong_model_is_named_and_who_says_the_right_one_goes_on(tmp_path, capsys):
    few = ["--posts", "40", "--sft", "sft(epochs=1)"]
    made = ["summarize", "sft", "--preset", "tiny", *few, "--out", str(tmp_path / "a")]
    for wrong in (tmp_path, tmp_path / "gpt22"):
        assert main([*made, "--model", str(wrong)]) == 2
        assert f"{wrong} holds no language model: give the folder of one" in capsys.readouterr().err
    assert main(made) == 2
    assert "not 'new' as --preset would make it: say which by --model, leave out --preset" in capsys.readouterr().err
    assert main([*made, "--model", "new"]) == 0


def test_stages_are_told_of_as_soon_as_they_are_made(summariser, tmp_path, capsys):
    path = copied(summariser, tmp_path / "copy", "ppo", "evaluate")
    stopped = patch.dict(MAKE, {"ppo": Mock(side_effect=KeyboardInterrupt)})
    with stopped, pytest.raises(KeyboardInterrupt):
        run(begin(path, {}), None, lambda stage, found: print(stage))
    assert capsys.readouterr().out == "sft\ncompare\nreward\n"


def test_answers_that_came_after_dpo_are_told_of(summariser, tmp_path, capsys):
    path = copied(summariser, tmp_path / "copy", "reward", "ppo", "evaluate")
    learned = ["summarize", "dpo", "--out", str(path)]
    assert main(learned) == 0 and "later" not in capsys.readouterr().out
    with Store(path / "comparisons") as store:
        store.answer([replace(store.labels()[0], preference=0.5, key="corrected")])
    assert main(learned) == 0
    told = capsys.readouterr().out
    assert "\nanswers that came later: 1; to learn from them, copy the folder without dpo.json\n" in told


def test_the_tiny_preset_raises_the_reward_near_the_sft_model_and_wins(tmp_path):
    """Not among the slow ones, for all that it takes: it is what this mode is there for. The reward rises by 3.6."""
    assert main(["summarize", "run", "--preset", "tiny", "--seed", "0", "--out", str(tmp_path / "tiny")]) == 0
    found = json.loads((tmp_path / "tiny" / "summary.json").read_text())
    assert found["reward_after"] > found["reward_before"] + 1
    assert 0 < found["kl"] < 10 and not found["stopped"]
    assert found["win_rate"] > 0.6 and found["reward_right"] > 0.7


def test_help_names_every_stage_and_setting(capsys):
    with pytest.raises(SystemExit):
        main(["summarize", "--help"])
    said = capsys.readouterr().out
    assert all(word in said for word in (*STAGES, *DIRECT, "likert", "--kl", "--sources", "--best-of"))

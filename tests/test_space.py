"""What a search varies: words become parameters, and parameters settings; what cannot be is one line."""

import re
from contextlib import suppress
from dataclasses import asdict

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from prefrl.parts import find_fit
from prefrl.reward.fit import Fit, Frames
from prefrl.runs import RunConfig
from prefrl.space import DEFAULTS, Parameter, parameter, space, varied
from tests.tiny_pixels import SETTINGS as PIXELS
from tests.tiny_runs import tiny


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("learning_rate=1e-4..1e-2", Parameter("learning_rate", (), 0.0001, 0.01)),
        ("learning_rate=1e-4..1e-2:log", Parameter("learning_rate", (), 0.0001, 0.01, True)),
        ("x=-1..1", Parameter("x", (), -1, 1)),
        ("x = -.5 .. .5", Parameter("x", (), -0.5, 0.5)),
        ("n_steps=16..512:log", Parameter("n_steps", (), 16, 512, True)),
        ("gamma=0.98,0.99, 0.995", Parameter("gamma", (0.98, 0.99, 0.995))),
        ("ent_coef=0,1e-3", Parameter("ent_coef", (0, 0.001))),
        ("target_kl=null,0.01", Parameter("target_kl", (None, 0.01))),
        ("use_sde=true,false", Parameter("use_sde", (True, False))),
        ("fit.lr=1e-4..1e-2", Parameter("fit.lr", (), 0.0001, 0.01)),
        ("members=1..5", Parameter("members", (), 1, 5)),
        ("hyper.learning_rate=1,2", Parameter("learning_rate", (1, 2))),
        ("hyper.device=cpu,cuda", Parameter("hyper.device", ("cpu", "cuda"))),
        ("select=uniform,my.module:pick", Parameter("select", ("uniform", "my.module:pick"))),
        (
            "oracle=mistaken(synthetic, chance=0.1),skipping(equal(synthetic, 1), chance=0.2)",
            Parameter("oracle", ("mistaken(synthetic, chance=0.1)", "skipping(equal(synthetic, 1), chance=0.2)")),
        ),
        ("schedule=true,1", Parameter("schedule", ("true", "1"))),
    ],
)
def test_words_name_a_parameter_and_its_values(word, expected):
    found = parameter(word)
    assert found == expected
    assert [type(end) for end in found.ends] == [type(end) for end in expected.ends]


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_a_range_is_what_its_ends_are_as_numbers(low, high):
    assume(low < high)
    assert parameter(f"x={low!r}..{high!r}") == Parameter("x", (), low, high)


@given(st.integers(), st.integers(min_value=1))
def test_ends_that_are_whole_make_a_range_of_whole_numbers(low, more):
    found = parameter(f"x={low}..{low + more}")
    assert found.ends == (low, low + more)
    assert {type(end) for end in found.ends} == {int}


@given(st.lists(st.integers() | st.floats(allow_nan=False) | st.booleans() | st.none(), min_size=2, unique=True))
def test_a_list_is_what_yaml_reads(values):
    words = {None: "null", True: "true", False: "false"}
    assert parameter("x=" + ",".join(_word(value, words) for value in values)).choices == tuple(values)


def _word(value, words):
    return words[value] if isinstance(value, bool | None) else str(value).replace("inf", ".inf")


@given(st.text())
def test_whatever_is_written_is_read_or_refused(text):
    with suppress(ValueError):
        assert parameter(text).ends


@pytest.mark.parametrize(
    ("words", "trouble"),
    [
        (["learning_rate"], "cannot read 'learning_rate': write NAME=LOW..HIGH"),
        (["=1..2"], "cannot read '=1..2'"),
        (["gamma="], "cannot read 'gamma='"),
        (["gamma=0.9"], "gamma=0.9 leaves nothing to search"),
        (["gamma=0.9,0.9"], "gamma lists 0.9 twice"),
        (["gamma=0.9,[1]"], "gamma: cannot search '[1]': list plain values"),
        (["gamma=0.9,2020-01-01"], "gamma: cannot search '2020-01-01': list plain values"),
        (["gamma=0.9,.nan"], "gamma: cannot search '.nan': list plain values"),
        (["gamma=0.9,'"], 'gamma: cannot read "\'": list plain values'),
        (["gamma=0.9,1:log"], "only a range has a scale"),
        (["gamma=2..1"], "gamma=2..1 is empty"),
        (["gamma=1..1"], "gamma=1..1 is empty"),
        (["gamma=a..1"], "gamma: 'a' is no number"),
        (["gamma=0..inf"], "gamma: a range must be finite"),
        (["gamma=0..nan"], "gamma: a range must be finite"),
        (["gamma=0..1:log"], "gamma=0..1:log: a logarithmic range begins above 0"),
        (["gamma=0..1:exp"], "gamma: no scale 'exp': there is log"),
        (["gamma=0.9,0.99", "gamma=0..1"], "gamma is named twice"),
        (["gamma=0.9,0.99", "hyper.gamma=0..1"], "gamma is named twice"),
        (["gama=0..1"], "no setting of ppo 'gama': did you mean 'gamma'?"),
        (["hyper.env=a,b"], "no setting of ppo 'env'"),
        (["tau=0..1"], "no setting of ppo 'tau'"),
        (["algo=ppo,a2c"], "no setting of a2c 'batch_size'"),
        (["algo=ppo,pppo"], "no algorithm 'pppo': did you mean 'ppo'?"),
        (["fit.rl=0..1"], "no number of the fit 'rl': did you mean 'lr'?"),
        (["fit.l2_bounds=0..1"], "no number of the fit 'l2_bounds'"),
        (["fit.passes=0.5..2.5"], "fit.passes takes whole numbers"),
        (["fit.passes=2,true"], "fit.passes takes whole numbers"),
        (["fit.lr=a,b"], "fit.lr takes numbers"),
        (["fit.lr=0..1"], "fit's lr must be positive, got 0"),
        (["net.lr=0..1"], "no settings of 'net': a name may begin with fit. or hyper."),
        (["members=0..3"], "members must be at least 1, got 0"),
        (["members=1.0..3.0"], "members must be int, got 1.0"),
        (["members=1,a"], "members must be int, got 'a'"),
        (["asynchronous=1..2"], "asynchronous must be bool, got 1"),
        (["select=1..2"], "select has no range: list names, as in select=A,B"),
        (["select=uniform,disagrement"], "no strategy 'disagrement': did you mean 'disagreement'?"),
        (["oracle=synthetic,human"], "people cannot answer for every run of a search"),
        (["segment_length=2..100000"], "a segment of 100000 steps does not fit"),
        (["seed=0..3"], "seed is the same in all trials: set it with --seed"),
        (["env=a,b"], "env is the same in all trials"),
    ],
)
def test_what_cannot_be_searched_is_refused_in_one_line(words, trouble):
    with pytest.raises(ValueError, match=re.escape(trouble)) as error:
        space(tiny(), words)
    assert "\n" not in str(error.value)


def test_a_base_that_could_not_run_by_itself_may_be_mended_by_the_search():
    assert space(tiny(segment_length=100_000), ["segment_length=2,4"]) == (Parameter("segment_length", (2, 4)),)


@pytest.mark.parametrize("algo", [*DEFAULTS, "PPO", "stable_baselines3:TD3"])
def test_without_words_what_the_algorithm_has_is_searched(algo):
    assert "gamma" in {p.name for p in space(tiny(algo=algo, hyper={}), [])}


@pytest.mark.parametrize(
    ("values", "changes"),
    [
        ({}, {}),
        ({"members": 5}, {"members": 5}),
        ({"gamma": 0.5}, {"hyper": {"n_steps": 32, "gamma": 0.5}}),
        ({"n_steps": 8}, {"hyper": {"n_steps": 8}}),
        ({"hyper.device": "cpu"}, {"hyper": {"n_steps": 32, "device": "cpu"}}),
        ({"fit.lr": 1e-5}, {"fit": "fit(passes=1, lr=1e-05)"}),
        ({"fit.passes": 3}, {"fit": "fit(passes=3)"}),
        ({"fit": "fit(lr=1)", "select": "uniform"}, {"fit": "fit(lr=1)", "select": "uniform"}),
    ],
)
def test_a_trial_changes_what_it_names_and_nothing_else(values, changes):
    base = tiny(hyper={"n_steps": 32}, fit="fit(passes=1)")
    assert asdict(varied(base, values)) == asdict(base) | changes


MINE = Fit(lr=0.5)


def test_what_the_fit_is_told_besides_stays():
    base = tiny(fit="Fit(5, l2_bounds=(0.001, 0.1))")
    assert find_fit(varied(base, {"fit.lr": 0.5}).fit) == Fit(first_passes=5, l2_bounds=(0.001, 0.1), lr=0.5)


def test_a_fit_that_is_a_name_of_the_users_cannot_be_varied():
    with pytest.raises(ValueError, match=r"fit\.lr cannot vary in 'tests\.test_space:MINE'"):
        space(tiny(fit="tests.test_space:MINE"), ["fit.lr=0.1..1.0"])


def test_it_may_be_one_of_the_fits_to_choose_from():
    assert space(tiny(), ["fit=fit,tests.test_space:MINE"])[0].choices == ("fit", "tests.test_space:MINE")


def test_a_fit_and_its_numbers_do_not_vary_at_once():
    with pytest.raises(ValueError, match=r"fit and fit[.]lr cannot both vary"):
        space(tiny(), ["fit=fit,fit(passes=5)", "fit.lr=0.1..1.0"])


def test_the_fit_of_frames_has_numbers_too():
    config = RunConfig(**PIXELS | {"fit": None})
    (rate,) = space(config, ["fit.rate=0.05..0.5"])
    assert find_fit(varied(config, {"fit.rate": 0.2}).fit) == Frames(rate=0.2)
    assert rate.ends == (0.05, 0.5)


def test_a_game_that_is_made_with_its_score_in_sight_is_searched():
    pytest.importorskip("ale_py")
    config = RunConfig("prefrl/Tennis-v0", algo="a2c", show_score="all")
    assert find_fit(varied(config, {"fit.lr": 0.01}).fit) == Frames(lr=0.01)

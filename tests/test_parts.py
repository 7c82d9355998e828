"""What the names in a configuration come to."""

from contextlib import closing
from dataclasses import replace

import pytest
from sb3_contrib import TRPO
from stable_baselines3 import A2C, PPO, SAC
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike

import prefrl
from prefrl.control.extractor import FramesExtractor
from prefrl.oracles import Mistaken, Synthetic
from prefrl.parts import Parts
from prefrl.queries import Disagreement, PolicyAligned, Uniform
from prefrl.reward.fit import Fit, Frames
from prefrl.reward.networks import CNN, MLP
from prefrl.runs import RunConfig
from prefrl.schedules import Constant, Hyperbolic
from tests.tiny_pixels import SETTINGS as PIXELS
from tests.tiny_runs import OFF_POLICY, Linear, likes_left, tiny


@pytest.fixture(scope="module")
def parts():
    return Parts.of(tiny())


def test_the_usual_parts_are_the_papers(parts):
    usual = parts.algo, parts.oracle, parts.select, parts.schedule, parts.net
    assert usual == (PPO, Synthetic(), Disagreement(), Hyperbolic(), MLP)


@pytest.fixture(scope="module")
def pixels():
    return Parts.of(RunConfig(**PIXELS | {"fit": None, "n_envs": None, "checkpoint_every": 160}))


def test_the_usual_parts_for_frames_are_the_papers_too(pixels):
    assert (pixels.net, pixels.fit) == (CNN, Frames())
    assert pixels.spaces() == {"obs_shape": (2, 43, 43), "act_shape": (), "choices": 3, "std": 0.05}
    assert [round(5500 * pixels.schedule(at)) for at in (0, 0.1, 0.25, 0.5, 0.75, 1)] == [
        500, 1945, 3112, 4236, 4962, 5500,
    ]  # fmt: skip


def test_the_policy_for_frames_is_the_papers(pixels):
    with closing(pixels.recorder()) as recorder:
        model = pixels.model(recorder)
    optimizer = model.policy.optimizer
    assert (recorder.num_envs, model.n_steps, model.ent_coef, model.gamma) == (16, 5, 0.01, 0.99)
    assert isinstance(optimizer, RMSpropTFLike) and isinstance(model.policy.features_extractor, FramesExtractor)
    assert [model.lr_schedule(left) for left in (1.0, 0.0)] == pytest.approx([7e-4, 2.625e-4])  # 0 after 80 of 50


def test_whoever_names_a_part_gets_it_for_frames_too():
    parts = Parts.of(RunConfig(**PIXELS | {"net": "mlp", "fit": "fit", "schedule": "constant"}))
    assert (parts.net, parts.fit, parts.schedule) == (MLP, Fit(), Constant())


def test_what_was_not_named_stays_unnamed_in_the_configuration():
    config = RunConfig(**PIXELS | {"fit": None})
    assert (config.net, config.fit, config.schedule) == (None, None, None)
    assert Parts.of(config).config.net == "cnn"


@pytest.mark.parametrize("algo", ["ppo", "stable_baselines3:DQN"])
def test_other_algorithms_look_at_frames(algo):
    parts = Parts.of(RunConfig(**PIXELS | {"algo": algo, "hyper": {"batch_size": 2}}))
    with closing(parts.recorder()) as recorder:
        model = parts.model(recorder)
        acts, _ = model.predict(recorder.reset())
    assert len(acts) == 2


def test_frames_whose_channels_come_last_are_looked_at():
    parts = Parts.of(RunConfig(**PIXELS | {"env": "tests.tiny_pixels:Last-v0"}))
    with closing(parts.recorder()) as recorder:
        model = parts.model(recorder)
        acts, _ = model.predict(recorder.reset())
    assert len(acts) == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"env": "tests.tiny_pixels:BelowCNN-v0"},
            "net 'cnn' gives no rewards here: frames of 42x84 are too small for cnn: give 43x43 or more",
        ),
        ({"fit": "frames(rate=0)"}, "rate must be positive, got 0"),
        ({"fit": "frames(judged=-1)"}, "judged must be positive, got -1"),
        ({"show_score": "all"}, "cannot be made: it has no score to show: leave out --show-score"),
    ],
)
def test_what_cannot_be_learned_from_frames_is_refused_in_one_line(changes, words):
    with pytest.raises(ValueError) as error:
        Parts.of(RunConfig(**PIXELS | changes))
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_cnn_is_for_frames():
    with pytest.raises(ValueError, match=r"net 'cnn' gives no rewards here: cnn looks at frames"):
        Parts.of(tiny(net="cnn"))


@pytest.mark.parametrize(
    ("setting", "name", "found"),
    [
        ("algo", "a2c", A2C),
        ("algo", "TRPO", TRPO),
        ("algo", "stable_baselines3:SAC", SAC),
        ("oracle", "mistaken(synthetic, chance=0.2)", Mistaken(Synthetic(), chance=0.2)),
        ("oracle", "tests.tiny_runs:likes_left", likes_left),
        ("select", "uniform", Uniform()),
        ("select", "policy_aligned(disagreement(pool=3), newest=0.5)", PolicyAligned(Disagreement(3), 0.5)),
        ("schedule", "constant(0.5)", Constant(0.5)),
        ("net", "mlp", MLP),
        ("net", "tests.tiny_runs:Linear", Linear),
        ("fit", "fit(passes=3, lr=0.01)", Fit(passes=3, lr=0.01)),
    ],
)
def test_a_name_stands_for(setting, name, found):
    assert getattr(Parts.of(tiny(**{setting: name})), setting) == found


@pytest.mark.parametrize(
    ("setting", "name", "words"),
    [
        ("algo", "pppo", "no algorithm 'pppo': did you mean 'ppo'"),
        ("algo", "tests.tiny_runs:Linear", "algorithm of Stable-Baselines3's kind"),
        ("algo", "tests.tiny_runs:Liner", "did you mean 'Linear'"),
        ("oracle", "sythetic", "no oracle 'sythetic': did you mean 'synthetic'"),
        ("oracle", "mistaken(chance=2)", "chance is 2: give a share from 0 to 1"),
        ("oracle", "mistaken(synthetik)", "did you mean 'synthetic'"),
        ("oracle", "tests.tiny_runs:NUMBER", "oracle 'tests.tiny_runs:NUMBER' cannot be called"),
        ("oracle", "no_such_module:mine", "cannot import 'no_such_module'"),
        ("select", "disagrement", "no strategy 'disagrement': did you mean 'disagreement'"),
        ("schedule", "hyperbolik", "no schedule 'hyperbolik': did you mean 'hyperbolic'"),
        ("net", "mpl", "no net 'mpl': did you mean 'mlp'"),
        ("fit", "fit(pases=3)", "no setting of fit 'pases': did you mean 'passes'?"),
        ("fit", "fit(passes=0)", "passes must be positive, got 0"),
    ],
)
def test_a_name_that_stands_for_nothing_is_refused_in_one_line(setting, name, words):
    with pytest.raises(ValueError) as error:
        Parts.of(tiny(**{setting: name}))
    assert words in str(error.value) and "\n" not in str(error.value)


def test_an_object_stands_in_for_its_name():
    assert Parts.of(tiny(oracle="nobody"), oracle=likes_left).oracle is likes_left


def test_an_object_that_is_no_part_is_refused():
    with pytest.raises(ValueError, match="no part 'selekt': did you mean 'select'"):
        Parts.of(tiny(), selekt=Uniform())


def test_a_net_is_made_for_the_shapes_of_the_environment(parts):
    assert parts.spaces() == {"obs_shape": (2,), "act_shape": (2,), "choices": None, "std": 1.0}


def test_a_net_is_made_for_the_choices_of_the_environment():
    parts = Parts.of(tiny(env="tests.tiny_envs:DiscreteDot-v0"))
    assert parts.spaces() == {"obs_shape": (2,), "act_shape": (), "choices": 4, "std": 1.0}


def test_an_ensemble_has_as_many_members_as_the_configuration_says():
    assert len(Parts.of(tiny(members=5)).ensemble()) == 5


@pytest.mark.parametrize(
    ("changes", "n_envs"),
    [({"n_envs": 3}, 3), ({"n_envs": None, "checkpoint_every": 320}, 16), ({"n_envs": None, "algo": "sac"}, 1)],
)
def test_environments_are_as_many_as_the_configuration_or_the_preset_says(changes, n_envs):
    parts = Parts.of(tiny(**changes))
    assert parts.n_envs == parts.recorder().num_envs == n_envs


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({}, 40),  # two segments of 5 steps for each of 4 environments
        ({"labels": 100}, 128),  # a segment for each of the 25 initial labels, rounded up to steps of 4 environments
        ({"labels": 100, "schedule": "upfront"}, 500),
        ({"labels": 100, "reward": "true"}, 128),
        ({"labels": 1, "n_envs": 1}, 20),  # two pairs
    ],
)
def test_the_untrained_policy_acts_for_as_many_steps_as_its_labels_take(changes, steps):
    assert Parts.of(tiny(**changes)).untrained_steps == steps


def test_every_pair_of_segments_may_be_asked():
    few = tiny(labels=45, total_timesteps=50, schedule="constant(0.01)", n_envs=1)  # 10 segments
    assert Parts.of(few).config.labels == 45
    with pytest.raises(ValueError, match="46 labels cannot be asked: 50 steps make 10 segments of 5 steps, and 45"):
        Parts.of(replace(few, labels=46))


def test_the_baseline_asks_nothing_so_no_labels_are_too_many():
    assert Parts.of(tiny(labels=20_000, schedule="constant(0.001)", reward="true")).config.labels == 20_000


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hyper": {"n_step": 32}}, "no setting of ppo 'n_step': did you mean 'n_steps'?"),
        ({"hyper": {"policy_kwargs": {"net_arc": [8]}}}, "PPO does not take these settings: .* argument 'net_arc'"),
        ({"hyper": {"batch_size": 0}}, "PPO does not take these settings: `batch_size` must be greater than 1"),
        (
            {"algo": "sac", "env": "tests.tiny_envs:DiscreteDot-v0", "hyper": {}},
            "SAC does not take these settings: The algorithm only supports .* but Discrete.4. was provided",
        ),
    ],
)
def test_settings_that_an_algorithm_does_not_take_are_named(changes, words):
    parts = Parts.of(tiny(**changes))
    with pytest.raises(ValueError, match=words):
        parts.model(parts.recorder())


def test_settings_stay_as_they_were_given():
    parts = Parts.of(tiny(algo="sac", hyper={"policy_kwargs": {"net_arch": [8]}}))
    parts.model(parts.recorder())
    assert parts.config.hyper == {"policy_kwargs": {"net_arch": [8]}}


def test_an_environment_that_was_looked_at_is_not_made_again(parts, monkeypatch):
    monkeypatch.setattr("prefrl.parts.inspect", lambda *_, **__: pytest.fail("it was looked at"))
    assert Parts.of(parts.config, parts.facts).facts is parts.facts


def test_settings_go_before_the_preset():
    parts = Parts.of(tiny(algo="sac", hyper=OFF_POLICY))
    assert parts.model(parts.recorder()).learning_starts == 50


def test_a_question_of_ones_own_comes_without_the_hints_of_the_task():
    """Who is to run backwards is not told that forward is better."""
    usual = Parts.of(prefrl.RunConfig("prefrl/Reacher-v0"))
    own = Parts.of(prefrl.RunConfig("prefrl/Reacher-v0", question="Which arm points further up?"))
    assert usual.instructions()["look_for"]
    assert own.instructions() == {"question": "Which arm points further up?"}

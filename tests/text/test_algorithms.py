"""Stable-Baselines3's own updates on sequences: that they are its own, that they learn, and go on from a file."""

import io
import zipfile

import pytest
import torch
from sb3_contrib import TRPO
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback, StopTrainingOnMaxEpisodes

import prefrl.text
from prefrl.text.algorithms import LMA2C, LMPPO, LMTRPO
from prefrl.text.environment import on_text
from prefrl.text.kl import KL, Astray
from prefrl.text.models import with_lora
from prefrl.text.ptx import Ptx, language_loss
from prefrl.text.watch import Watch
from tests import tiny_text
from tests.tiny_policies import algorithm, collected, even, logged, parameters


def same(first, second):
    return all(torch.equal(each, second[name]) for name, each in first.items())


def test_all_three_train_as_stable_baselines_does():
    assert LMPPO.train is PPO.train
    assert LMA2C.train is A2C.train
    assert LMTRPO.train is TRPO.train
    assert (prefrl.text.LMPPO, prefrl.text.LMA2C, prefrl.text.LMTRPO) == (LMPPO, LMA2C, LMTRPO)


@pytest.mark.parametrize(
    ("kind", "rollouts", "settings"),
    [
        (LMPPO, 20, {"learning_rate": 3e-3, "batch_size": 32, "n_epochs": 3}),
        (LMA2C, 10, {"learning_rate": 3e-3}),
        (LMTRPO, 10, {"learning_rate": 3e-3, "target_kl": 0.03, "n_critic_updates": 2, "cg_max_steps": 5}),
    ],
)
def test_the_score_rises_and_the_kl_stays_bounded(kind, rollouts, settings):
    """An even token is as likely as an odd one at first; the seed is fixed."""
    made = algorithm(kind, n_sequences=32, kl=KL(0.01), **settings)
    made.learn_episodes(32 * rollouts)
    rows = logged(made)
    first, last = (sum(row["rollout/score"] for row in some) / 3 for some in (rows[:3], rows[-3:]))
    assert first < 0.55 and last > 0.6
    assert 0 < rows[-1]["rollout/kl"] < 8 and rows[-1]["rollout/entropy"] > 1


def test_any_function_of_texts_is_a_reward():
    made = algorithm(reward=on_text(lambda prompts, texts: [float("cat" in text) for text in texts]))
    made.learn_episodes(16)
    assert logged(made)[0]["rollout/score"] >= 0


def test_one_backward_gives_the_gradients_that_stable_baselines_takes_one_by_one():
    made = algorithm(LMTRPO)
    batch = next(collected(made).get())
    distribution = made.policy.get_distribution(batch.observations)
    objective = distribution.log_prob(batch.actions).mean()
    kl = distribution.entropy().mean()  # anything that depends on the same parameters
    ours, theirs = (each._compute_actor_grad(made, kl, objective) for each in (LMTRPO, TRPO))
    assert all(a is b for a, b in zip(ours[0], theirs[0], strict=True))
    torch.testing.assert_close(ours[1], theirs[1])
    torch.testing.assert_close(ours[2], theirs[2])
    assert ours[3] == [tuple(shape) for shape in theirs[3]]


def test_logged_keys_tell_what_the_policy_did():
    made = algorithm(kl=KL(0.2, target=6))
    made.learn_episodes(32)
    row = logged(made)[-1]
    told = ("score", "reward", "kl", "length", "ended", "beta", "entropy")
    assert {f"rollout/{name}" for name in told} <= row.keys()
    assert row["rollout/beta"] == pytest.approx(0.2 * (1 - 0.2 * 16 / 10_000))


# saved, loaded, gone on with


def again(path, kind=LMPPO, model=None, **settings):
    given = (model or tiny_text.model(), tiny_text.tokenizer(), tiny_text.posts(20), even)
    return kind.load(path, *given, **settings)


def test_what_was_saved_is_loaded_as_it_was(tmp_path):
    made = algorithm(kl=KL(0.2, target=6), temperature=0.9)
    made.learn_episodes(32)
    made.save(tmp_path / "policy")
    loaded = again(tmp_path / "policy")
    assert same(parameters(made), parameters(loaded))
    assert (loaded.kl, loaded.temperature, loaded.batch_size) == (made.kl, 0.9, 8)
    assert (loaded.beta, loaded.episodes, loaded.num_timesteps) == (made.beta, 32, made.num_timesteps)
    assert [each.name for each in tmp_path.iterdir()] == ["policy.zip"]


def test_a_penalty_that_is_given_anew_counts_from_its_own_beta(tmp_path):
    made = algorithm(kl=KL(0.2, target=6))
    made.learn_episodes(32)
    made.save(tmp_path / "policy")
    assert again(tmp_path / "policy", kl=KL(0.5)).beta == 0.5
    assert again(tmp_path / "policy", kl=KL(0.2, target=6, stop_at=500)).beta == made.beta


@pytest.mark.parametrize(
    ("kind", "settings"), [(LMPPO, {}), (LMA2C, {}), (LMTRPO, {"n_critic_updates": 2, "cg_max_steps": 3})]
)
def test_going_on_from_a_file_is_the_same_as_never_having_stopped(kind, settings, tmp_path):
    straight, stopped = (algorithm(kind, kl=KL(0.2, target=6), **settings) for _ in range(2))
    straight.learn_episodes(48)
    stopped.learn_episodes(32)
    stopped.save(tmp_path / "policy.zip")
    torch.manual_seed(99)
    resumed = again(tmp_path / "policy.zip", kind)
    resumed.learn_episodes(16)
    assert same(parameters(straight), parameters(resumed))
    assert (straight.beta, straight.num_timesteps) == (resumed.beta, resumed.num_timesteps)


def test_adapters_with_pretraining_mixed_in_go_on_in_the_same_way(tmp_path):
    ptx = Ptx(tiny_text.ragged([9] * 5, prompts=(1,)).ids, coefficient=1.0, batch=2)
    straight, stopped = (algorithm(model=with_lora(tiny_text.model()), ptx=ptx) for _ in range(2))
    straight.learn_episodes(32)
    stopped.learn_episodes(16)
    stopped.save(tmp_path / "policy.zip")
    resumed = again(tmp_path / "policy.zip", model=with_lora(tiny_text.model()), ptx=ptx)
    resumed.learn_episodes(16)
    assert same(parameters(straight), parameters(resumed))


def test_a_schedule_goes_on_where_it_was(tmp_path):
    falling = {"learning_rate": lambda left: 1e-3 * left}
    straight, stopped = (algorithm(**falling) for _ in range(2))
    straight.learn_episodes(64)
    stopped.learn_episodes(64, StopTrainingOnMaxEpisodes(3))  # rollouts: the third is not learned from
    stopped.save(tmp_path / "policy.zip")
    resumed = again(tmp_path / "policy.zip", **falling)
    assert resumed.episodes == 32
    resumed.learn_episodes(32)
    assert same(parameters(straight), parameters(resumed))


def test_a_checkpoint_of_a_callback_goes_on_in_the_same_way(tmp_path):
    """It is written within a rollout, which is then collected again."""
    straight = algorithm()
    straight.learn_episodes(48, CheckpointCallback(3, str(tmp_path), "at"))
    (file,) = tmp_path.iterdir()
    resumed = again(file)
    assert resumed.episodes == 32
    resumed.learn_episodes(16)
    assert same(parameters(straight), parameters(resumed))
    assert straight.num_timesteps == resumed.num_timesteps


def test_an_open_file_and_another_device_will_do():
    """As with SB3's own, what it was trained on does not bind who loads it."""
    file = io.BytesIO()
    made = algorithm(device=torch.device("cpu"))
    made.save(file)
    assert same(parameters(made), parameters(again(io.BytesIO(file.getvalue()))))


def test_a_file_holds_no_code(tmp_path):
    algorithm(policy_kwargs={"optimizer_kwargs": {"weight_decay": 0.1}}).save(tmp_path / "policy.zip")
    with zipfile.ZipFile(tmp_path / "policy.zip") as archive:
        assert b"serialized" not in archive.read("data")


def test_what_a_file_cannot_hold_is_asked_for(tmp_path):
    algorithm(learning_rate=lambda progress: progress * 1e-3).save(tmp_path / "policy.zip")
    with pytest.raises(ValueError, match="learning_rate cannot be kept in a file: give what was given at the start"):
        again(tmp_path / "policy.zip")
    assert again(tmp_path / "policy.zip", learning_rate=1e-4).learning_rate == 1e-4


def test_a_broken_file_is_named(tmp_path):
    (tmp_path / "policy.zip").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"policy.zip cannot be read"):
        again(tmp_path / "policy.zip")


def test_the_same_seed_learns_the_same_and_another_does_not():
    first, second, third = (algorithm(seed=seed) for seed in (1, 1, 2))
    for made in (first, second, third):
        made.learn_episodes(32)
    assert same(parameters(first), parameters(second)) and not same(parameters(first), parameters(third))


# what goes wrong


class Wreck(BaseCallback):
    """Multiplies the policy by something at the beginning of the third rollout."""

    def __init__(self, factor):
        super().__init__()
        self.factor, self.rollouts, self.good = factor, 0, None

    def _on_rollout_start(self):
        self.rollouts += 1
        if self.rollouts == 2:
            self.good = parameters(self.model)
        if self.rollouts == 3:
            with torch.no_grad():
                for parameter in self.model.policy.model.parameters():
                    parameter.mul_(self.factor)

    def _on_step(self):
        return True


@pytest.mark.parametrize("factor", [30.0, float("nan")])
def test_a_kl_that_explodes_stops_training_and_the_last_good_model_is_kept(factor):
    made, wreck = algorithm(kl=KL(stop_at=5)), Wreck(factor)
    with pytest.raises(RuntimeError, match=r"nats per sequence from its reference, more than 5: training stops"):
        made.learn_episodes(64, wreck)
    kept = {name: each for name, each in parameters(made).items() if name.startswith("model.")}
    assert made.episodes == 32 and same(kept, wreck.good)


def test_training_that_is_gone_on_with_and_goes_astray_keeps_the_same_model(tmp_path):
    wild = {"learning_rate": 0.03, "kl": KL(stop_at=3)}
    straight = algorithm(**wild)
    watch = Watch(tmp_path / "metrics.jsonl", tmp_path / "policy.zip", episodes=96, save_every=1)
    with pytest.raises(Astray):
        straight.learn_episodes(96, watch)
    resumed = again(tmp_path / "policy.zip", **wild)
    assert 16 <= resumed.episodes < straight.episodes
    with pytest.raises(Astray):
        resumed.learn_episodes(96)
    kept, again_kept = (
        {name: each for name, each in parameters(made).items() if name.startswith("model.")}
        for made in (straight, resumed)
    )
    assert same(kept, again_kept) and straight.episodes == resumed.episodes


def test_a_reward_that_fails_stops_training_before_anything_is_learned_from_it():
    calls = []

    def sometimes(prompts, texts):
        calls.append(1)
        return [float("nan" if len(calls) > 1 else 1) for _ in texts]

    made = algorithm(reward=on_text(sometimes))
    made.learn_episodes(16)
    before = parameters(made)
    with pytest.raises(ValueError, match="the reward sometimes gave nan"):
        made.learn_episodes(16)
    assert same(before, parameters(made)) and made.episodes == 16


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"temperature": 0}, "temperature must be positive in training"),
        ({"n_sequences": 1}, "n_sequences must be 2 or more"),
        ({"n_sequences": 12, "batch_size": 8}, "a multiple of batch_size 8, got 12"),
        ({"response_length": 128}, "lower response_length"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, complaint):
    with pytest.raises(ValueError, match=complaint):
        algorithm(**settings)


def test_a_rollout_smaller_than_a_minibatch_is_one():
    """Batches are counted in sequences: SB3, which counts steps, has nothing to warn of."""
    made = algorithm(n_sequences=4, batch_size=64, response_length=7)
    assert [len(batch.observations) for batch in collected(made).get(made.batch_size)] == [4]


def test_prompts_longer_than_the_context_are_cut_and_counted():
    made = algorithm(model=tiny_text.model(context=30), prompt_length=512, prompts=6)
    assert 0 < made.cut <= 6 and made.env.ids.shape[1] <= 22
    made.learn_episodes(16)


def test_models_of_another_vocabulary_are_refused():
    smaller = tiny_text.model()
    smaller.resize_token_embeddings(300)
    for settings in ({"model": smaller}, {"value_from": smaller}):
        with pytest.raises(ValueError, match=r"the tokenizer has 320 tokens and the GPT2\w+ 300: use the tokenizer"):
            algorithm(**settings)


@pytest.mark.parametrize("setting", [{"chunks": 2}, {"sub_sampling_factor": 2}, {"ptx": "anything"}])
def test_what_trpo_cannot_do_is_refused(setting):
    with pytest.raises(ValueError, match=f"LMTRPO cannot use {next(iter(setting))}"):
        algorithm(LMTRPO, **setting)


# PPO-ptx


def test_the_update_with_ptx_clips_and_applies_the_sum_of_both_gradients():
    """Of one minibatch: against the same loss differentiated in one piece."""
    ids = tiny_text.ragged([9], prompts=(1,)).ids
    ptx = Ptx(ids, coefficient=2.0, batch=1)
    sgd = {"optimizer_class": torch.optim.SGD, "optimizer_kwargs": {}}
    once = {"batch_size": 16, "n_epochs": 1, "max_grad_norm": 1e9, "policy_kwargs": sgd}
    plain, mixed = (algorithm(ptx=each, **once) for each in (None, ptx))
    before = parameters(plain)
    plain.policy.zero_grad()
    ptx.backward(plain.policy.model, tiny_text.tokenizer().pad_token_id)
    of_text = {name: each.grad.clone() for name, each in plain.policy.named_parameters() if each.grad is not None}
    plain.policy.zero_grad()
    for made in (plain, mixed):
        made.learn_episodes(16)
    after, together = parameters(plain), parameters(mixed)
    for name, start in before.items():
        step = after[name] - 1e-3 * of_text.get(name, torch.zeros_like(start))
        torch.testing.assert_close(together[name], step, atol=1e-6, rtol=0)


def test_ptx_keeps_what_was_learned_before():
    ids = tiny_text.ragged([9, 9], prompts=(1,)).ids
    made = algorithm(ptx=Ptx(ids, coefficient=5.0, batch=2), learning_rate=3e-3)
    before = language_loss(made.language_model, ids, 1).item()
    made.learn_episodes(64)
    assert language_loss(made.language_model, ids, 1).item() < before - 0.5

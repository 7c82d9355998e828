"""Algorithms on sequences that learn a made-up taste in seconds, and what they logged."""

import torch
from stable_baselines3.common.logger import KVWriter, Logger

from prefrl.text.algorithms import LMPPO
from tests import tiny_text


def even(samples, prompts, texts):
    """The share of real tokens that are even: half of them at first."""
    return ((samples.responses % 2 == 0) & samples.mask).sum(1) / samples.lengths


class Rows(KVWriter):
    """What was logged, a dictionary for each rollout."""

    def __init__(self):
        self.rows = []

    def write(self, key_values, key_excluded, step=0):
        self.rows.append(dict(key_values))

    def close(self):
        pass


def algorithm(kind=LMPPO, model=None, reward=even, prompts=20, **settings):
    """One on the untrained model; small rollouts unless said otherwise."""
    usual = {"n_sequences": 16, "response_length": 8, "prompt_length": 24, "missing_eos": None, "device": "cpu"}
    if kind is LMPPO:
        usual |= {"batch_size": 8, "n_epochs": 2, "learning_rate": 1e-3}
    made = kind(model or tiny_text.model(), tiny_text.tokenizer(), tiny_text.posts(prompts), reward, **usual | settings)
    made.set_logger(Logger(None, [Rows()]))
    return made


def logged(made):
    """Rows of the logger."""
    return made.logger.output_formats[0].rows


def collected(made):
    """The algorithm's buffer after one rollout, before anything is learned from it."""
    made._total_timesteps = 1
    _, callback = made._setup_learn(1, reset_num_timesteps=False)
    assert made.collect_rollouts(made.env, callback, made.rollout_buffer, made.n_steps)
    return made.rollout_buffer


def first_ratios(made, batch_size):
    """Of all tokens of a rollout, before anything is learned from it, as an update of minibatches sees them."""
    ratios = []
    for batch in collected(made).get(batch_size):
        with torch.no_grad():
            _, log_prob, _ = made.policy.evaluate_actions(batch.observations, batch.actions)
        ratios.append((log_prob - batch.old_log_prob).exp())
    return torch.cat(ratios)


def parameters(made):
    """All numbers of the policy and its value net."""
    return {name: each.detach().clone() for name, each in made.policy.named_parameters()}

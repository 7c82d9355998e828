"""One run of imitation's preference comparisons, in an environment that has imitation instead of prefrl.

Built as its command line builds it, with its defaults: `imitation_peer` starts it, and reads what it prints.
"""

import argparse
import json
from typing import Any

import numpy as np
import torch
from imitation.algorithms import preference_comparisons as pc
from imitation.rewards import reward_nets as nets
from imitation.util.networks import RunningNorm
from imitation.util.util import make_vec_env
from stable_baselines3 import PPO
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv

from experiments.benchmarks.phases import Phases


def run(env: str, steps: int, labels: int, segment_length: int, members: int, n_envs: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    phases = Phases()
    phases.count(DummyVecEnv)
    phases.watch("sampling segments", pc.AgentTrainer, "sample")
    phases.watch("asking", pc.RandomFragmenter, "__call__")
    phases.watch("asking", pc.SyntheticGatherer, "__call__")
    phases.watch("fitting", pc.RewardTrainer, "train")
    phases.watch("collecting", OnPolicyAlgorithm, "collect_rollouts")
    phases.watch("updating", PPO, "train")
    venv = make_vec_env(env, rng=rng, n_envs=n_envs)
    spaces = venv.observation_space, venv.action_space
    ensemble = nets.RewardEnsemble(
        *spaces,
        [
            nets.NormalizedRewardNet(nets.BasicRewardNet(*spaces, normalize_input_layer=RunningNorm), RunningNorm)
            for _ in range(members)
        ],
    )
    reward = nets.AddSTDRewardWrapper(ensemble, default_alpha=0)
    agent = PPO("MlpPolicy", venv, n_steps=2048 // n_envs, batch_size=64, n_epochs=10, seed=0, device="cpu")
    trainer = pc.PreferenceComparisons(
        pc.AgentTrainer(agent, reward, venv, rng=rng),
        reward,
        num_iterations=5,
        fragmenter=pc.RandomFragmenter(rng=rng, warning_threshold=0),
        preference_gatherer=pc.SyntheticGatherer(rng=rng),
        reward_trainer=pc.EnsembleTrainer(pc.PreferenceModel(reward), pc.CrossEntropyRewardLoss(), rng=rng, epochs=3),
        fragment_length=segment_length,
    )
    learned = []
    trainer.train(steps, labels, callback=lambda _: learned.append(len(trainer.dataset)))
    return {"seconds": phases.finish(), "steps": phases.steps, "learned": learned}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("env")
    for number in ("steps", "labels", "segment-length", "members", "n-envs"):
        parser.add_argument(f"--{number}", type=int, required=True)
    torch.set_num_threads(1)
    print(json.dumps(run(**vars(parser.parse_args()))))


if __name__ == "__main__":
    main()

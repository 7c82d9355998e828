"""One run of TRL's PPO, in an environment that has trl instead of prefrl.

`text_peer` starts it, and reads what it prints.
The losses are those of prefrl's run: value clipping off, no weight decay, a constant rate; gradients are not clipped.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl.experimental.ppo import PPOConfig, PPOTrainer

OFF = 1e9


def run(folder: Path, seed: int) -> dict[str, Any]:
    given = json.loads((folder / "task.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(folder / "policy", padding_side="left")
    policy, reference = (AutoModelForCausalLM.from_pretrained(folder / "policy") for _ in range(2))
    reward, value = (AutoModelForSequenceClassification.from_pretrained(folder / "reward") for _ in range(2))
    policy.generation_config.pad_token_id = tokenizer.pad_token_id
    trainer = PPOTrainer(
        args=settings(given, folder, seed),
        processing_class=tokenizer,
        model=policy,
        ref_model=reference,
        reward_model=reward,
        value_model=value,
        train_dataset=Dataset.from_dict({"input_ids": given["prompts"]}),
        eval_dataset=Dataset.from_dict({"input_ids": given["prompts"][:1]}),
    )
    began = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - began
    logs = [log for log in trainer.state.log_history if "objective/scores" in log]
    curves = {"score": [log["objective/scores"] for log in logs], "kl": [log["objective/kl"] for log in logs]}
    return {"seconds": seconds, "episodes": logs[-1]["episode"], "curves": curves}


def settings(given: dict[str, Any], folder: Path, seed: int) -> PPOConfig:
    return PPOConfig(
        output_dir=str(folder / "trl"),
        seed=seed,
        total_episodes=given["episodes"],
        per_device_train_batch_size=given["batch"],
        local_rollout_forward_batch_size=given["batch"],
        num_mini_batches=given["minibatches"],
        num_ppo_epochs=given["epochs"],
        response_length=given["response_length"],
        learning_rate=given["lr"],
        adam_epsilon=given["adam_epsilon"],
        kl_coef=given["beta"],
        gamma=given["gamma"],
        lam=given["gae_lambda"],
        cliprange=given["clip_range"],
        vf_coef=2 * given["vf_coef"],  # half of the squared error is its value loss
        cliprange_value=OFF,
        lr_scheduler_type="constant",
        temperature=1.0,
        stop_token="eos",
        num_sample_generations=0,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    torch.set_num_threads(1)
    print(json.dumps(run(**vars(parser.parse_args()))))


if __name__ == "__main__":
    main()

"""The work of `make bench-peer` with TRL's GRPOTrainer; prints one line of JSON.

The same model, questions, chat template, reward and optimizer as ours: float32 weights in Adam,
passes in bfloat16, no KL term, one optimizer step per batch, a learning rate that changes no
weight.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoTokenizer, PreTrainedTokenizerBase, TrainerCallback

from benchmarks.throughput.hardware_ceilings import memory_bytes, peak_memory_bytes
from twogrpo.data.prompts import PromptStream
from twogrpo.data.tasks import digit_arithmetic
from twogrpo.distributed.process_setup import keep_freed_memory
from twogrpo.rewards.last_number import LastNumber
from twogrpo.types import Prompt


@dataclass
class Graded:
    """The reward of conf/reward/last_number.yaml for TRL; records lengths and rewards.

    With `alternates` every other rollout counts as right, whatever its text.
    """

    end_id: int
    alternates: bool = False
    __name__ = "last_number"  # required by TRL
    lengths: list[int] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)

    def __call__(
        self,
        completions: list[list[dict[str, str]]],
        completion_ids: list[list[int]],
        answer: list[str],
        **_: Any,
    ) -> list[float]:
        """Grades like twogrpo.rollout.groups.grade_groups: a truncated response is wrong."""
        self.lengths += map(len, completion_ids)
        verdicts = LastNumber().grade([turns[-1]["content"] for turns in completions], answer)
        rewards = [
            verdict.reward * (ids[-1] == self.end_id)
            for verdict, ids in zip(verdicts, completion_ids, strict=True)
        ]
        if self.alternates:
            rewards = [float(index % 2 == 0) for index in range(len(completions))]
        self.rewards += rewards
        return rewards


class Timer(TrainerCallback):
    """Times each step from the end of the previous one."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Starts the clock."""
        self._last = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Records the seconds of the step."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds.append(now - self._last)
        self._last = now


def main() -> None:
    """Trains for some steps and prints what they took."""
    given = arguments()
    from trl import import_utils

    if not given.vllm:  # TRL would import an installed vLLM, which takes half a gigabyte
        import_utils.is_vllm_available = lambda **_: False
    from trl import GRPOConfig, GRPOTrainer

    torch.set_num_threads(given.threads)
    if given.device == "cpu":
        keep_freed_memory()  # speeds TRL up as much as us: 1.4 times (LOG.md)
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(given.model)
    assert isinstance(tokenizer.eos_token_id, int)
    reward, timer = Graded(tokenizer.eos_token_id, given.workload == "max_length"), Timer()
    with TemporaryDirectory() as folder:
        trainer = GRPOTrainer(
            model=given.model,
            args=GRPOConfig(**settings(given, folder)),
            train_dataset=Dataset.from_list(questions(given.questions, given.seed)),
            reward_funcs=reward,
            processing_class=tokenizer,
            callbacks=[timer],
        )
        at_start = memory_bytes(given.device)
        trainer.train()
    sys.stdout.write(json.dumps(found(given, reward, timer, at_start)) + "\n")


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line; the defaults are the fastest settings on two cores (LOG.md)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=".cache/models/smollm2_135m")
    parser.add_argument("--group-size", type=int, required=True)
    parser.add_argument("--workload", choices=["resampled", "max_length"], default="resampled",
                        help="max_length: responses to the limit, half right")  # fmt: skip
    parser.add_argument("--rollouts", type=int, default=32, help="a step")
    parser.add_argument("--questions", type=int, required=True, help="of all steps")
    parser.add_argument("--tokens", type=int, default=24, help="of a response at most")
    parser.add_argument("--warmup", type=int, default=1, help="steps that are not counted")
    parser.add_argument("--steps", type=int, default=4, help="that are counted")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32, help="rollouts in a forward pass")
    parser.add_argument("--weights", default="float32", help="bfloat16: nothing in float32")
    parser.add_argument("--passes", default="bfloat16", help="with float32 weights; or float32")
    parser.add_argument("--checkpointing", action="store_true", help="recompute activations")
    parser.add_argument("--vllm", action="store_true", help="sample with vLLM in this process")
    parser.add_argument("--vllm-share", type=float, default=0.3, help="of GPU memory, for vLLM")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    return parser.parse_args(words)


def settings(given: argparse.Namespace, folder: str) -> dict[str, Any]:
    """The values of TRL's GRPOConfig that match conf/algorithm/grpo.yaml at this group size."""
    shortest = "min_tokens" if given.vllm else "min_new_tokens"  # vLLM's name, transformers'
    return {
        "output_dir": folder,
        "max_steps": given.warmup + given.steps,
        # One sampling phase and one optimizer step with all rollouts.
        "per_device_train_batch_size": given.batch,
        "gradient_accumulation_steps": given.rollouts // given.batch,
        "num_generations": given.group_size,
        "max_completion_length": given.tokens,
        "generation_kwargs": {shortest: given.tokens} if given.workload == "max_length" else None,
        "shuffle_dataset": False,
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,
        "beta": 0.0,
        "loss_type": "grpo",
        "scale_rewards": "group",
        "epsilon": 0.2,
        "epsilon_high": 0.28,
        "learning_rate": 1e-30,
        "lr_scheduler_type": "constant",
        "optim": "adamw_torch_fused",
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "bf16": given.weights == "float32" and given.passes == "bfloat16",
        "model_init_kwargs": {"dtype": given.weights},
        "gradient_checkpointing": given.checkpointing,
        "use_vllm": given.vllm,
        "vllm_mode": "colocate",
        "vllm_gpu_memory_utilization": given.vllm_share,
        "vllm_max_model_length": 128,
        # Off in ours too (algorithm.importance_sampling_cap), which saves its forward pass.
        "vllm_importance_sampling_correction": False,
        "use_cpu": given.device == "cpu",
        "seed": given.seed,
        "dataloader_pin_memory": given.device != "cpu",
        "report_to": "none",
        "save_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
    }


def questions(count: int, seed: int) -> list[dict[str, Any]]:
    """Our run's questions (conf/dataset/digit_arithmetic.yaml), in its order, as messages."""
    drawn = digit_arithmetic.problems("rl_pool", count, 0)
    stream = PromptStream([Prompt(p.problem_id, p.text, p.answer, ()) for p in drawn], seed=seed)
    return [
        {
            "prompt": [{"role": "user", "content": draw.prompt.text}],
            "answer": draw.prompt.reference,
        }
        for draw in stream.next(count)
    ]


def found(given: argparse.Namespace, reward: Graded, timer: Timer, at_start: int) -> dict[str, Any]:
    """The measurements, under the same names as in scripts/benchmark.py."""
    counted, first = timer.seconds[given.warmup :], given.warmup * given.rollouts
    lengths, rewards = reward.lengths[first:], reward.rewards[first:]
    return {
        "peer": "trl",
        "group_size": given.group_size,
        "threads": given.threads,
        "seconds": {"median": median(counted), "min": min(counted), "max": max(counted)},
        "rollouts_per_second": given.rollouts / median(counted),
        "tokens_per_rollout": sum(lengths) / len(lengths),
        "reward": sum(rewards) / len(rewards),
        "rollouts_a_step": len(reward.rewards) / len(timer.seconds),
        "memory_at_start": at_start,
        "peak_memory": peak_memory_bytes(given.device),
    }


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()

"""Refuses a configuration that cannot run or would not mean what it says; writes nothing.

The bounds of single keys stand next to their types in twogrpo/config/schema.py, whose `parse`
checks them; the rules between keys are here. A wrong number is refused before torch is imported,
which takes seconds.
"""

from __future__ import annotations

import os
import shutil
import subprocess

from twogrpo.config.annotations import OneOf
from twogrpo.config.schema import (
    REPLACING,
    AlgorithmConfig,
    Config,
    EvaluationConfig,
    HardwareConfig,
)
from twogrpo.errors import ConfigError


def check(config: Config) -> None:
    """Checks everything that does not depend on this machine.

    Raises:
        ConfigError: a value is out of bounds, or does not go together with another.
    """
    check_benchmark_names(config.evaluation)
    _check_batches(config)
    _check_resampling_budget(config.algorithm)
    _check_training_sampling(config)
    _check_tensor_parallel(config)
    _check_microbatch(config)
    _check_algorithm(config.algorithm)


def check_benchmark_names(evaluation: EvaluationConfig) -> None:
    """Raises ConfigError for no benchmark, or for one twice."""
    if not evaluation.benchmarks:
        raise ConfigError("evaluation.benchmarks=[] evaluates nothing: give one or more")
    for name in evaluation.benchmarks:
        if evaluation.benchmarks.count(name) > 1:
            raise ConfigError(f"evaluation.benchmarks has {name} twice: name it once")


def check_device(hardware: HardwareConfig) -> None:
    """Checks that this machine has the device, and that it computes in the dtypes.

    Raises:
        ConfigError: there is no GPU, or it has no bfloat16.
    """
    if hardware.device != "cuda":
        return
    import torch

    if not torch.cuda.is_available():
        raise ConfigError(f"hardware.device=cuda: {_no_device(torch.version.cuda)}hardware=cpu")
    # Else every rank would open a context on the first GPU; a number too high is refused later.
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    torch.cuda.set_device(min(local_rank, torch.cuda.device_count() - 1))
    is_nvidia = torch.version.cuda is not None
    if is_nvidia and not torch.cuda.is_bf16_supported(including_emulation=False):
        for key in ("dtype", "sampler_dtype"):
            if getattr(hardware, key) == "bfloat16":
                raise ConfigError(
                    f"hardware.{key}=bfloat16: this GPU computes none, use hardware.{key}=float32"
                )


def _no_device(cuda: str | None) -> str:
    """Why torch, built for this CUDA, has no device: none is here, or its driver does not do."""
    drivers = ""
    if cuda and shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        found = subprocess.run(query, capture_output=True, text=True, encoding="utf-8", check=False)
        drivers = found.stdout if found.returncode == 0 else ""
    if not drivers:
        return "no CUDA device is here, use "
    return (
        f"torch for CUDA {cuda} cannot use the GPU that nvidia-smi lists; its driver is "
        f"{drivers.split()[0]} and CUDA 13 needs 580: update it, unset CUDA_VISIBLE_DEVICES or use "
    )


def _check_algorithm(algorithm: AlgorithmConfig) -> None:
    """Checks the three choices by name, which imports torch."""
    from twogrpo.core.advantages import ADVANTAGES
    from twogrpo.core.aggregation import AGGREGATIONS
    from twogrpo.core.surrogates import SURROGATES

    OneOf((*ADVANTAGES,)).check("algorithm.advantage", algorithm.advantage)
    OneOf((*SURROGATES,)).check("algorithm.surrogate", algorithm.surrogate)
    OneOf((*AGGREGATIONS,)).check("algorithm.aggregation", algorithm.aggregation)
    cap = algorithm.importance_sampling_cap
    if cap is not None and not SURROGATES[algorithm.surrogate].uses_old_logps:
        raise ConfigError(
            f"algorithm.importance_sampling_cap={cap} with algorithm.surrogate="
            f"{algorithm.surrogate}, which computes no π_old for the weight π_old/π_sampler: use "
            "algorithm.importance_sampling_cap=null"
        )
    advantage = ADVANTAGES[algorithm.advantage]
    for key, required in (  # DPO is its advantage, surrogate and aggregation together
        ("surrogate", advantage.required_surrogate),
        ("aggregation", advantage.required_aggregation),
    ):
        if required is not None and getattr(algorithm, key) != required:
            raise ConfigError(
                f"algorithm.{key}={getattr(algorithm, key)} does not go with algorithm.advantage="
                f"{algorithm.advantage}: use algorithm.{key}={required}"
            )


def _check_batches(config: Config) -> None:
    step, minibatch = config.training.prompts_per_step, config.prompts_per_minibatch
    if step % minibatch:
        divisors = [size for size in range(1, step + 1) if step % size == 0]
        nearest = min(divisors, key=lambda size: abs(size - minibatch))
        raise ConfigError(
            f"training.prompts_per_minibatch={config.training.prompts_per_minibatch} × "
            f"algorithm.minibatch_scale={config.algorithm.minibatch_scale} = {minibatch} prompts "
            f"do not divide training.prompts_per_step={step}: "
            f"make their product {nearest}"
        )
    budget = config.training.rollouts
    if budget is not None and config.num_steps < 1:
        least = step * config.algorithm.most_rollouts_per_prompt
        raise ConfigError(f"training.rollouts={budget} is less than one step: use {least} or more")
    if config.num_steps < 1:
        raise ConfigError(
            f"training.epochs={config.training.epochs} × dataset.num_prompts="
            f"{config.dataset.num_prompts} is less than one step of {step} prompts: "
            "lower training.prompts_per_step or add prompts"
        )


def _check_resampling_budget(algorithm: AlgorithmConfig) -> None:
    budget, least = algorithm.resampling_budget_group_size, 2 * algorithm.group_size
    if algorithm.resampling in REPLACING and (budget is None or budget < least):
        raise ConfigError(
            f"algorithm.resampling_budget_group_size={budget} leaves no second group to draw: use "
            f"{least} (2 × algorithm.group_size) or more (paper: 16 at G = 2), or "
            "algorithm.resampling=none"
        )
    if algorithm.resampling not in ("none", *REPLACING) and budget is not None:
        raise ConfigError(
            f"algorithm.resampling_budget_group_size={budget}: algorithm.resampling="
            f"{algorithm.resampling} draws nothing more, use "
            "algorithm.resampling_budget_group_size=null"
        )


def _check_training_sampling(config: Config) -> None:
    rollout = config.rollout
    if rollout.top_p != 1 or rollout.top_k != 0:
        raise ConfigError(
            f"rollout.top_p={rollout.top_p} rollout.top_k={rollout.top_k}: training on a truncated "
            "distribution makes ratios against it wrong: use rollout.top_p=1 rollout.top_k=0"
        )


def _check_tensor_parallel(config: Config) -> None:
    hardware = config.hardware
    size, num_gpus = hardware.tensor_parallel_size, hardware.num_gpus
    if config.rollout.engine != "vllm" and size > 1:
        raise ConfigError(f"hardware.tensor_parallel_size={size} needs rollout=vllm: use 1")
    if num_gpus % size:
        divisors = [n for n in range(1, num_gpus + 1) if num_gpus % n == 0]
        raise ConfigError(
            f"hardware.tensor_parallel_size={size} does not divide hardware.num_gpus={num_gpus}: "
            f"use one of {', '.join(map(str, divisors))}, or as many GPUs as torchrun starts ranks"
        )


def _check_microbatch(config: Config) -> None:
    hardware = config.hardware
    longest = config.dataset.max_prompt_tokens + config.dataset.max_response_tokens
    if hardware.tokens_per_microbatch < longest:
        raise ConfigError(
            f"hardware.tokens_per_microbatch={hardware.tokens_per_microbatch} cannot hold one "
            f"sequence of {longest} tokens: use {longest} or more"
        )

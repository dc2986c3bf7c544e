"""Refuses a configuration that cannot run or would not mean what it says; writes nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Collection

import torch

from twogrpo.config.schema import (
    AlgorithmConfig,
    Config,
    EvaluationConfig,
    HardwareConfig,
    RolloutConfig,
    TrainingConfig,
)
from twogrpo.core.advantages import ADVANTAGES
from twogrpo.core.aggregation import AGGREGATIONS
from twogrpo.core.surrogates import SURROGATES
from twogrpo.errors import ConfigError

RESAMPLING = ("none", "new_prompt", "same_prompt")
DTYPES = ("float32", "bfloat16")


def check(config: Config) -> None:
    """Raises ConfigError at the first value that is wrong by itself or beside another."""
    check_algorithm(config.algorithm)
    check_training(config.training)
    check_evaluation(config.evaluation)
    _check_batches(config)
    rollout = config.rollout
    _check_sampling("rollout", rollout.temperature, rollout.top_p, rollout.top_k)
    if rollout.top_p != 1 or rollout.top_k != 0:
        raise ConfigError(
            f"rollout.top_p={rollout.top_p} rollout.top_k={rollout.top_k}: training on a truncated "
            "distribution makes ratios against it wrong: use rollout.top_p=1 rollout.top_k=0"
        )
    at_least("dataset.num_prompts", config.dataset.num_prompts, 1)
    at_least("dataset.max_prompt_tokens", config.dataset.max_prompt_tokens, 1)
    at_least("dataset.max_response_tokens", config.dataset.max_response_tokens, 1)
    at_least("seed", config.seed, 0)
    at_least("dataset.seed", config.dataset.seed, 0)
    if config.tracking.wandb_mode is not None:
        one_of("tracking.wandb_mode", config.tracking.wandb_mode, ("offline", "online"))
    at_least("tracking.kl_rollouts", config.tracking.kl_rollouts, 0)
    at_least("tracking.mismatch_rollouts", config.tracking.mismatch_rollouts, 0)
    at_least("tracking.gradient_cosine_every", config.tracking.gradient_cosine_every, 0)
    check_canary(config.rollout)
    if config.rollout.engine != "vllm" and config.hardware.tensor_parallel_size > 1:
        raise ConfigError(
            f"hardware.tensor_parallel_size={config.hardware.tensor_parallel_size} needs "
            "rollout=vllm: use 1"
        )
    one_of("resume", config.resume, ("auto", "never"))
    check_hardware(config.hardware)
    _check_microbatch(config)


def check_algorithm(algorithm: AlgorithmConfig) -> None:
    """Raises ConfigError."""
    if algorithm.group_size < 2:
        raise ConfigError(
            f"algorithm.group_size={algorithm.group_size} has no baseline: use 2 or more"
        )
    one_of("algorithm.advantage", algorithm.advantage, ADVANTAGES)
    one_of("algorithm.surrogate", algorithm.surrogate, SURROGATES)
    one_of("algorithm.aggregation", algorithm.aggregation, AGGREGATIONS)
    one_of("algorithm.resampling", algorithm.resampling, RESAMPLING)
    at_least("algorithm.minibatch_scale", algorithm.minibatch_scale, 1)
    positive("algorithm.learning_rate_scale", algorithm.learning_rate_scale)
    at_least("algorithm.advantage_epsilon", algorithm.advantage_epsilon, 0)
    if not 0 < algorithm.clip_low <= 1:
        raise ConfigError(f"algorithm.clip_low={algorithm.clip_low}: use a value in (0, 1]")
    positive("algorithm.clip_high", algorithm.clip_high)
    positive("algorithm.preference_beta", algorithm.preference_beta)
    if algorithm.importance_sampling_cap is not None:
        _check_cap(algorithm)
    _check_requirements(algorithm)
    if algorithm.resampling != "none":
        _check_budget(algorithm)


def _check_cap(algorithm: AlgorithmConfig) -> None:
    """Truncated importance sampling weighs by π_old/π_sampler, so it needs π_old."""
    cap = algorithm.importance_sampling_cap
    assert cap is not None
    positive("algorithm.importance_sampling_cap", cap)
    if not SURROGATES[algorithm.surrogate].uses_old_logps:
        raise ConfigError(
            f"algorithm.importance_sampling_cap={cap} beside algorithm.surrogate="
            f"{algorithm.surrogate}, which computes no π_old to weigh with: use "
            "algorithm.importance_sampling_cap=null"
        )


def _check_requirements(algorithm: AlgorithmConfig) -> None:
    """DPO is its advantage, surrogate and aggregation together."""
    advantage = ADVANTAGES[algorithm.advantage]
    for key, required in (
        ("surrogate", advantage.required_surrogate),
        ("aggregation", advantage.required_aggregation),
    ):
        if required is not None and getattr(algorithm, key) != required:
            raise ConfigError(
                f"algorithm.{key}={getattr(algorithm, key)} does not go with algorithm.advantage="
                f"{algorithm.advantage}: use algorithm.{key}={required}"
            )


def check_training(training: TrainingConfig) -> None:
    """Raises ConfigError."""
    for key in (
        "epochs",
        "prompts_per_step",
        "prompts_per_minibatch",
        "checkpoint_every",
        "checkpoints_kept",
    ):
        at_least(f"training.{key}", getattr(training, key), 1)
    at_least("training.warmup_updates", training.warmup_updates, 0)
    positive("training.learning_rate", training.learning_rate)
    positive("training.adam_epsilon", training.adam_epsilon)
    positive("training.preemption_grace_seconds", training.preemption_grace_seconds)
    for key in ("adam_beta1", "adam_beta2"):
        value = getattr(training, key)
        if not 0 <= value < 1:
            raise ConfigError(f"training.{key}={value}: use a value in [0, 1)")
    if training.gradient_clip_norm is not None:
        positive("training.gradient_clip_norm", training.gradient_clip_norm)


def check_evaluation(evaluation: EvaluationConfig) -> None:
    """Raises ConfigError."""
    _check_sampling("evaluation", evaluation.temperature, evaluation.top_p, evaluation.top_k)
    if evaluation.problems_per_benchmark is not None:
        at_least("evaluation.problems_per_benchmark", evaluation.problems_per_benchmark, 1)
    if not evaluation.benchmarks:
        raise ConfigError("evaluation.benchmarks=[] evaluates nothing: give one or more")
    for name in evaluation.benchmarks:
        # It becomes a part of metric and file names.
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise ConfigError(
                f"evaluation.benchmarks={name} is no name: use letters, digits, ., - and _"
            )
    at_least("evaluation.num_samples", evaluation.num_samples, 1)
    at_least("evaluation.seed", evaluation.seed, 0)
    at_least("evaluation.max_prompt_tokens", evaluation.max_prompt_tokens, 1)
    at_least("evaluation.max_response_tokens", evaluation.max_response_tokens, 1)
    at_least("evaluation.validation_every", evaluation.validation_every, 0)
    if evaluation.validation_every:
        at_least("evaluation.validation_problems", evaluation.validation_problems, 1)
        at_least("evaluation.validation_samples", evaluation.validation_samples, 1)


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
    if config.num_steps < 1:
        raise ConfigError(
            f"training.epochs={config.training.epochs} × dataset.num_prompts="
            f"{config.dataset.num_prompts} is less than one step of {step} prompts: "
            "lower training.prompts_per_step or add prompts"
        )


def _check_budget(algorithm: AlgorithmConfig) -> None:
    budget = algorithm.resampling_budget_group_size
    least = 2 * algorithm.group_size
    if budget is None or budget < least:
        raise ConfigError(
            f"algorithm.resampling_budget_group_size={budget} leaves no second group to draw: use "
            f"{least} (2 × algorithm.group_size) or more (paper: 16 at G = 2), or "
            "algorithm.resampling=none"
        )


def check_hardware(hardware: HardwareConfig) -> None:
    """Raises ConfigError."""
    one_of("hardware.device", hardware.device, ("cpu", "cuda"))
    if hardware.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("hardware.device=cuda: no CUDA device is here, use hardware=cpu")
    one_of("hardware.dtype", hardware.dtype, DTYPES)
    one_of("hardware.sampler_dtype", hardware.sampler_dtype, DTYPES)
    is_here = hardware.device == "cuda" and torch.version.cuda is not None
    if is_here and not torch.cuda.is_bf16_supported(including_emulation=False):
        for key in ("dtype", "sampler_dtype"):
            if getattr(hardware, key) == "bfloat16":
                raise ConfigError(
                    f"hardware.{key}=bfloat16: this GPU computes none, use hardware.{key}=float32"
                )
    for key in ("num_threads", "rollouts_per_call", "logits_chunk_tokens", "tensor_parallel_size"):
        at_least(f"hardware.{key}", getattr(hardware, key), 1)
    at_least("hardware.num_gpus", hardware.num_gpus, 0)
    if hardware.num_gpus % hardware.tensor_parallel_size:
        divisors = [n for n in range(1, hardware.num_gpus + 1) if hardware.num_gpus % n == 0]
        raise ConfigError(
            f"hardware.tensor_parallel_size={hardware.tensor_parallel_size} does not divide "
            f"hardware.num_gpus={hardware.num_gpus}: use one of {', '.join(map(str, divisors))}, "
            "or as many GPUs as torchrun starts ranks"
        )
    positive("hardware.kv_cache_gib", hardware.kv_cache_gib)
    if not 0 < hardware.gpu_memory_share < 1:
        raise ConfigError(
            f"hardware.gpu_memory_share={hardware.gpu_memory_share}: use a value in (0, 1)"
        )
    if hardware.sleep_level not in (0, 1, 2):
        raise ConfigError(f"hardware.sleep_level={hardware.sleep_level}: use 0, 1 or 2")


def check_canary(rollout: RolloutConfig) -> None:
    """Raises ConfigError."""
    at_least("rollout.canary_prompts", rollout.canary_prompts, 0)
    at_least("rollout.canary_tokens", rollout.canary_tokens, 1)
    for dtype in DTYPES:
        for key in ("canary_bounds", "canary_kl_bounds"):
            positive(f"rollout.{key}.{dtype}", getattr(rollout, key).get(dtype, math.nan))


def _check_microbatch(config: Config) -> None:
    hardware = config.hardware
    longest = config.dataset.max_prompt_tokens + config.dataset.max_response_tokens
    if hardware.tokens_per_microbatch < longest:
        raise ConfigError(
            f"hardware.tokens_per_microbatch={hardware.tokens_per_microbatch} cannot hold one "
            f"sequence of {longest} tokens: use {longest} or more"
        )


def _check_sampling(group: str, temperature: float, top_p: float, top_k: int) -> None:
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ConfigError(
            f"{group}.temperature={temperature} draws the same response every time: use a value > 0"
        )
    if not 0 < top_p <= 1:
        raise ConfigError(f"{group}.top_p={top_p}: use a value in (0, 1]")
    at_least(f"{group}.top_k", top_k, 0)


def at_least(key: str, value: float, bound: float) -> None:
    """Raises ConfigError, also for NaN."""
    if not value >= bound:
        raise ConfigError(f"{key}={value} is too small: use {bound} or more")


def positive(key: str, value: float) -> None:
    """Raises ConfigError, also for NaN and infinity."""
    if not (value > 0 and math.isfinite(value)):
        raise ConfigError(f"{key}={value} must be positive and finite")


def one_of(key: str, value: str | None, choices: Collection[str]) -> None:
    """Raises ConfigError that lists the choices."""
    if value is None or value not in choices:
        raise ConfigError(f"{key}={value} is unknown: use one of {', '.join(choices)}")

"""Builds a run from its configuration; refuses before anything is written."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from twogrpo.config.batch_sizes import needs_reference_policy
from twogrpo.config.schema import Config, RolloutConfig
from twogrpo.config.validation import check
from twogrpo.data.prompts import (
    Prompts,
    PromptStream,
    benchmark_prompts,
    training_prompts,
    validation_prompts,
)
from twogrpo.distributed.process_group import Ranks, init_process_group
from twogrpo.distributed.process_setup import prepare_process
from twogrpo.models import load
from twogrpo.policy.build import build_policy, build_reference_policy
from twogrpo.rewards.build import build_checked_reward, check_references, isolation
from twogrpo.rollout.build import build_sampler
from twogrpo.rollout.data_parallel import DataParallelReward, DataParallelSampler
from twogrpo.rollout.protocol import SamplingParams
from twogrpo.run_record.phase_timer import PhaseTimer
from twogrpo.run_record.record import NullRecord, RunRecord
from twogrpo.training.resampling import (
    Counters,
    NewPromptResampling,
    NoResampling,
    Resampling,
    SamePromptResampling,
)
from twogrpo.training.run import Run
from twogrpo.training.sampler_mismatch import SyncCheck
from twogrpo.types import Prompt


def assemble(config: Config) -> Run:
    """The run, its record opened last.

    Raises:
        ConfigError: a value is wrong, the model cannot be loaded, the folder is another run's.
    """
    check(config)
    ranks = init_process_group(config.hardware)
    prepare_process(config.hardware)
    tokenizer = load.load_tokenizer(config.model)
    image_processor = load.load_image_processor(config.model)
    template = config.model.prompt_template
    evaluation, rollout = config.evaluation, config.rollout
    limit = config.dataset.max_response_tokens
    prompts = training_prompts(
        config.dataset, tokenizer, template=template, image_processor=image_processor
    )
    validation = validation_prompts(
        config.dataset, evaluation, tokenizer, template=template, image_processor=image_processor
    )
    benchmarks = (
        benchmark_prompts(evaluation, tokenizer, template=template, image_processor=image_processor)
        if evaluation.at_end
        else {}
    )
    source = f"dataset.name={config.dataset.name}"
    reward = build_checked_reward(config.reward, prompts, where=source)
    check_references(reward, validation, where=source)
    for name, part in benchmarks.items():
        check_references(reward, part, where=f"evaluation.benchmarks={name}")
    examined = [prompt for part in [validation, *benchmarks.values()] for prompt in part]
    engine = build_sampler(
        rollout,
        config.model,
        config.hardware,
        tokenizer,
        context_tokens=max(
            longest(prompts) + limit, longest(examined) + evaluation.max_response_tokens
        ),
        image_processor=image_processor,
    )
    return Run(
        config=config,
        stream=PromptStream(prompts, seed=config.seed),
        sampler=DataParallelSampler(engine, ranks, config.hardware.tensor_parallel_size),
        reward=DataParallelReward(reward, ranks),
        policy=build_policy(config, tokenizer, ranks, image_processor),
        reference_policy=build_reference_policy(config, ranks, image_processor)
        if needs_reference_policy(config)
        else None,
        resampling=build_resampling(config),
        counters=Counters(),
        sampling=SamplingParams.of(rollout, limit),
        test_sampling=SamplingParams.of(evaluation, evaluation.max_response_tokens),
        validation=validation,
        benchmarks=benchmarks,
        sync_check=SyncCheck(prompts[: sync_check_size(rollout, ranks)]),
        ranks=ranks,
        timer=PhaseTimer(config.hardware.device),
        record=RunRecord(
            config, sandbox=isolation(reward), prompts=_counted(config, prompts, benchmarks)
        )
        if ranks.is_first
        else NullRecord(config),
    )


def _counted(config: Config, prompts: Prompts, benchmarks: Mapping[str, Prompts]) -> dict[str, Any]:
    """How many prompts are used and were dropped; says what it makes of the epochs."""
    if prompts.num_dropped:
        drawn = config.num_steps * config.training.prompts_per_step
        sys.stderr.write(
            f"training.epochs={config.training.epochs} counts dataset.num_prompts="
            f"{config.dataset.num_prompts}; {prompts.num_dropped} of them are dropped, so the "
            f"others are drawn {drawn / len(prompts):.2f} times\n"
        )
    asked = {name: part.counts for name, part in benchmarks.items()}
    return {"training": prompts.counts, "benchmarks": asked}


def longest(prompts: Sequence[Prompt]) -> int:
    """Tokens of the longest prompt; 0 without any."""
    return max((len(prompt.token_ids) for prompt in prompts), default=0)


def sync_check_size(rollout: RolloutConfig, ranks: Ranks) -> int:
    """Prompts of the canary, at least one for the engine of every rank; 0 where none is wanted."""
    return max(rollout.canary_prompts, ranks.size) if rollout.canary_prompts else 0


def build_resampling(config: Config) -> Resampling:
    """How a training batch is filled."""
    algorithm, wanted = config.algorithm, config.training.prompts_per_step
    if algorithm.resampling == "none":
        return NoResampling(wanted)
    assert algorithm.resampling_budget_group_size is not None  # checked
    if algorithm.resampling == "same_prompt":
        num_draws = algorithm.resampling_budget_group_size // algorithm.group_size
        return SamePromptResampling(wanted, num_draws=num_draws)
    return NewPromptResampling(
        wanted,
        group_size=algorithm.group_size,
        budget_per_step=wanted * algorithm.resampling_budget_group_size,
    )

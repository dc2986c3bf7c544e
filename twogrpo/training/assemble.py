"""Builds a run from its configuration and rejects mistakes before anything is written."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from twogrpo.config.batch_sizes import needs_reference_policy
from twogrpo.config.schema import Config, SyncCheckConfig
from twogrpo.config.validation import check, check_device
from twogrpo.data.files import input_files
from twogrpo.data.prompts import (
    Prompts,
    PromptStream,
    hub_hashes,
    training_prompts,
    validation_prompts,
)
from twogrpo.distributed.process_group import Ranks, init_process_group
from twogrpo.distributed.process_setup import prepare_process
from twogrpo.evaluation.evaluator import load_benchmarks
from twogrpo.models.end_tokens import end_token_names
from twogrpo.models.load import load_processor, source
from twogrpo.policy.build import build_policy, build_reference_policy
from twogrpo.rewards.build import build_checked_reward, check_references, reference_check
from twogrpo.rollout.build import build_sampler, check_first_tokens
from twogrpo.rollout.data_parallel import DataParallelReward, DataParallelSampler
from twogrpo.rollout.protocol import SamplingParams
from twogrpo.rollout.vllm_setup import asleep_bytes
from twogrpo.run_record.phase_timer import PhaseTimer
from twogrpo.run_record.record import NullRecord, RunRecord
from twogrpo.training.collector import Collector
from twogrpo.training.diagnostics import Diagnostics
from twogrpo.training.preemption import PreemptionHandler
from twogrpo.training.resampling import build_resampling
from twogrpo.training.run import Run
from twogrpo.training.sampler_mismatch import SyncCheck
from twogrpo.training.stale_weights import StaleWeights
from twogrpo.types import Prompt


def assemble(config: Config) -> Run:
    """Builds the run; opens its record last.

    Raises:
        ConfigError: a value is wrong, the model cannot be loaded, or the folder is another run's.
    """
    check(config)
    check_device(config.hardware)
    ranks = init_process_group(config.hardware)
    prepare_process(config.hardware)
    processor = load_processor(config.model)
    check_one = reference_check(config.reward)
    prompts = training_prompts(config.dataset, processor, check_one)
    validation = validation_prompts(config.dataset, config.evaluation, processor, check_one)
    where = f"dataset.name={config.dataset.name}"
    reward = build_checked_reward(config.reward, prompts, where=where)
    check_references(reward, validation, where=where)
    evaluation = config.evaluation
    benchmarks = load_benchmarks(evaluation, processor, reward) if evaluation.at_end else {}
    sampling = SamplingParams.of(config.rollout, config.dataset.max_response_tokens)
    workload: list[tuple[Sequence[Prompt], SamplingParams]] = [(prompts, sampling)]
    if held_out := [*validation, *itertools.chain(*benchmarks.values())]:
        test_sampling = SamplingParams.of(evaluation, evaluation.max_response_tokens)
        workload.append((held_out, test_sampling))
    sampler = build_sampler(
        config.rollout,
        config.model,
        config.hardware,
        processor.tokenizer,
        workload=workload,
        image_processor=processor.image_processor,
    )
    check_first_tokens(sampler, workload, config.model)
    policy = build_policy(config, processor.tokenizer, ranks, processor.image_processor)
    reference_policy = (
        build_reference_policy(config, policy) if needs_reference_policy(config) else None
    )
    opened = (
        RunRecord(
            config,
            files={
                **input_files(config, model=source(config.model)),
                **hub_hashes(evaluation, benchmarks, config.dataset, [*prompts, *validation]),
            },
            sandbox=reward.sandbox_method,
            prompts=_counts(config, prompts, benchmarks),
            end_tokens=end_token_names(config.model, processor.tokenizer),
        )
        if ranks.is_first
        else None
    )
    about = ranks.all_gather(opened.about if opened else {})[0]
    record = opened or NullRecord(config, about)
    timer = PhaseTimer(torch.cuda if config.hardware.device == "cuda" else None, asleep_bytes)
    preemption = PreemptionHandler(
        ranks,
        grace_seconds=config.checkpointing.preemption_grace_seconds,
        on_forced_exit=lambda: record.mark_interrupted("SIGTERM"),
    )
    collector = Collector(
        PromptStream(prompts, seed=config.seed),
        DataParallelSampler(sampler, ranks, config.hardware.tensor_parallel_size),
        DataParallelReward(reward, ranks),
        build_resampling(config),
        sampling,
        group_size=config.algorithm.group_size,
        seed=config.seed,
        noise=config.reward.noise,
        stale_weights=StaleWeights(config.training.sync_every),
        timer=timer,
        preemption=preemption,
    )
    sync_check = SyncCheck(prompts[: sync_check_size(config.sync_check, ranks)])
    return Run(
        config=config,
        record=record,
        collector=collector,
        policy=policy,
        reference_policy=reference_policy,
        diagnostics=Diagnostics(config, collector, policy, reference_policy, sync_check),
        validation=validation,
        benchmarks=benchmarks,
        ranks=ranks,
        timer=timer,
        preemption=preemption,
    )


def _counts(config: Config, prompts: Prompts, benchmarks: Mapping[str, Prompts]) -> dict[str, Any]:
    """The numbers of used and dropped prompts; prints the effect on the number of epochs."""
    if prompts.num_dropped and config.training.rollouts is None:
        drawn = config.num_steps * config.training.prompts_per_step
        sys.stderr.write(
            f"training.epochs={config.training.epochs} counts dataset.num_prompts="
            f"{config.dataset.num_prompts}; {prompts.num_dropped} of them are dropped, so the "
            f"others are drawn {drawn / len(prompts):.2f} times\n"
        )
    of_benchmarks = {name: part.counts for name, part in benchmarks.items()}
    return {"training": prompts.counts, "benchmarks": of_benchmarks}


def sync_check_size(sync_check: SyncCheckConfig, ranks: Ranks) -> int:
    """The number of prompts of the sync check: at least one for every rank's sampler, or none."""
    return max(sync_check.prompts, ranks.size) if sync_check.prompts else 0

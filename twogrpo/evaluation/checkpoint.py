"""Evaluates one checkpoint as a run with its own record."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twogrpo.config.script_schemas import EvaluateConfig
from twogrpo.config.validation import check_benchmark_names, check_device
from twogrpo.data import contamination
from twogrpo.data.files import input_files
from twogrpo.data.prompts import PromptProcessor, hub_hashes
from twogrpo.distributed.process_setup import prepare_process
from twogrpo.errors import ConfigError
from twogrpo.evaluation import checkpoint_source
from twogrpo.evaluation.card import write_card
from twogrpo.evaluation.checkpoint_source import Source
from twogrpo.evaluation.evaluator import (
    Evaluator,
    evaluate_benchmarks,
    load_benchmarks,
    rollouts_per_chunk,
)
from twogrpo.models.end_tokens import end_token_names
from twogrpo.models.load import DTYPES, load_model, load_processor
from twogrpo.policy.checkpoint import read_weights
from twogrpo.policy.lora import add_adapters, cast_frozen, full_weights
from twogrpo.rewards.build import build_reward
from twogrpo.rollout.build import Workload, build_sampler, check_first_tokens
from twogrpo.rollout.groups import warn_if_truncated
from twogrpo.rollout.protocol import Sampler, SamplingParams
from twogrpo.run_record.eval_samples import SampleStore
from twogrpo.run_record.files import read_rows
from twogrpo.run_record.record import RunRecord, is_finished
from twogrpo.run_record.rows import summary


def evaluate_checkpoint(config: EvaluateConfig) -> dict[str, Any]:
    """Returns the row of results and records it in `output_dir`; resumes if interrupted.

    Raises:
        ConfigError: a value is wrong, the checkpoint cannot be loaded, or the folder is another
            run's.
    """
    check(config)
    overlap = _overlap(config.contamination)
    prepare_process(config.hardware)
    source = checkpoint_source.find(config.checkpoint, config.model.revision)
    config = checkpoint_source.describe(config, source)
    files = input_files(config)
    if is_finished(config, files):
        return read_rows(Path(config.output_dir))[-1]
    processor = load_processor(config.model)
    reward = build_reward(config.reward)
    benchmarks = load_benchmarks(config.evaluation, processor, reward)
    sampling = SamplingParams.of(config.evaluation, config.evaluation.max_response_tokens)
    workload = [(prompts, sampling) for prompts in benchmarks.values()]
    sampler = _sampler(config, source, processor, workload)
    check_first_tokens(sampler, workload, config.model)
    per_chunk = rollouts_per_chunk(config.hardware, config.rollout)
    evaluator = Evaluator(config.evaluation, sampler, reward, rollouts_per_chunk=per_chunk)
    used = {name: prompts.counts for name, prompts in benchmarks.items()}
    record = RunRecord(
        config,
        files={**files, **hub_hashes(config.evaluation, benchmarks)},
        sandbox=reward.sandbox_method,
        prompts={"benchmarks": used},
        end_tokens=end_token_names(config.model, processor.tokenizer),
    )
    folder, keep_text = record.folder / "evaluation", config.evaluation.keep_text
    store = SampleStore(folder, record.about["run_id"], keep_text=keep_text)
    try:
        every = config.tracking.progress_every_seconds
        row = evaluate_benchmarks(
            benchmarks, evaluator, store, name=config.run_name, every_seconds=every
        )
    except BaseException as error:
        record.interrupt(type(error).__name__)
        error.add_note("the same command continues at the first missing problem")
        raise
    finally:
        reward.close()
        sampler.close()
    cut = [row[f"evaluation/{name}/truncated_fraction"] for name in benchmarks]
    warn_if_truncated(sum(cut) / len(cut), "evaluation.max_response_tokens")
    record.truncate(0)
    record.log({"step": config.step, **row})
    write_card(record.folder, overlap)
    record.finish(summary([row]))
    return row


def _overlap(folder: str | None) -> dict[str, list[str]] | None:
    if folder is None:
        return None
    overlap = contamination.load_overlap(Path(folder))
    if overlap is None:
        raise ConfigError(
            f"contamination={folder} has no contamination.json: give a folder of prepare_data"
        )
    return overlap


def check(config: EvaluateConfig) -> None:
    """Raises ConfigError at the first value that is wrong by itself or beside another."""
    check_benchmark_names(config.evaluation)
    check_device(config.hardware)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 or config.hardware.tensor_parallel_size > 1:
        raise ConfigError(
            f"hardware.tensor_parallel_size={config.hardware.tensor_parallel_size}: a separate "
            "evaluation runs in one process: use 1, and start it with python instead of torchrun"
        )


def _sampler(
    config: EvaluateConfig, source: Source, processor: PromptProcessor, workload: Workload
) -> Sampler:
    if config.rollout.engine == "vllm":
        load_model(config.model)  # for its checks: vLLM leaves a missing head at random
    sampler = build_sampler(
        config.rollout,
        config.model,
        config.hardware,
        processor.tokenizer,
        workload=workload,
        image_processor=processor.image_processor,
    )
    if source.training is not None:
        model = load_model(config.model)
        add_adapters(model, config.model, seed=config.seed)
        for name, tensor in read_weights(source.training).items():
            model.get_parameter(name).data.copy_(tensor)
        cast_frozen(model, DTYPES[config.hardware.dtype])
        sampler.load(full_weights(model))
    return sampler

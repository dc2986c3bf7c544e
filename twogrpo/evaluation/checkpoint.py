"""Evaluates one checkpoint as a run of its own, whose record analysis reads like any other."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twogrpo.config.script_schemas import EvaluateConfig
from twogrpo.config.validation import check_evaluation, check_hardware, one_of
from twogrpo.data import contamination
from twogrpo.data.images import ImageProcessor
from twogrpo.data.prompts import benchmark_prompts
from twogrpo.distributed.process_setup import prepare_process
from twogrpo.errors import ConfigError
from twogrpo.evaluation import checkpoint_source
from twogrpo.evaluation.card import write_card
from twogrpo.evaluation.checkpoint_source import Source
from twogrpo.evaluation.evaluator import Benchmarks, Exam, evaluate_benchmarks, num_missing
from twogrpo.models import load
from twogrpo.rewards.build import build_reward, check_references, isolation
from twogrpo.rewards.protocol import Reward
from twogrpo.rollout.build import build_sampler
from twogrpo.rollout.protocol import Sampler, SamplingParams
from twogrpo.run_record.eval_samples import SampleStore
from twogrpo.run_record.files import read_rows
from twogrpo.run_record.progress import Progress
from twogrpo.run_record.record import RunRecord, is_finished
from twogrpo.run_record.summary import summary


def evaluate_checkpoint(config: EvaluateConfig) -> dict[str, Any]:
    """The row of results, also in the record at `output_dir`; continues an interrupted evaluation.

    Raises:
        ConfigError: a value is wrong, the checkpoint cannot be loaded, the folder is another run's.
    """
    check(config)
    prepare_process(config.hardware)
    source = checkpoint_source.find(config.checkpoint, config.model.revision)
    config = checkpoint_source.describe(config, source)
    if is_finished(config):
        return read_rows(Path(config.output_dir))[-1]
    tokenizer = load.load_tokenizer(config.model)
    image_processor = load.load_image_processor(config.model)
    benchmarks = benchmark_prompts(
        config.evaluation,
        tokenizer,
        template=config.model.prompt_template,
        image_processor=image_processor,
    )
    reward = build_reward(config.reward)
    for name, prompts in benchmarks.items():
        check_references(reward, prompts, where=f"evaluation.benchmarks={name}")
    exam = _exam(config, reward, _rollout(config, source, tokenizer, benchmarks, image_processor))
    asked = {name: prompts.counts for name, prompts in benchmarks.items()}
    record = RunRecord(config, sandbox=isolation(exam.reward), prompts={"benchmarks": asked})
    try:
        row = _evaluate(config, benchmarks, exam, record)
    finally:
        exam.reward.close()
        exam.sampler.close()
    record.truncate(0)
    record.log({"step": config.step, **row})
    prepared = Path(config.contamination) if config.contamination else None
    write_card(record.folder, contamination.load_overlap(prepared) if prepared else None)
    record.finish(summary([row]))
    return row


def check(config: EvaluateConfig) -> None:
    """Raises ConfigError at the first value that is wrong by itself or beside another."""
    check_evaluation(config.evaluation)
    check_hardware(config.hardware)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 or config.hardware.tensor_parallel_size > 1:
        raise ConfigError(
            f"hardware.tensor_parallel_size={config.hardware.tensor_parallel_size}: an evaluation "
            "by itself is one process: use 1, and start it with python instead of torchrun"
        )
    one_of("resume", config.resume, ("auto", "never"))


def _exam(config: EvaluateConfig, reward: Reward, rollout: Sampler) -> Exam:
    evaluation = config.evaluation
    return Exam(
        sampler=rollout,
        reward=reward,
        sampling=SamplingParams.of(evaluation, evaluation.max_response_tokens),
        num_samples=evaluation.num_samples,
        seed=evaluation.seed,
        rollouts_per_chunk=config.hardware.rollouts_per_call,
        keep_text=evaluation.keep_text,
    )


def _rollout(
    config: EvaluateConfig,
    source: Source,
    tokenizer: Any,
    benchmarks: Benchmarks,
    image_processor: ImageProcessor | None,
) -> Sampler:
    longest = max(len(prompt.token_ids) for prompts in benchmarks.values() for prompt in prompts)
    rollout = build_sampler(
        config.rollout,
        config.model,
        config.hardware,
        tokenizer,
        context_tokens=longest + config.evaluation.max_response_tokens,
        image_processor=image_processor,
    )
    if source.training is not None:
        model = load.load_model(config.model)
        for name, tensor in source.weights().items():
            model.get_parameter(name).data.copy_(tensor)
        rollout.load(model.state_dict().items())
    return rollout


def _evaluate(
    config: EvaluateConfig, benchmarks: Benchmarks, exam: Exam, record: RunRecord
) -> dict[str, Any]:
    store = SampleStore(
        record.folder / "evaluation", key=record.about["run_id"], keep_text=exam.keep_text
    )
    total = sum(len(prompts) for prompts in benchmarks.values())
    with Progress(
        config.run_name,
        total=total,
        done=total - num_missing(benchmarks, store),
        every_seconds=config.tracking.progress_every_seconds,
    ) as progress:
        return evaluate_benchmarks(benchmarks, exam, store, progress)

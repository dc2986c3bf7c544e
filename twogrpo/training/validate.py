"""Validation during training and benchmark evaluation at the end."""

from __future__ import annotations

from dataclasses import replace
from itertools import compress
from typing import Any

from twogrpo.distributed.process_group import rank_zero_first
from twogrpo.evaluation.evaluator import (
    Evaluator,
    evaluate,
    evaluate_benchmarks,
    rollouts_per_chunk,
)
from twogrpo.run_record.eval_samples import SampleStore
from twogrpo.training.run import Run


def validate(run: Run, step: int) -> dict[str, Any]:
    """The mean accuracy on the validation problems, and on each split's if there are several; empty
    at steps where validation is not due."""
    evaluation = run.config.evaluation
    every, is_last = evaluation.validation_every, step + 1 == run.config.num_steps
    if not every or not (step % every == 0 or is_last):
        return {}
    of_validation = replace(evaluation, num_samples=evaluation.validation_samples)
    result = evaluate(run.validation, replace(run_evaluator(run), config=of_validation))
    row = {"validation/mean": result.mean, "seconds/validate": result.seconds}
    splits = evaluation.validation_splits
    # The id of a generated problem begins with its split.
    for split in splits if len(splits) > 1 else ():
        is_of_it = [problem.startswith(f"{split}/") for problem in result.problem_ids]
        correct = sum(compress(result.num_correct, is_of_it))
        row[f"validation/{split}"] = correct / (sum(is_of_it) * result.num_samples)
    return row


def evaluate_at_end(run: Run) -> dict[str, Any]:
    """The results of all benchmarks; resumes an interrupted evaluation."""
    config = run.config
    evaluator = replace(run_evaluator(run), on_chunk=run.preemption.check)
    store = rank_zero_first(
        run.ranks,
        lambda: SampleStore(
            run.record.folder / "evaluation",
            run.record.about["run_id"],
            is_writer=run.ranks.is_first,
            keep_text=config.evaluation.keep_text,
        ),
    )
    return evaluate_benchmarks(
        run.benchmarks,
        evaluator,
        store,
        name=f"{config.run_name} evaluation",
        every_seconds=config.tracking.progress_every_seconds,
    )


def run_evaluator(run: Run) -> Evaluator:
    """The evaluator of the sampler's current weights."""
    hardware = run.config.hardware
    num_samplers = max(1, run.ranks.size // hardware.tensor_parallel_size)
    return Evaluator(
        run.config.evaluation,
        run.collector.sampler,
        run.collector.reward,
        rollouts_per_chunk=rollouts_per_chunk(hardware, run.config.rollout) * num_samplers,
    )

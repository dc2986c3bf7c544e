"""A run's examinations: of the validation split on the way, of the benchmarks at the end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twogrpo.distributed.process_group import rank_zero_first
from twogrpo.evaluation.evaluator import Exam, evaluate, evaluate_benchmarks, num_missing
from twogrpo.run_record.eval_samples import SampleStore
from twogrpo.run_record.progress import Progress
from twogrpo.training.run import Run


def validate(run: Run, step: int) -> dict[str, Any]:
    """Mean accuracy on the validation split, at the steps that ask for it."""
    every = run.config.evaluation.validation_every
    is_last = step + 1 == run.config.num_steps
    if not every or not (step % every == 0 or is_last):
        return {}
    exam = build_exam(run, num_samples=run.config.evaluation.validation_samples)
    result = evaluate(run.validation, exam)
    return {"validation/mean": result.mean, "seconds/validate": result.seconds}


def evaluate_at_end(run: Run) -> dict[str, Any]:
    """The row of all benchmarks; continues where an interrupted evaluation left off."""
    exam = build_exam(run, num_samples=run.config.evaluation.num_samples)
    exam = replace(exam, before_each_chunk=run.preemption.check)
    folder, key = run.record.folder / "evaluation", run.record.about["run_id"]
    is_writer, keep_text = run.ranks.is_first, exam.keep_text
    store = rank_zero_first(
        run.ranks, lambda: SampleStore(folder, key, is_writer=is_writer, keep_text=keep_text)
    )
    total = sum(len(prompts) for prompts in run.benchmarks.values())
    with Progress(
        f"{run.config.run_name} evaluation",
        total=total,
        done=total - num_missing(run.benchmarks, store),
        every_seconds=run.config.tracking.progress_every_seconds,
        is_shown=run.ranks.is_first,
    ) as progress:
        return evaluate_benchmarks(run.benchmarks, exam, store, progress)


def build_exam(run: Run, *, num_samples: int) -> Exam:
    """The evaluation of the policy as the rollout engine holds it."""
    return Exam(
        sampler=run.sampler,
        reward=run.reward,
        sampling=run.test_sampling,
        num_samples=num_samples,
        seed=run.config.evaluation.seed,
        rollouts_per_chunk=run.config.hardware.rollouts_per_call
        * max(1, run.ranks.size // run.config.hardware.tensor_parallel_size),
        keep_text=run.config.evaluation.keep_text,
    )

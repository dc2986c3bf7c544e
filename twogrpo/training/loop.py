"""The training loop (Algorithm 1 of the paper)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from twogrpo.config.batch_sizes import batch_table
from twogrpo.policy.protocol import UpdateMetrics
from twogrpo.rollout.groups import warn_if_truncated
from twogrpo.run_record import rollouts
from twogrpo.run_record.progress import Progress
from twogrpo.training import metrics
from twogrpo.training.finish import finish
from twogrpo.training.minibatches import minibatches, refreshed
from twogrpo.training.resume import open_run, resume, save_checkpoint_if_due, save_if_preempted
from twogrpo.training.run import Run
from twogrpo.training.update import update
from twogrpo.training.validate import validate
from twogrpo.types import TrainingSample


def train(run: Run) -> None:
    """Trains from the last checkpoint to the end, then evaluates; logs one row per step.

    Raises:
        Fault: the run stopped before the end, see twogrpo/errors.py.
    """
    with open_run(run):
        first = resume(run)
        _announce(run, first)
        run.diagnostics.after_sync()
        with Progress(
            run.config.run_name,
            total=run.config.num_steps,
            done=first,
            every_seconds=run.config.tracking.progress_every_seconds,
            is_shown=run.ranks.is_first,
        ) as progress:
            for step in range(first, run.config.num_steps):
                with save_if_preempted(run, step):
                    row = train_step(run, step)
                    if step == first and run.ranks.is_first:
                        warn_if_truncated(
                            row["response/truncated_fraction"], "dataset.max_response_tokens"
                        )
                    row |= validate(run, step)
                run.record.log(row)
                save_checkpoint_if_due(run)
                progress.update(metrics.progress_text(row))
        finish(run)


def train_step(run: Run, step: int) -> dict[str, Any]:
    """Algorithm 1 of the paper: sample with π_old, grade, update in mini-batches, π_old ← π_θ."""
    collector, policy, timer = run.collector, run.policy, run.timer
    collected = collector.collect(step)  # 1-3  q ~ Q, o_1 … o_G ~ π_old, r_1 … r_G
    with timer.phase("old_logps"):
        batches = minibatches(collected.batch, policy, run.config, step=step)  # 4  A_i, and π_old
    with timer.phase("measure"):
        row: dict[str, Any] = {"step": step}
        row |= run.diagnostics.before_update(collected, step)
    run.preemption.check()
    updates, trained_on = list[UpdateMetrics](), list[Sequence[TrainingSample]]()
    with timer.phase("update"):
        for minibatch in refreshed(  # 5
            batches, collected.batch, policy, run.reference_policy, run.config, step=step
        ):
            updates.append(update(run, minibatch))  # 6  surrogate, Adam
            trained_on.append(minibatch.samples)
    with timer.phase("sync"):
        collector.load(policy.weights, step=step + 1)  # 7  π_old ← π_θ
        row |= run.diagnostics.after_sync()

    collector.counters.trained_on += sum(done.num_sequences for done in updates)
    with timer.phase("measure"):
        row |= metrics.sampling_row(collected.drawn)
        row |= metrics.update_row(trained_on, updates) | metrics.counters_row(collector.counters)
    if run.config.tracking.save_rollouts and run.ranks.is_first:
        rollouts.append(run.record.folder, step, collected.drawn)
    count = run.config.tracking.saved_pairs
    if count and step in rollouts.pair_steps(run.config.num_steps) and run.ranks.is_first:
        advantages_B = (sample.advantage for samples in trained_on for sample in samples)
        rollouts.append_pairs(run.record.folder, step, collected.batch, advantages_B, count=count)
    row |= timer.read()
    return row | metrics.speed_row(row)


def _announce(run: Run, first: int) -> None:
    if run.ranks.is_first:
        sys.stderr.write(f"{run.config.run_name}\n{batch_table(run.config)}\n")
        if first:
            sys.stderr.write(f"  resumes at step {first}\n")

"""The training loop, as in the paper's algorithm box, and its end."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from twogrpo.config.batch_sizes import batch_table
from twogrpo.data import contamination
from twogrpo.data.sources import dataset_file
from twogrpo.distributed import process_group
from twogrpo.errors import CheckpointFault, NotFiniteFault, Preempted
from twogrpo.evaluation.card import write_card
from twogrpo.policy import checkpoint
from twogrpo.policy.policy import NonFiniteError
from twogrpo.policy.protocol import UpdateMetrics
from twogrpo.rollout.groups import grade_groups, sample_groups
from twogrpo.run_record import rollouts
from twogrpo.run_record.progress import Progress
from twogrpo.run_record.summary import summary
from twogrpo.training import metrics, nonfinite_step
from twogrpo.training.dpo import with_current_preference_advantages
from twogrpo.training.gradient_cosine import cosine_row
from twogrpo.training.minibatches import minibatches
from twogrpo.training.resampling import redrawn
from twogrpo.training.resume import (
    is_checkpoint_due,
    loop_state,
    resume,
    resume_command,
    save_checkpoint,
)
from twogrpo.training.run import Run
from twogrpo.training.sampler_mismatch import mismatch_row
from twogrpo.training.validate import evaluate_at_end, validate
from twogrpo.types import Group, TrainingSample


def train(run: Run) -> None:
    """Trains from the last checkpoint to the end, then evaluates; every step is one row.

    Raises:
        Fault: what stopped it before the end, see twogrpo/errors.py.
    """
    with ExitStack() as at_the_end:  # all of it, whatever fails; the reward's workers first
        at_the_end.callback(process_group.shutdown, run.ranks)
        at_the_end.callback(run.sampler.close)
        at_the_end.callback(run.reward.close)
        try:
            with run.preemption:
                _train(run)
        except BaseException as error:
            is_told = isinstance(error, Preempted)
            run.record.interrupt(by="SIGTERM" if is_told else type(error).__name__)
            if isinstance(error, Exception) and not is_told:
                error.add_note(resume_command(run))
            raise


def _train(run: Run) -> None:
    first = resume(run)
    if run.ranks.is_first:
        sys.stderr.write(f"{run.config.run_name}\n{batch_table(run.config)}\n")
    if run.ranks.is_first and first:
        sys.stderr.write(f"  continues at step {first}\n")
    run.sync_check.check_sync(run.sampler, run.policy, run.sampling, run.config)
    with Progress(
        run.config.run_name,
        total=run.config.num_steps,
        done=first,
        every_seconds=run.config.tracking.progress_every_seconds,
        is_shown=run.ranks.is_first,
    ) as progress:
        for step in range(first, run.config.num_steps):
            run.step, before = step, loop_state(run, step)
            try:
                row = train_step(run, step)
                row |= validate(run, step)
            except Preempted:  # before the first update: the policy is as it was
                if not run.ranks.all_gather(
                    checkpoint.exists(run.record.folder / "checkpoints", step)
                )[0]:
                    save_checkpoint(run, before)
                raise
            run.record.log(row)
            if is_checkpoint_due(run.config, step + 1):
                with run.timer.phase("save"):  # seconds of the next row
                    save_checkpoint(run, loop_state(run, step + 1))
            progress.update(metrics.progress_text(row))
    finish(run)


def train_step(run: Run, step: int) -> dict[str, Any]:
    """Steps 1 to 7: sample with π_old, score, update in mini-batches, π_old ← π_θ."""
    config, timer, policy = run.config, run.timer, run.policy
    drawn: list[Group] = []

    def draw(count: int, *, again: Sequence[Group] = ()) -> list[Group]:
        run.preemption.check()
        prompts = redrawn(again) or run.stream.next(count)  # 1  q ~ Q
        with timer.phase("generate"):
            groups = sample_groups(  # 2  o_1 … o_G ~ π_old
                prompts,
                run.sampler,
                run.sampling,
                group_size=config.algorithm.group_size,
                seed=config.seed,
                step=step,
            )
        with timer.phase("score"):
            groups = grade_groups(groups, run.reward)  # 3  r_1 … r_G
        run.counters.generated += sum(len(group.rollouts) for group in groups)
        drawn.extend(groups)
        return groups

    # 2-GRPO+RS draws until the batch is full of mixed groups; all others draw once.
    groups = run.resampling.collect(draw, step=step, counters=run.counters)
    run.sampler.sleep()
    with timer.phase("old_logps"):
        batches = minibatches(groups, policy, config, step=step)  # 4  A_i, and π_old
    with timer.phase("measure"):
        row: dict[str, Any] = {"step": step}
        row |= mismatch_row(policy, drawn, config)
        row |= cosine_row(groups, policy, run.reference_policy, config, step=step)
    run.preemption.check()
    updates, trained_on = list[UpdateMetrics](), list[Sequence[TrainingSample]]()
    with timer.phase("update"):
        for optimizer_step in optimizer_steps(run, step, groups, batches):  # 5
            updates.append(update(run, optimizer_step))  # 6  surrogate, Adam
            trained_on.append(optimizer_step.sequences)
    with timer.phase("sync"):
        run.sampler.load(policy.weights())  # 7  π_old ← π_θ
        row |= run.sync_check.check_sync(run.sampler, policy, run.sampling, config)

    run.counters.trained_on += sum(update.num_sequences for update in updates)
    with timer.phase("measure"):
        row |= metrics.sampling_row(drawn)
        row |= metrics.update_row(trained_on, updates) | metrics.counters_row(run.counters)
        row |= metrics.kl_row(drawn, run.reference_policy, num_rollouts=config.tracking.kl_rollouts)
    if config.tracking.save_rollouts and run.ranks.is_first:
        rollouts.append(run.record.folder, step, drawn)
    row |= timer.read()
    return row | metrics.speed_row(row)


def optimizer_steps(
    run: Run, step: int, groups: Sequence[Group], batches: Sequence[list[TrainingSample]]
) -> Iterator[nonfinite_step.OptimizerStep]:
    """The mini-batches, each made when it is due: DPO's advantages hang on the policy of the very
    update, all others stay as they are.
    """
    size, beta = run.config.prompts_per_minibatch, run.config.algorithm.preference_beta
    for k, batch in enumerate(batches):
        sequences = with_current_preference_advantages(
            batch, run.policy, run.reference_policy, beta=beta
        )
        yield nonfinite_step.OptimizerStep(step, k, groups[k * size : (k + 1) * size], sequences)


def update(run: Run, optimizer_step: nonfinite_step.OptimizerStep) -> UpdateMetrics:
    """Takes the step.

    Raises:
        NotFiniteFault: it cannot be taken; it is kept to be looked at.
    """
    try:
        return run.policy.update(optimizer_step.sequences)
    except NonFiniteError as error:
        try:
            folder = nonfinite_step.save(
                optimizer_step,
                run.policy,
                run.config,
                reason=str(error),
                is_writer=run.ranks.is_first,
            )
            then = f"Its batch and the policy are in {folder}"
        except (OSError, CheckpointFault) as unkept:
            then = f"Its batch is not kept: {unkept}"
        raise NotFiniteFault(
            f"step {optimizer_step.step}, mini-batch {optimizer_step.minibatch}: {error}; the "
            f"update was not made. {then}"
        ) from error


def finish(run: Run) -> None:
    """Exports the policy, evaluates it and closes the record."""
    config = run.config
    run.step = config.num_steps
    run.policy.export(run.record.folder / "final")
    if config.evaluation.at_end:
        row = evaluate_at_end(run)
        run.record.log({"step": config.num_steps, **row})
    if not run.ranks.is_first:
        return
    if config.evaluation.at_end:
        file = dataset_file(config.dataset)
        write_card(run.record.folder, contamination.load_overlap(file.parent) if file else None)
    run.record.finish(summary(run.record.rows()))

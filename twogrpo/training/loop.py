"""The training loop, as in the paper's algorithm box, and its end."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from twogrpo import types
from twogrpo.config.batch_sizes import batch_table
from twogrpo.data import contamination
from twogrpo.data.sources import dataset_file
from twogrpo.distributed import process_group
from twogrpo.errors import CheckpointFault, NotFiniteFault, Preempted
from twogrpo.evaluation.card import write_card
from twogrpo.policy import checkpoint
from twogrpo.policy.policy import NonFiniteError
from twogrpo.policy.protocol import UpdateMetrics
from twogrpo.rollout.groups import sample_groups, score
from twogrpo.run_record import rollouts
from twogrpo.run_record.progress import Progress
from twogrpo.run_record.summary import summary
from twogrpo.training import metrics, nonfinite_step
from twogrpo.training.dpo import reweigh
from twogrpo.training.gradient_cosine import cosine_row
from twogrpo.training.minibatches import minibatches
from twogrpo.training.resampling import redrawn
from twogrpo.training.resume import (
    how_to_go_on,
    is_checkpoint_due,
    loop_state,
    resume,
    save_checkpoint,
)
from twogrpo.training.run import Run
from twogrpo.training.sampler_mismatch import mismatch_row
from twogrpo.training.validate import evaluate_at_end, validate
from twogrpo.types import Group


def train(run: Run) -> None:
    """Trains from the last checkpoint to the end, then evaluates; every step is one row.

    Raises:
        Fault: what stopped it before the end, see twogrpo/errors.py.
    """
    with ExitStack() as at_the_end:  # all of it, whatever fails; the reward's workers first
        at_the_end.callback(process_group.leave, run.ranks)
        at_the_end.callback(run.rollout.close)
        at_the_end.callback(run.reward.close)
        try:
            with run.notice:
                _train(run)
        except BaseException as error:
            is_told = isinstance(error, Preempted)
            run.record.interrupt(by="SIGTERM" if is_told else type(error).__name__)
            if isinstance(error, Exception) and not is_told:
                error.add_note(how_to_go_on(run))
            raise


def _train(run: Run) -> None:
    first = resume(run)
    if run.ranks.is_first:
        sys.stderr.write(f"{run.config.run_name}\n{batch_table(run.config)}\n")
    if run.ranks.is_first and first:
        sys.stderr.write(f"  continues at step {first}\n")
    run.canary.prove_sync(run.rollout, run.policy, run.sampling, run.config)
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
                if not run.ranks.each(checkpoint.exists(run.record.folder / "checkpoints", step))[
                    0
                ]:
                    save_checkpoint(run, before)
                raise
            run.record.log(row)
            if is_checkpoint_due(run.config, step + 1):
                with run.clock.phase("save"):  # seconds of the next row
                    save_checkpoint(run, loop_state(run, step + 1))
            progress.update(metrics.progress_text(row))
    finish(run)


def train_step(run: Run, step: int) -> dict[str, Any]:
    """Steps 1 to 7: sample with π_old, score, update in mini-batches, π_old ← π_θ."""
    config, clock, policy = run.config, run.clock, run.policy
    drawn: list[Group] = []

    def draw(count: int, *, again: Sequence[Group] = ()) -> list[Group]:
        run.notice.check()
        prompts = redrawn(again) or run.stream.next(count)  # 1  q ~ Q
        with clock.phase("generate"):
            groups = sample_groups(  # 2  o_1 … o_G ~ π_old
                prompts,
                run.rollout,
                run.sampling,
                group_size=config.algorithm.group_size,
                seed=config.seed,
                step=step,
            )
        with clock.phase("score"):
            groups = score(groups, run.reward)  # 3  r_1 … r_G
        run.counters.generated += sum(len(group.rollouts) for group in groups)
        drawn.extend(groups)
        return groups

    # 2-GRPO+RS draws until the batch is full of mixed groups; all others draw once.
    groups = run.resampling.collect(draw, step=step, counters=run.counters)
    run.rollout.rest()
    with clock.phase("old_logps"):
        batches = minibatches(groups, policy, config, step=step)  # 4  A_i, and π_old
    with clock.phase("measure"):
        row: dict[str, Any] = {"step": step}
        row |= mismatch_row(policy, drawn, config)
        row |= cosine_row(groups, policy, run.start_policy, config, step=step)
    run.notice.check()
    updates, trained_on = list[UpdateMetrics](), list[Sequence[types.Sequence]]()
    with clock.phase("update"):
        for optimizer_step in optimizer_steps(run, step, groups, batches):  # 5
            updates.append(update(run, optimizer_step))  # 6  surrogate, Adam
            trained_on.append(optimizer_step.sequences)
    with clock.phase("sync"):
        run.rollout.load(policy.weights())  # 7  π_old ← π_θ
        row |= run.canary.prove_sync(run.rollout, policy, run.sampling, config)

    run.counters.trained_on += sum(update.num_sequences for update in updates)
    with clock.phase("measure"):
        row |= metrics.sampling_row(drawn)
        row |= metrics.update_row(trained_on, updates) | metrics.counters_row(run.counters)
        row |= metrics.kl_row(drawn, run.start_policy, num_rollouts=config.tracking.kl_rollouts)
    if config.tracking.save_rollouts and run.ranks.is_first:
        rollouts.append(run.record.folder, step, drawn)
    row |= clock.read()
    return row | metrics.speed_row(row)


def optimizer_steps(
    run: Run, step: int, groups: Sequence[Group], batches: Sequence[list[types.Sequence]]
) -> Iterator[nonfinite_step.OptimizerStep]:
    """The mini-batches, each made when it is due: DPO's advantages hang on the policy of the very
    update, all others stay as they are.
    """
    size, beta = run.config.prompts_per_minibatch, run.config.algorithm.preference_beta
    for k, batch in enumerate(batches):
        sequences = reweigh(batch, run.policy, run.start_policy, beta=beta)
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
            folder = nonfinite_step.keep(
                optimizer_step,
                run.policy,
                run.config,
                reason=str(error),
                is_writer=run.ranks.is_first,
            )
            then = f"`python scripts/replay.py batch={folder}` takes it apart"
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
        write_card(run.record.folder, contamination.known(file.parent) if file else None)
    run.record.finish(summary(run.record.rows()))

"""The training loop, as in the paper's algorithm box, with its resuming and its end."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from twogrpo import bad_batch, metrics, rollout_log
from twogrpo.batches import minibatches
from twogrpo.clock import Clock
from twogrpo.config import Config
from twogrpo.data import contamination
from twogrpo.data.datasets import PromptStream, dataset_file
from twogrpo.engines import checkpoint, ranks
from twogrpo.engines.policy import NonFiniteError
from twogrpo.engines.protocols import Policy, RolloutEngine, Sampling, UpdateMetrics
from twogrpo.engines.ranks import Ranks, in_turn
from twogrpo.engines.scoring import ScoringModel
from twogrpo.evaluate import Exam, evaluate, evaluate_benchmarks, num_missing
from twogrpo.evaluation_card import write_card
from twogrpo.evaluation_samples import SampleStore
from twogrpo.faults import NotFiniteFault, Preempted
from twogrpo.mismatch import mismatch_row, prove_sync
from twogrpo.planning import batch_table
from twogrpo.preemption import Notice
from twogrpo.preferences import reweigh
from twogrpo.progress import Progress
from twogrpo.records import Group, Prompt
from twogrpo.resampling import Counters, Resampling, redrawn
from twogrpo.rewards.protocol import Reward
from twogrpo.sampling import sample_groups, score
from twogrpo.tracking import RunRecord
from twogrpo.twins import cosine_row


@dataclass
class Run:
    """Everything that takes part in a run; `twogrpo.assemble` builds it."""

    config: Config
    record: RunRecord
    stream: PromptStream
    rollout: RolloutEngine
    reward: Reward
    policy: Policy
    start_policy: ScoringModel | None
    resampling: Resampling
    counters: Counters
    sampling: Sampling
    test_sampling: Sampling
    validation: Sequence[Prompt]
    benchmarks: dict[str, list[Prompt]]
    canary: Sequence[Prompt]
    ranks: Ranks
    clock: Clock
    notice: Notice = field(init=False)

    def __post_init__(self) -> None:
        self.notice = Notice(self.ranks)


def train(run: Run) -> None:
    """Trains from the last checkpoint to the end, then evaluates; every generation is one row.

    Raises:
        Fault: what stopped it before the end, see twogrpo/faults.py.
    """
    with ExitStack() as at_the_end:  # all of it, whatever fails; the reward's workers first
        at_the_end.callback(ranks.leave, run.ranks)
        at_the_end.callback(run.rollout.close)
        at_the_end.callback(run.reward.close)
        try:
            with run.notice:
                _train(run)
        except BaseException:
            run.record.interrupt()
            raise


def _train(run: Run) -> None:
    first = resume(run)
    if run.ranks.is_first:
        sys.stderr.write(f"{run.config.run_name}\n{batch_table(run.config)}\n")
    if run.ranks.is_first and first:
        sys.stderr.write(f"  continues at generation {first}\n")
    prove_sync(run.rollout, run.policy, run.canary, run.sampling, run.config)
    with Progress(
        run.config.run_name,
        total=run.config.num_generations,
        done=first,
        every_seconds=run.config.tracking.progress_every_seconds,
        is_shown=run.ranks.is_first,
    ) as progress:
        for generation in range(first, run.config.num_generations):
            before = loop_state(run, generation)
            try:
                row = train_one_generation(run, generation)
                row |= validate(run, generation)
            except Preempted:  # before the first update: the policy is as it was
                if not run.ranks.each(
                    checkpoint.exists(run.record.folder / "checkpoints", generation)
                )[0]:
                    save_checkpoint(run, before)
                raise
            except Exception as error:
                error.add_note(how_to_go_on(run, generation))
                raise
            run.record.log(row)
            if is_checkpoint_due(run.config, generation + 1):
                save_checkpoint(run, loop_state(run, generation + 1))
            progress.update(metrics.progress_text(row))
    finish(run)


def train_one_generation(run: Run, generation: int) -> dict[str, Any]:
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
                generation=generation,
            )
        with clock.phase("score"):
            groups = score(groups, run.reward)  # 3  r_1 … r_G
        run.counters.generated += sum(len(group.rollouts) for group in groups)
        drawn.extend(groups)
        return groups

    # 2-GRPO+RS draws until the batch is full of mixed groups; all others draw once.
    groups = run.resampling.collect(draw, generation=generation, counters=run.counters)
    run.rollout.rest()
    with clock.phase("old_logps"):
        batches = minibatches(groups, policy, config, generation=generation)  # 4  A_i, and π_old
    with clock.phase("measure"):
        row: dict[str, Any] = {"step": generation}
        row |= mismatch_row(policy, drawn, config)
        row |= cosine_row(groups, policy, run.start_policy, config, generation=generation)
    run.notice.check()
    with clock.phase("update"):
        updates = []
        for k, batch in enumerate(batches):  # 5
            # DPO's advantages hang on the policy of this very update; others stay as they are.
            batches[k] = reweigh(
                batch, policy, run.start_policy, beta=config.algorithm.preference_beta
            )
            first, end = k * config.prompts_per_minibatch, (k + 1) * config.prompts_per_minibatch
            step = bad_batch.Step(generation, k, groups[first:end], batches[k])
            updates.append(update(run, step))  # 6  surrogate, Adam
    with clock.phase("sync"):
        run.rollout.load(policy.weights())  # 7  π_old ← π_θ
        row |= prove_sync(run.rollout, policy, run.canary, run.sampling, config)

    run.counters.trained_on += sum(update.num_sequences for update in updates)
    with clock.phase("measure"):
        row |= metrics.sampling_row(drawn)
        row |= metrics.update_row(batches, updates) | metrics.counters_row(run.counters)
        row |= metrics.kl_row(drawn, run.start_policy, num_rollouts=config.tracking.kl_rollouts)
    if config.tracking.save_rollouts and run.ranks.is_first:
        rollout_log.append(run.record.folder, generation, drawn)
    row |= clock.read()
    return row | metrics.speed_row(row)


def validate(run: Run, generation: int) -> dict[str, Any]:
    """Mean accuracy on the validation split, at the generations that ask for it."""
    every = run.config.evaluation.validation_every
    is_last = generation + 1 == run.config.num_generations
    if not every or not (generation % every == 0 or is_last):
        return {}
    exam = build_exam(run, num_samples=run.config.evaluation.validation_samples)
    result = evaluate(run.validation, exam)
    return {"validation/mean": result.mean, "seconds/validate": result.seconds}


def resume(run: Run) -> int:
    """Loads the newest checkpoint that is whole, if any; the generation to go on with."""
    tensors = run.policy.state()
    state = checkpoint.load_latest(run.record.folder / "checkpoints", into=tensors, ranks=run.ranks)
    if state is None:
        run.record.rewind(0)
        return 0
    run.policy.load_state(tensors, state["num_updates"])
    run.rollout.load(run.policy.weights())
    run.stream.position = state["stream_position"]
    run.counters = Counters(**state["counters"])
    run.resampling.load_state(state["resampling"])
    generation: int = state["generation"]
    run.record.rewind(generation)
    return generation


def update(run: Run, step: bad_batch.Step) -> UpdateMetrics:
    """Takes the step.

    Raises:
        NotFiniteFault: it cannot be taken; it is kept to be looked at.
    """
    try:
        return run.policy.update(step.sequences)
    except NonFiniteError as error:
        folder = bad_batch.keep(
            step, run.policy, run.config, reason=str(error), is_writer=run.ranks.is_first
        )
        raise NotFiniteFault(
            f"generation {step.generation}, mini-batch {step.minibatch}: {error}; the step was not "
            f"taken. `python scripts/replay.py batch={folder}` takes it apart"
        ) from error


def how_to_go_on(run: Run, generation: int) -> str:
    """For the end of a trace: where it was, where it continues and how."""
    ranks_here = os.environ.get("LOCAL_WORLD_SIZE")
    launcher = f"torchrun --nproc-per-node {ranks_here}" if run.ranks.is_sharded else "python"
    saved = checkpoint.newest(run.record.folder / "checkpoints")
    return (
        f"At generation {generation} of {run.config.run_name}. Last checkpoint: "
        f"{saved or 'none yet'}. To go on: {launcher} {shlex.join(sys.argv)}"
    )


def is_checkpoint_due(config: Config, generation: int) -> bool:
    """Every so many generations, and after the last."""
    return generation % config.training.checkpoint_every == 0 or (
        generation == config.num_generations
    )


def loop_state(run: Run, generation: int) -> dict[str, Any]:
    """All that a checkpoint holds beside the policy, after so many generations."""
    return {
        "generation": generation,
        "num_updates": run.policy.num_updates,
        "stream_position": run.stream.position,
        "counters": asdict(run.counters),
        "resampling": run.resampling.state(),
    }


def save_checkpoint(run: Run, state: dict[str, Any]) -> None:
    """The policy as it is, with that state of the loop."""
    checkpoint.save(
        run.record.folder / "checkpoints",
        generation=state["generation"],
        tensors=run.policy.state(),
        state=state,
        kept=run.config.training.checkpoints_kept,
        ranks=run.ranks,
    )


def finish(run: Run) -> None:
    """Exports the policy, evaluates it and closes the record."""
    config = run.config
    run.policy.export(run.record.folder / "final")
    if config.evaluation.at_end:
        row = evaluate_at_end(run)
        run.record.log({"step": config.num_generations, **row})
    if not run.ranks.is_first:
        return
    if config.evaluation.at_end:
        file = dataset_file(config.dataset)
        write_card(run.record.folder, contamination.known(file.parent) if file else None)
    run.record.finish(metrics.summary(run.record.rows()))


def evaluate_at_end(run: Run) -> dict[str, Any]:
    """The row of all benchmarks; continues where an interrupted evaluation left off."""
    exam = build_exam(run, num_samples=run.config.evaluation.num_samples)
    exam = replace(exam, before_each_chunk=run.notice.check)
    folder, key = run.record.folder / "evaluation", run.record.about["run_id"]
    store = in_turn(run.ranks, lambda: SampleStore(folder, key, is_writer=run.ranks.is_first))
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
        rollout=run.rollout,
        reward=run.reward,
        sampling=run.test_sampling,
        num_samples=num_samples,
        seed=run.config.evaluation.seed,
        rollouts_per_chunk=run.config.hardware.rollouts_per_call
        * max(1, run.ranks.size // run.config.hardware.tensor_parallel_size),
        keep_text=run.config.evaluation.keep_text,
    )

"""What a checkpoint holds, when one is saved, and how a run is interrupted and resumed.

Whether a folder may be resumed at all is decided in twogrpo/run_record/record.py.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from twogrpo.distributed.process_group import shutdown
from twogrpo.errors import ConfigError, Preempted
from twogrpo.policy import checkpoint
from twogrpo.run_record.record import refuse_other_run
from twogrpo.training.run import Run


def resume(run: Run) -> int:
    """Loads the newest intact checkpoint, if any, and returns the next step."""
    run.collector.stale_weights.after_update(run.policy.weights, 0)
    if run.ranks.all_gather(checkpoint.newest(_folder(run)))[0] is None:
        run.record.truncate(0)
        return 0
    run.collector.sampler.sleep()  # on a GPU its memory takes what is read
    tensors = run.policy.state()
    state = checkpoint.load_latest(
        _folder(run), into=tensors, check=lambda *found: _check(run, *found), ranks=run.ranks
    )
    assert state is not None  # where all are damaged, `load_latest` raises
    run.policy.load_state(tensors, state["num_updates"])
    step: int = state["step"]
    run.collector.load(run.policy.weights, step=step)
    run.collector.load_state(state)
    run.record.truncate(step)
    return step


def _check(run: Run, found: Path, state: dict[str, Any]) -> None:
    """Raises ConfigError for a checkpoint of another run: its run.json may be gone or another's."""
    if "run" not in state:
        raise ConfigError(f"{found} does not say which run it is of: delete it and train again")
    refuse_other_run(str(found), state["run"], run.record.about, run.config)


@contextmanager
def open_run(run: Run) -> Iterator[None]:
    """Listens for SIGTERM; on exit records an interruption, if any, and closes everything."""
    with closing(run):
        try:
            with run.preemption:
                yield
        except BaseException as error:
            is_preempted = isinstance(error, Preempted)
            # Of another rank an error after SIGTERM is no cause: the first may have left already.
            is_told = is_preempted or (run.preemption.is_received and not run.ranks.is_first)
            run.record.interrupt(by="SIGTERM" if is_told else type(error).__name__)
            if isinstance(error, Exception) and not is_preempted:
                error.add_note(resume_command(run))
            raise


@contextmanager
def closing(run: Run) -> Iterator[None]:
    """Closes the reward, the sampler and the process group on exit, each even if another fails.

    NCCL ends a group only with all ranks. Where one of several fails, the others wait elsewhere for
    it: it closes its reward alone, leaves by `errors.exit_at_once`, and torchrun ends the others.
    """
    with ExitStack() as on_exit:  # the last one first
        on_exit.callback(shutdown, run.ranks)
        on_exit.callback(run.collector.sampler.close)
        on_exit.callback(run.collector.reward.close)
        try:
            yield
        except BaseException as error:
            if run.ranks.size > 1 and not isinstance(error, Preempted):
                on_exit.pop_all()
                run.collector.reward.close()
            raise


@contextmanager
def save_if_preempted(run: Run, step: int) -> Iterator[None]:
    """Saves the state before the step if SIGTERM ends it.

    SIGTERM is only checked before the step's first update, so the policy is unchanged, and the
    resumed run samples the same tokens again. Later, the step is finished first. Between two
    hand-overs of the weights nothing is saved: the sampler's older weights are in no checkpoint.
    """
    run.step, before = step, loop_state(run, step)
    try:
        yield
    except Preempted:
        is_saved = run.ranks.all_gather(checkpoint.exists(_folder(run), step))[0]
        if not is_saved and run.collector.stale_weights.can_resume_at(step):
            save_checkpoint(run, before)
        raise


def save_checkpoint_if_due(run: Run) -> None:
    """Saves after every `checkpointing.every` steps and after the last one.

    With `training.sync_every` it saves at the first hand-over of the weights from there on.
    """
    done, config = run.step + 1, run.config
    is_due = done % config.checkpointing.every < (config.training.sync_every or 1)
    if (is_due and run.collector.stale_weights.can_resume_at(done)) or done == config.num_steps:
        with run.timer.phase("save"):  # in the next row, or in the last one that `finish` writes
            save_checkpoint(run, loop_state(run, done))


def loop_state(run: Run, step: int) -> dict[str, Any]:
    """What a checkpoint holds besides weights and Adam's moments: the next step, the number of
    updates, the prompt position, the counters, the groups carried over and which run it is."""
    about = {key: run.record.about[key] for key in ("identity", "code")}
    of_run = {"run": {**about, "config": run.config.identifying()}}
    progress = {"step": step, "num_updates": run.policy.num_updates}
    return {**progress, **run.collector.state(), **of_run}


def save_checkpoint(run: Run, state: dict[str, Any]) -> None:
    """Saves the current policy with a state of the loop."""
    checkpoint.save(
        _folder(run),
        step=state["step"],
        tensors=run.policy.state(),
        state=state,
        kept=run.config.checkpointing.kept,
        ranks=run.ranks,
    )


def resume_command(run: Run) -> str:
    """The note at the end of a traceback: the step, the last checkpoint and how to resume."""
    launcher = _torchrun() if run.ranks.is_sharded else "python"
    saved = checkpoint.newest(_folder(run))
    return (
        f"At step {run.step} of {run.config.run_name}. Last checkpoint: "
        f"{saved or 'none yet'}. To resume: {launcher} {shlex.join(sys.argv)}"
    )


def _folder(run: Run) -> Path:
    return run.record.folder / "checkpoints"


def _torchrun() -> str:
    """This rank's torchrun command; the rendezvous endpoint is not known to ranks."""
    num_nodes, ranks_here = (
        int(os.environ.get(name, "1")) for name in ("GROUP_WORLD_SIZE", "LOCAL_WORLD_SIZE")
    )
    if num_nodes == 1:
        return f"torchrun --standalone --nproc-per-node {ranks_here}"
    return (
        f"on each node torchrun --nnodes {num_nodes} --nproc-per-node {ranks_here} "
        "--rdzv-backend c10d --rdzv-endpoint HOST:PORT"
    )

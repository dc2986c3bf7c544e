"""A run's checkpoints: what they hold beside the policy, and how it goes on from the last."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import asdict
from typing import Any

from twogrpo.config.schema import Config
from twogrpo.policy import checkpoint
from twogrpo.training.resampling import Counters
from twogrpo.training.run import Run


def resume(run: Run) -> int:
    """Loads the newest checkpoint that is whole, if any; the step to go on with."""
    tensors = run.policy.state()
    state = checkpoint.load_latest(run.record.folder / "checkpoints", into=tensors, ranks=run.ranks)
    if state is None:
        run.record.truncate(0)
        return 0
    run.policy.load_state(tensors, state["num_updates"])
    run.sampler.load(run.policy.weights())
    run.stream.position = state["stream_position"]
    run.counters = Counters(**state["counters"])
    run.resampling.load_state(state["resampling"])
    step: int = state["step"]
    run.record.truncate(step)
    return step


def is_checkpoint_due(config: Config, step: int) -> bool:
    """Every so many steps, and after the last."""
    return step % config.training.checkpoint_every == 0 or (step == config.num_steps)


def loop_state(run: Run, step: int) -> dict[str, Any]:
    """All that a checkpoint holds beside the policy, after so many steps."""
    return {
        "step": step,
        "num_updates": run.policy.num_updates,
        "stream_position": run.stream.position,
        "counters": asdict(run.counters),
        "resampling": run.resampling.state(),
    }


def save_checkpoint(run: Run, state: dict[str, Any]) -> None:
    """The policy as it is, with that state of the loop."""
    checkpoint.save(
        run.record.folder / "checkpoints",
        step=state["step"],
        tensors=run.policy.state(),
        state=state,
        kept=run.config.training.checkpoints_kept,
        ranks=run.ranks,
    )


def resume_command(run: Run) -> str:
    """For the end of a trace: where it was, where it continues and how."""
    launcher = _torchrun() if run.ranks.is_sharded else "python"
    saved = checkpoint.newest(run.record.folder / "checkpoints")
    return (
        f"At step {run.step} of {run.config.run_name}. Last checkpoint: "
        f"{saved or 'none yet'}. To go on: {launcher} {shlex.join(sys.argv)}"
    )


def _torchrun() -> str:
    """The launch that this is a rank of; torchrun does not say where its ranks were to meet."""
    num_nodes, ranks_here = (
        int(os.environ.get(name, "1")) for name in ("GROUP_WORLD_SIZE", "LOCAL_WORLD_SIZE")
    )
    if num_nodes == 1:
        return f"torchrun --nproc-per-node {ranks_here}"
    return (
        f"on each node torchrun --nnodes {num_nodes} --nproc-per-node {ranks_here} "
        "--rdzv-backend c10d --rdzv-endpoint HOST:PORT"
    )

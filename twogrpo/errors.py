"""The faults that end a run, each with an exit code for a script or Slurm.

    0    finished, or nothing left to do
    2    a user's mistake: one line, nothing written (ConfigError)
    70   a loss, gradient or sampled log-probability is not finite; for the first two the batch and
         the policy are saved in bad_batch-…
    71   out of memory during a run; before the first step it is a mistake in the config, 2
    74   the disk is full, or holds no intact checkpoint
    75   SIGTERM, and no checkpoint in time: resumes at the previous one
    76   the sampler does not hold the policy's weights (twogrpo/training/sampler_mismatch.py)
    130  interrupted by Ctrl-C
    143  SIGTERM, after writing a checkpoint
    1    anything else, with a traceback

After 75, 130, 143 and a kill the same command continues the run, with the same numbers; after 71
and 74 with smaller values in hardware or more room.
torchrun says 1 for whatever its ranks said.
"""

from __future__ import annotations

import errno
import re

DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
EXIT_MEMORY = 71
EXIT_DISK = 74
EXIT_LATE = 75
EXIT_SYNC = 76


class ConfigError(ValueError):
    """A user's mistake, in one line that names key, value and remedy."""


class Fault(RuntimeError):
    """Ends a run with a one-line message, a line on how to resume, and an exit code."""

    exit_code = 1


class NotFiniteFault(Fault):
    """A loss, gradient or sampled log-probability is not finite; no optimizer step was taken."""

    exit_code = 70


class CheckpointFault(Fault):
    """A checkpoint cannot be written, or no intact one is left."""

    exit_code = EXIT_DISK


class SyncFault(Fault):
    """The sampler does not hold the policy's weights, or not in the same numerics."""

    exit_code = EXIT_SYNC


class Preempted(Fault):
    """SIGTERM arrived, and a checkpoint was written."""

    exit_code = 143


def out_of_memory(error: BaseException) -> str | None:
    """Returns what is short if the error is about memory, of a GPU or of the CPU; else None."""
    text = str(error)
    is_short = isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)  # includes torch.OutOfMemoryError; the CPU's has no class
        and ("out of memory" in text or "can't allocate memory" in text)
    )
    if not is_short:
        return None
    # torch says much more, of fragments and of its settings.
    requested = re.search(r"ried to allocate ([\d.]+ \w+)", text)
    return f"out of memory{f' ({requested[1]} requested)' if requested else ''}"


def escape_control_chars(text: str) -> str:
    r"""One line that is safe to print: escape sequences, new lines and marks that change the
    reading direction are spelled out.

    >>> escape_control_chars("a\x1b[2J\nb\u202e")
    'a\\x1b[2J\\nb\\u202e'
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)

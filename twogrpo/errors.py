"""What stops a run from outside, each with the exit code that says so to a script or to Slurm.

    0    finished, or nothing left to do
    2    a user's mistake: one line, nothing written (twogrpo.config.schema.ConfigError)
    70   a number that is not finite: the batch and the policy are saved in bad_batch-…
    71   memory: a phase needs more than there is; before the first it is a mistake in the config, 2
    74   the disk: full, or no checkpoint on it is whole
    75   told to end by SIGTERM and not ready in time: continues at the checkpoint before
    76   the sampler does not hold the policy's weights (twogrpo/training/sampler_mismatch.py)
    130  interrupted by Ctrl-C
    143  told to end by SIGTERM, and a checkpoint was written first
    1    anything else, with a trace

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
    """Ends a run with one line for a person, one on how to go on, and a code for a script."""

    exit_code = 1


class NotFiniteFault(Fault):
    """A loss or gradient is not finite; the optimiser step was not taken."""

    exit_code = 70


class CheckpointFault(Fault):
    """A checkpoint cannot be written, or none is left that is whole."""

    exit_code = EXIT_DISK


class SyncFault(Fault):
    """The sampler does not hold the policy's weights, or not in the same numerics."""

    exit_code = EXIT_SYNC


class Preempted(Fault):
    """SIGTERM came; what was done is saved."""

    exit_code = 143


def out_of_memory(error: BaseException) -> str | None:
    """Returns what is short if the error is about memory, of a GPU or of the CPU; else None."""
    said = str(error)
    is_short = isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)  # torch.OutOfMemoryError is one, the CPU's has no name
        and ("out of memory" in said or "can't allocate memory" in said)
    )
    if not is_short:
        return None
    # torch says much more, of fragments and of its settings.
    requested = re.search(r"ried to allocate ([\d.]+ \w+)", said)
    return f"too little memory{f' ({requested[1]} requested)' if requested else ''}"


def escape_control_chars(text: str) -> str:
    r"""One line that a terminal shows as it stands: what it would obey instead (escape sequences,
    new lines, marks that turn the reading direction) is spelled out.

    >>> escape_control_chars("a\x1b[2J\nb\u202e")
    'a\\x1b[2J\\nb\\u202e'
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)

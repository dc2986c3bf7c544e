"""What stops a run from outside, each with the exit code that says so to a script or to Slurm.

    0    finished, or nothing left to do
    2    a user's mistake: one line, nothing written (twogrpo.config.ConfigError)
    70   a number that is not finite: the batch is kept for scripts/replay.py
    74   the disk: full, or no checkpoint on it is whole
    75   told to end by SIGTERM and not ready in time: continues at the checkpoint before
    130  interrupted by Ctrl-C
    143  told to end by SIGTERM, and a checkpoint was written first
    1    anything else, with a trace

After 75, 130, 143 and a kill the same command continues the run, with the same numbers.
torchrun says 1 for whatever its ranks said.
"""

from __future__ import annotations

import errno

DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
EXIT_DISK = 74
EXIT_LATE = 75


class Fault(RuntimeError):
    """Ends a run with one line for a person and a code for a script."""

    exit_code = 1


class NotFiniteFault(Fault):
    """A loss or gradient is not finite; the optimiser step was not taken."""

    exit_code = 70


class CheckpointFault(Fault):
    """A checkpoint cannot be written, or none is left that is whole."""

    exit_code = EXIT_DISK


class Preempted(Fault):
    """SIGTERM came; what was done is saved."""

    exit_code = 143

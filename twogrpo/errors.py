"""The faults that end a run, each with an exit code for a script or Slurm.

    0    finished, or nothing left to do
    2    a user's mistake: one line, nothing written (ConfigError)
    70   a loss, gradient or sampled log-probability is not finite; for the first two the batch and
         the policy are saved in bad_batch-…
    71   out of memory during a run; before the first step it is a mistake in the config, 2
    74   the disk is full, holds no intact checkpoint, or refuses a file during a run
    75   SIGTERM, and no checkpoint in time: resumes at the previous one
    76   the sampler does not hold the policy's weights (twogrpo/training/sampler_mismatch.py)
    130  interrupted by Ctrl-C
    141  whoever read the output has closed the pipe (`… | head`)
    143  SIGTERM, after a checkpoint (none between two hand-overs of training.sync_every)
    1    anything else, with a traceback

After 75, 130, 143 and a kill the same command continues the run, with the same numbers; after 71
and 74 with smaller values in hardware or more room.
torchrun says 1 for whatever its ranks said.
"""

from __future__ import annotations

import errno
import os
import re
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Any, NoReturn

DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
EXIT_UNEXPECTED = 1
EXIT_USAGE = 2
EXIT_MEMORY = 71
EXIT_DISK = 74
EXIT_LATE = 75
EXIT_SYNC = 76
EXIT_INTERRUPTED = 130
EXIT_CLOSED_PIPE = 141
WAIT_FOR_FIRST_RANK_SECONDS = 20.0
has_sleeping_engine = False  # set by a vLLM sampler that is closed asleep
# What CUDA and its driver, torch's CPU allocator and mmap, the libraries (as in
# CUBLAS_STATUS_ALLOC_FAILED, …_DEVICE_ALLOCATION_FAILED of cuDNN) and NCCL say.
SHORTAGE = (
    r"[Oo]ut of memory|OUT_OF_MEMORY|([Cc]an't|[Cc]annot) allocate memory|ALLOC(ATION)?_FAILED"
    r"|Failed to CUDA \w*alloc"
)


class ConfigError(ValueError):
    """A user's mistake, in one line that names key, value and remedy."""


class Fault(RuntimeError):
    """Ends a run with a one-line message, a line on how to resume, and an exit code."""

    exit_code = EXIT_UNEXPECTED


class NotFiniteFault(Fault):
    """A loss, gradient or sampled log-probability is not finite; no optimizer step was taken."""

    exit_code = 70


class MemoryFault(Fault):
    """Memory ran out during the run."""

    exit_code = EXIT_MEMORY


class CheckpointFault(Fault):
    """A checkpoint cannot be written, or no intact one is left."""

    exit_code = EXIT_DISK


class SyncFault(Fault):
    """The sampler does not hold the policy's weights, or not in the same numerics."""

    exit_code = EXIT_SYNC


class Preempted(Fault):
    """SIGTERM arrived, and a checkpoint was written where the run can resume at this step."""

    exit_code = 143


def out_of_memory(error: BaseException) -> str | None:
    """Returns what is short if the error is about memory, of a GPU or of the CPU; else None."""
    text = str(error)
    # torch.OutOfMemoryError is a RuntimeError; other shortages have no class of their own.
    is_said = isinstance(error, RuntimeError) and re.search(SHORTAGE, text)
    is_refused = isinstance(error, OSError) and error.errno == errno.ENOMEM
    if not (is_said or is_refused or isinstance(error, MemoryError)):
        return None
    # torch says much more, of fragments and of its settings.
    requested = re.search(r"ried to allocate ([\d.]+ \w+)", text)
    return f"out of memory{f' ({requested[1]} requested)' if requested else ''}"


@contextmanager
def exit_at_once() -> Iterator[None]:
    """Ends a process that fails without Python's clean-up at exit, where that would do harm.

    In a rank of `torchrun` vLLM and NCCL use it to end process groups, which waits for ranks that
    wait for this one. Of a sleeping engine it frees memory that is not mapped, and may abort.
    """
    try:
        yield
    except BaseException as error:
        code = error.code if isinstance(error, SystemExit) else EXIT_UNEXPECTED
        is_harmful = "RANK" in os.environ or has_sleeping_engine
        if not is_harmful or not isinstance(code, int) or not code:
            raise
        if not isinstance(error, SystemExit):
            traceback.print_exception(error)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def escape_control_chars(text: str) -> str:
    r"""One line that is safe to print: escape sequences, new lines and marks that change the
    reading direction are spelled out.

    >>> escape_control_chars("a\x1b[2J\nb\u202e")
    'a\\x1b[2J\\nb\\u202e'
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


@contextmanager
def in_one_line(values: Callable[[], Mapping[str, Any]] = dict) -> Iterator[None]:
    """Ends the process with a line and an exit code where a user can help; any other error is ours
    and stays a traceback.

    `values` are what was typed, by key: a message names the key that a path comes from. A stream
    that cannot show a character, as in a locale of ASCII, shows ? instead.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        try:
            yield
        except SystemExit:
            _flush()
            raise
        _flush()
    except ConfigError as error:
        _end([str(error)], EXIT_USAGE)
    except Fault as fault:
        if fault.exit_code == EXIT_UNEXPECTED:
            traceback.print_exception(fault)
        _end([str(fault), *_notes(fault)], fault.exit_code)
    except BrokenPipeError:
        closed = _closed_streams()
        if not closed:
            raise  # another pipe: of an engine or a worker that died
        for stream in closed:  # otherwise Python complains when it flushes what is left
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        raise SystemExit(EXIT_CLOSED_PIPE) from None
    except OSError as error:
        where, notes = error.filename or error.strerror, _notes(error)
        if error.errno in DISK_IS_FULL:
            remedy = "make room, and the same command continues where this left off"
            _end([f"the disk is full ({where}): {remedy}", *notes], EXIT_DISK)
        if not isinstance(error.filename, str | bytes):  # of no file: a socket, a process
            raise
        if os.path.abspath(os.fsdecode(error.filename)).startswith(sys.prefix):
            raise  # Python's own files: the installation is broken
        what = f"{_named(os.fsdecode(error.filename), values())} cannot be used ({error.strerror})"
        line = f"{what}: give another, or make it accessible"
        _end([line, *notes], EXIT_DISK if notes else EXIT_USAGE)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second one ends it at once
        line = "interrupted: the same command continues where this left off"
        _end([line], EXIT_INTERRUPTED)


def _closed_streams() -> list[int]:
    """Those of stdout and stderr that are pipes without a reader."""
    poll = select.poll()
    for descriptor in (1, 2):
        poll.register(descriptor, 0)
    return [descriptor for descriptor, event in poll.poll(0) if event & select.POLLERR]


def _flush() -> None:
    """What is left is written here, where a closed pipe is seen, and not at Python's end."""
    if sys.stdout is not None:
        sys.stdout.flush()


def _named(path: str, values: Mapping[str, Any]) -> str:
    """The path after the key whose value it is, or lies in."""
    paths = {key: value for key, value in values.items() if isinstance(value, str) and value}
    for key, value in sorted(paths.items(), key=lambda pair: -len(pair[1])):
        if os.path.join(os.path.abspath(path), "").startswith(
            os.path.join(os.path.abspath(value), "")
        ):
            return f"{key}={value}" if path == value else f"{key}={value}: {path}"
    return path


def _notes(error: BaseException) -> Sequence[str]:
    """What a run that had begun adds: how to go on."""
    return getattr(error, "__notes__", [])


def _end(lines: Sequence[str], code: int) -> NoReturn:
    if code == EXIT_USAGE and os.environ.get("LOCAL_RANK", "0") != "0":
        # Every rank of torchrun finds the same mistake. The node's first rank prints it and exits,
        # and torchrun ends the others. A rank that is still here after the wait found it alone.
        time.sleep(WAIT_FOR_FIRST_RANK_SECONDS)
    sys.stderr.write("".join(f"{escape_control_chars(line)}\n" for line in lines))
    raise SystemExit(code)

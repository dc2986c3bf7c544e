"""What a user can help ends with one line and a code; an error of ours stays a trace."""

import errno
import os
import re
import signal
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from twogrpo import errors
from twogrpo.errors import ConfigError, Fault, in_one_line, out_of_memory


def ended(error: BaseException, capsys, **values: str) -> tuple[int | str | None, list[str]]:
    """The exit code and the lines that the error ends with."""
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(SystemExit) as stopped, in_one_line(lambda: values):
            raise error
    finally:
        signal.signal(signal.SIGINT, before)
    return stopped.value.code, capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    "number",
    [errno.EACCES, errno.ENOENT, errno.ENAMETOOLONG, errno.EISDIR, errno.ELOOP, errno.EROFS],
)
def test_a_path_that_the_system_refuses_is_a_line_with_its_key(number, capsys):
    error = OSError(number, os.strerror(number), "/data/run/metrics.jsonl")
    code, [line] = ended(error, capsys, output_dir="/data/run", runs_dir="/data")
    assert code == 2
    assert line.startswith("output_dir=/data/run: /data/run/metrics.jsonl cannot be used")
    assert os.strerror(number) in line and "give another" in line


def test_a_path_that_fails_during_a_run_says_how_to_go_on(capsys):
    error = PermissionError(errno.EACCES, "denied", "run/x")
    error.add_note("To resume: …")
    assert ended(error, capsys)[0] == 74
    error = OSError(errno.ENOSPC, "no space")
    error.add_note("To resume: …")
    code, [said, note] = ended(error, capsys)
    assert (code, note) == (74, "To resume: …") and "disk is full" in said


def test_the_broken_pipe_of_an_engine_is_not_that_of_the_terminal():
    with pytest.raises(BrokenPipeError), in_one_line():
        raise BrokenPipeError(errno.EPIPE, "of a worker")


def test_a_mistake_an_interruption_and_a_fault_are_lines(capsys):
    fault = Fault("a fault")
    fault.exit_code = 76
    assert ended(ConfigError("a=1\x1b[2J: use 2"), capsys) == (2, [r"a=1\x1b[2J: use 2"])
    assert ended(KeyboardInterrupt(), capsys)[0] == 130
    assert ended(fault, capsys) == (76, ["a fault"])


@pytest.mark.parametrize(
    "error",
    [ValueError("max() arg is an empty sequence"), KeyError("x"), OSError("of no file"),
     FileNotFoundError(errno.ENOENT, "gone", f"{sys.prefix}/lib/a.ttf"),
     ConnectionResetError(errno.ECONNRESET, "reset"), RuntimeError("shapes do not fit")],
)  # fmt: skip
def test_an_error_of_ours_stays_a_trace(error):
    with pytest.raises(type(error)) as raised, in_one_line():
        raise error
    assert raised.value is error


def test_a_second_interruption_ends_at_once_without_a_trace():
    program = (
        "import os, signal\n"
        "from twogrpo.errors import in_one_line\n"
        "try:\n"
        "    with in_one_line(): raise KeyboardInterrupt\n"
        "finally: os.kill(os.getpid(), signal.SIGINT)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGINT
    assert len(done.stderr.splitlines()) == 1 and "interrupted" in done.stderr


def test_the_exit_codes_of_the_docstring_are_those_of_the_constants():
    named = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    faults = {kind for kind in vars(errors).values() if isinstance(kind, type)}
    named |= {kind.exit_code for kind in faults if issubclass(kind, errors.Fault)}
    said = {int(code) for code in re.findall(r"^    (\d+) ", errors.__doc__, flags=re.MULTILINE)}
    assert said - {0} == named


@pytest.mark.parametrize(
    "said",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "CUDA error: out of memory",
        "Triton Error [CUDA]: out of memory",
        "cuMemCreate failed: CUDA_ERROR_OUT_OF_MEMORY",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuSPARSE error: CUSPARSE_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "NCCL error: unhandled cuda error\nLast error:\nCuda failure 2 'out of memory'",
        "NCCL error: unhandled cuda error\nLast error:\nFailed to CUDA calloc async 608 bytes",
        "unable to mmap 1000 bytes from file <x>: Cannot allocate memory (12)",
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),  # of a process that cannot be started
    ],
)
def test_a_lack_of_memory_is_known_whoever_reports_it(said):
    error = said if isinstance(said, OSError) else RuntimeError(said)
    assert str(out_of_memory(error)).startswith("out of memory")


@pytest.mark.parametrize(
    "said",
    [
        "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx`",
        "out of resource: shared memory, Required: 262144, Hardware limit: 232448",
        "NCCL error: unhandled cuda error\nLast error:\nCuda failure 1 'invalid argument'",
        FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "runs/out of memory/run.json"),
    ],
)
def test_another_failure_is_no_lack_of_memory(said):
    assert out_of_memory(said if isinstance(said, OSError) else RuntimeError(said)) is None

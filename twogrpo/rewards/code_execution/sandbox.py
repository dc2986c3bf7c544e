"""Runs an untrusted program in bubblewrap: no network, no user's files, its resources bounded.

A program sees only the interpreter, the system's programs (read-only) and an empty folder in
memory: no homes, data sets, repository or other processes. Nothing of it is ever on the disk.

Bounded for a program as a whole: its time, its processes and threads, what it writes and prints,
its number of files, and the resident memory of its processes together with its sockets' buffers.
The last two and the output are looked at 20 times a second, and may be exceeded for that long. For
each process: address space, processor time, open files. Other memory that belongs to no process is
denied (syscall_filter.py) but for small things of the kernel's, such as locks. Standard library.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import glob
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

from twogrpo.rewards.code_execution.syscall_filter import syscall_filter

_MEBIBYTE = 2**20
_TICK_SECONDS = 0.05
_START_SECONDS = 60.0
_PAUSES = (0.1, 1.0, None)  # seconds after an attempt in which the sandbox could not start
_WMEM_DEFAULT = Path("/proc/sys/net/core/wmem_default")
_LAUNCHER = Path(__file__).with_name("launcher.py").read_text(encoding="utf-8")
# What an interpreter and its libraries may need besides their own folders, where it exists.
_SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store"),
    *("/etc/alternatives", "/etc/ld.so.cache"),
)
Files = dict[str, str]
"""The texts of the files in /code; main.py is run."""


@dataclass(frozen=True)
class Limits:
    """The limits of one program: seconds of wall clock and CPU, bytes, processes, files."""

    wall_seconds: float = 10.0
    cpu_seconds: int = 10
    memory_bytes: int = 1024 * _MEBIBYTE
    disk_bytes: int = 64 * _MEBIBYTE
    output_bytes: int = 4 * _MEBIBYTE
    num_processes: int = 32
    num_files: int = 4096


@dataclass(frozen=True)
class Outcome:
    """How a program ended: `ending` is exited, timed_out, overflowed (printed too much), exceeded
    (memory or files), or not_started: the sandbox failed, the program never ran."""

    ending: str
    exit_code: int
    output: str
    errors: str

    @property
    def succeeded(self) -> bool:
        """Whether the program ended by itself with exit code 0."""
        return self.ending == "exited" and self.exit_code == 0


class _Box(NamedTuple):
    """A running sandbox; its launcher writes to `report`."""

    process: subprocess.Popen[bytes]
    report: IO[bytes]
    errors: IO[bytes]


class Sandbox:
    """Runs Python programs under `limits`; safe to use from several threads.

    Raises ValueError where bubblewrap is missing or does not work.
    """

    def __init__(self, *, limits: Limits | None = None) -> None:
        self.limits, self._filter = limits or Limits(), syscall_filter()
        self._bwrap = shutil.which("bwrap") or ""
        if not self._bwrap:
            raise ValueError(
                "no sandbox works here: bubblewrap is missing (apt-get install bubblewrap)"
            )
        if not glob.glob("/proc/self/task/*/children"):
            raise ValueError("no sandbox works here: the kernel lists no children of processes")
        outcome = self.run({"main.py": "print('ready')"}, wall_seconds=60.0)
        if not outcome.succeeded or outcome.output != "ready\n":
            raise ValueError(
                f"no sandbox works here: allow bubblewrap the namespaces it needs "
                f"({' '.join(outcome.errors.split())[-200:]})"
            )

    def run(self, *programs: Files, stdin: str = "", wall_seconds: float | None = None) -> Outcome:
        """Runs a program in an empty folder; `wall_seconds` takes the limit's place.

        Two programs read what the other prints, and the outcome is that of the second. Where a
        sandbox cannot start, for want of processes say, it is tried again.
        """
        if wall_seconds is None:
            wall_seconds = self.limits.wall_seconds
        for pause in _PAUSES:
            try:
                outcome = self._try(programs, stdin, wall_seconds)
            except OSError as error:
                outcome = Outcome("not_started", -1, "", str(error))
            if outcome.ending != "not_started" or pause is None:
                break
            time.sleep(pause)
        return outcome

    def _try(self, programs: tuple[Files, ...], text: str, wall_seconds: float) -> Outcome:
        with contextlib.ExitStack() as stack:
            source, output = (stack.enter_context(_in_memory(x)) for x in (text, None))
            pair = [stack.enter_context(end) for end in socket.socketpair()]
            ends = [(source.fileno(), output.fileno())]
            if len(programs) == 2:
                ends = [(end.fileno(), end.fileno()) for end in pair]
            boxes = [
                stack.enter_context(self._box(program, stdin=stdin, stdout=stdout))
                for program, (stdin, stdout) in zip(programs, ends, strict=True)
            ]
            for end in pair:
                end.close()  # so that each program sees the other one's end
            ending = self._watch(boxes, output, wall_seconds)
            texts = [
                os.pread(stream.fileno(), self.limits.output_bytes, 0).decode(errors="replace")
                for stream in (output, boxes[-1].errors)
            ]
            return Outcome(ending, boxes[-1].process.returncode, *texts)

    @contextlib.contextmanager
    def _box(self, files: Files, *, stdin: int, stdout: int) -> Iterator[_Box]:
        """Starts a sandbox; kills all its processes in the end.

        Bubblewrap reads its options from a file, so that its command line, which the program can
        read, holds no path of ours.
        """
        python, limits = Path(sys.executable), self.limits
        bounds = {
            "CPU": limits.cpu_seconds, "AS": limits.memory_bytes, "FSIZE": limits.disk_bytes,
            "NPROC": limits.num_processes, "NOFILE": 64, "CORE": 0,
        }  # fmt: skip
        environment = {"PATH": f"{python.parent}:/usr/bin:/bin", "HOME": "/sandbox"}
        environment |= {"LANG": "C.UTF-8", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        with contextlib.ExitStack() as stack:
            contents = [None, None, self._filter, _LAUNCHER, *files.values()]
            streams = [stack.enter_context(_in_memory(content)) for content in contents]
            report, _, rules, *codes = [str(stream.fileno()) for stream in streams]
            options = [*_isolation(limits.disk_bytes), "--seccomp", rules]
            for name, code in zip(["launcher.py", *files], codes, strict=True):
                options += ["--perms", "0644", "--ro-bind-data", code, f"/code/{name}"]
            options += ["--remount-ro", "/dev", "--remount-ro", "/"]  # in memory and unbounded
            streams.append(stack.enter_context(_in_memory("\0".join(options))))
            process = subprocess.Popen(
                [self._bwrap, "--args", str(streams[-1].fileno()), python.name, "-I", "-B",
                 "/code/launcher.py", report, str(_user_id()),
                 *(f"{name}={value}" for name, value in bounds.items())],
                stdin=stdin, stdout=stdout, stderr=streams[1], env=environment, cwd="/",
                pass_fds=[stream.fileno() for stream in streams], start_new_session=True,
            )  # fmt: skip
            try:
                yield _Box(process, *streams[:2])
            finally:
                _kill(process)

    def _watch(self, boxes: list[_Box], output: IO[bytes], wall_seconds: float) -> str:
        """Waits until the last box ends or one reaches a limit, and returns the outcome's ending.

        The time that a program has begins when it does.
        """
        printed = [output, *(box.errors for box in boxes)]
        ending, has_started, end = "", False, time.monotonic() + _START_SECONDS
        with open(os.pidfd_open(boxes[-1].process.pid), "rb", 0) as pidfd:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            while not ending:
                if poll.poll(1000 * _TICK_SECONDS):
                    ending = "exited"
                if not has_started and all(_size(box.report) for box in boxes):
                    has_started, end = True, time.monotonic() + wall_seconds
                if any(_size(stream) > self.limits.output_bytes for stream in printed):
                    ending = "overflowed"
                elif any(self._exceeds(box.process.pid) for box in boxes):
                    ending = "exceeded"
                elif time.monotonic() > end:
                    ending = "timed_out"
        for box in boxes:
            _kill(box.process)
        return ending if has_started else "not_started"

    def _exceeds(self, pid: int) -> bool:
        """Whether the processes below `pid` have too much memory or too many files.

        A socket counts as a full buffer of the default size, which no program may change.
        """
        pids, num_bytes, num_files = [str(pid)], 0, 0
        for parent in pids:
            for children in glob.glob(f"/proc/{parent}/task/*/children"):
                with contextlib.suppress(OSError):  # it has ended
                    pids += Path(children).read_text(encoding="utf-8").split()
        for child in pids[1:]:
            with contextlib.suppress(OSError):
                statm = Path(f"/proc/{child}/statm").read_text(encoding="utf-8")
                num_bytes += int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE")
        with contextlib.suppress(OSError, IndexError):  # its folder is not there yet
            folder = os.statvfs(f"/proc/{pids[1]}/root/sandbox")
            num_files = folder.f_files - folder.f_ffree
            sockets = Path(f"/proc/{pids[1]}/net/sockstat").read_text(encoding="utf-8")
            num_bytes += int(sockets.split()[2]) * socket_bytes()  # "sockets: used 2"
        return num_bytes > self.limits.memory_bytes or num_files > self.limits.num_files


@functools.cache
def socket_bytes(path: Path = _WMEM_DEFAULT) -> int:
    """The default size of a socket's buffer; the kernel's own where a container hides it."""
    try:
        return int(path.read_text(encoding="utf-8"))
    except OSError:
        return 212_992


def _size(stream: IO[bytes]) -> int:
    return os.fstat(stream.fileno()).st_size


def _in_memory(content: str | bytes | None) -> IO[bytes]:
    """A file in memory, empty, or with a content and sealed: no program can make it grow."""
    stream = os.fdopen(os.memfd_create("sandbox", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "w+b")
    if content is not None:
        stream.write(content.encode(errors="replace") if isinstance(content, str) else content)
        stream.seek(0)
        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK
        fcntl.fcntl(stream, fcntl.F_ADD_SEALS, seals)
    return stream


def _user_id() -> int:
    """A user of its own for a program of root: no two grading processes are to share one.

    It is from the upper half of the largest range of ids in this user namespace. An ordinary user's
    programs keep that user's id.
    """
    if os.getuid() != 0:
        return os.getuid()
    lines = Path("/proc/self/uid_map").read_text(encoding="utf-8").splitlines()
    count, first = max((int(n), int(start)) for start, _, n in map(str.split, lines))
    if count < 2:
        raise ValueError("no sandbox works here: root has no second user id to give to programs")
    return first + count - 1 - secrets.randbelow(count // 2)


def _isolation(disk_bytes: int) -> list[str]:
    """Returns bubblewrap's options.

    Root keeps its user namespace, so that folders which only root may enter can be shown from
    within, and the two rights by which the launcher becomes another user.
    """
    visible = _visible()
    links = {name: os.readlink(name) for name in _SYSTEM if os.path.islink(name)}
    # Bubblewrap would make them for their owner only.
    parents = sorted({str(parent) for path in visible for parent in Path(path).parents} - {"/"})
    kept = ("--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID")
    return [
        *("--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"),
        *("--unshare-cgroup-try", "--die-with-parent", "--new-session"),
        *(kept if os.getuid() == 0 else ("--unshare-user",)),
        *(word for path in [*parents, "/code"] for word in ("--perms", "0755", "--dir", path)),
        *(word for path in visible for word in ("--ro-bind", path, path)),
        *(word for path, target in links.items() for word in ("--symlink", target, path)),
        # A shared mapping of /dev/zero would be memory that belongs to no process.
        *("--dev", "/dev", "--ro-bind", "/dev/null", "/dev/zero", "--proc", "/proc"),
        *("--perms", "0777", "--size", str(disk_bytes), "--tmpfs", "/sandbox"),
        *("--chdir", "/sandbox"),
    ]


def _visible() -> list[str]:
    """Returns the files and folders that every program needs to run, none within another.

    They are given by the interpreter's names for them and by their real paths. None is or contains
    a home: no sandbox works for an interpreter directly in such a folder.
    """
    names = {sys.prefix, sys.base_prefix, str(Path(os.path.realpath(sys.executable)).parents[1])}
    names |= {os.path.realpath(name) for name in names}
    names |= {name for name in _SYSTEM if os.path.exists(name) and not os.path.islink(name)}
    home = Path(os.path.realpath(Path.home()))
    places = {Path(name) for name in names} - {home, *home.parents, Path("/")}
    return sorted(str(place) for place in places if not places & set(place.parents))


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kills bubblewrap, and with it every process of its namespace, unless it has ended."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

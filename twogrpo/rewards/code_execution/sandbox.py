"""Runs an untrusted program in bubblewrap: no network, no user's files, all resources bounded.

A program sees only the interpreter, the system's programs (read-only) and its own folder: no homes,
data sets, repository or other processes. This file needs only the standard library.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_USER_IDS = itertools.cycle(range(61_000, 64_000))
_MEBIBYTE = 2**20
# What an interpreter and its libraries may need besides their own folders, where it exists.
_SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store"),
    *("/etc/alternatives", "/etc/ld.so.cache"),
)
# Runs inside, before the program. The bound on processes holds per user and not for root, so each
# program of root becomes a user of its own, which also gives up root's rights.
_LAUNCHER = """\
import json, os, resource, sys
user_id, limits, command = json.loads(sys.argv[1])
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(user_id)
    os.setuid(user_id)
for name, value in limits.items():
    resource.setrlimit(getattr(resource, "RLIMIT_" + name), (value, value))
os.execv(command[0], command)
"""


@dataclass(frozen=True)
class Limits:
    """The limits of one program: seconds of wall clock and CPU, bytes, number of processes."""

    wall_seconds: float = 10.0
    cpu_seconds: int = 10
    memory_bytes: int = 1024 * _MEBIBYTE
    disk_bytes: int = 64 * _MEBIBYTE
    output_bytes: int = 4 * _MEBIBYTE
    num_processes: int = 32


@dataclass(frozen=True)
class Outcome:
    """How a program ended: `ending` is exited, timed_out or overflowed (printed too much)."""

    ending: str
    exit_code: int
    output: str
    errors: str

    @property
    def succeeded(self) -> bool:
        """Whether the program ended by itself with exit code 0."""
        return self.ending == "exited" and self.exit_code == 0


class Sandbox:
    """Runs Python programs under `limits`; safe to use from several threads.

    Raises ValueError where bubblewrap is missing or does not work.
    """

    def __init__(self, *, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._bwrap = shutil.which("bwrap") or ""
        if not self._bwrap:
            raise ValueError(
                "no sandbox works here: bubblewrap is missing (apt-get install bubblewrap)"
            )
        outcome = self.run({"main.py": "print('ready')"}, wall_seconds=60.0)
        if not outcome.succeeded or outcome.output != "ready\n":
            raise ValueError(
                f"no sandbox works here: allow bubblewrap the namespaces it needs "
                f"({' '.join(outcome.errors.split())[-200:]})"
            )

    def run(
        self, files: dict[str, str], *, stdin: str = "", wall_seconds: float | None = None
    ) -> Outcome:
        """Runs main.py of `files` in a new folder; `wall_seconds` takes the limit's place."""
        if wall_seconds is None:
            wall_seconds = self.limits.wall_seconds
        with tempfile.TemporaryDirectory(prefix="sandbox-") as name:
            source, folder = Path(name), Path(name, "work")
            folder.mkdir()
            source.chmod(0o755)  # another user reads it, whatever the umask
            for file, text in files.items():
                (source / file).write_text(text, encoding="utf-8", errors="replace")
                (source / file).chmod(0o644)
            environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "LANG": "C.UTF-8"}
            environment |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
            with subprocess.Popen(
                [self._bwrap, *_isolation(source, folder, self.limits.disk_bytes),
                 sys.executable, "-I", "-S", "-c", _LAUNCHER, _orders(source, self.limits)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                start_new_session=True, env=environment, cwd="/",
            ) as process:  # fmt: skip
                return _watch(process, stdin, self.limits.output_bytes, wall_seconds)


def run_all(sandbox: Sandbox, files: dict[str, str], stdins: Sequence[str]) -> list[Outcome]:
    """Runs once per input, within one wall-clock limit; stops at the first failure."""
    outcomes: list[Outcome] = []
    end = time.monotonic() + sandbox.limits.wall_seconds
    for stdin in stdins:
        left = end - time.monotonic()
        if left <= 0:
            outcomes.append(Outcome("timed_out", -1, "", ""))
        else:
            outcomes.append(sandbox.run(files, stdin=stdin, wall_seconds=left))
        if not outcomes[-1].succeeded:
            break
    return outcomes


def _orders(source: Path, limits: Limits) -> str:
    """Returns what the launcher reads: a user, the kernel's limits and the program's command."""
    bounds = {
        "CPU": limits.cpu_seconds,
        "AS": limits.memory_bytes,
        "FSIZE": limits.disk_bytes,
        "NPROC": limits.num_processes,
        "NOFILE": 64,
        "CORE": 0,
    }
    command = [sys.executable, "-I", "-B", str(source / "main.py")]
    return json.dumps([next(_USER_IDS), bounds, command])


def _isolation(source: Path, folder: Path, disk_bytes: int) -> list[str]:
    """Returns bubblewrap's options.

    Root keeps its user namespace, so that folders which only root may enter can be shown from
    within, and the two rights by which the launcher becomes another user.
    """
    visible = _visible(source)
    links = {name: os.readlink(name) for name in _SYSTEM if os.path.islink(name)}
    # Bubblewrap would make them for their owner only.
    parents = sorted({str(parent) for path in visible for parent in Path(path).parents} - {"/"})
    kept = ("--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID")
    return [
        *("--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"),
        *("--unshare-cgroup-try", "--die-with-parent", "--new-session"),
        *(kept if os.getuid() == 0 else ("--unshare-user",)),
        *(word for path in parents for word in ("--perms", "0755", "--dir", path)),
        *(word for path in visible for word in ("--ro-bind", path, path)),
        *(word for path, target in links.items() for word in ("--symlink", target, path)),
        *("--dev", "/dev", "--proc", "/proc", "--perms", "0777"),
        *("--size", str(disk_bytes), "--tmpfs", str(folder), "--chdir", str(folder)),
        *("--remount-ro", "/dev", "--remount-ro", "/"),  # both are in memory and unbounded
    ]


def _visible(source: Path) -> list[str]:
    """Returns the files and folders that the program needs to run, none within another.

    They are given by the interpreter's names for them and by their real paths. None is or contains
    a home: no sandbox works for an interpreter directly in such a folder.
    """
    names = {sys.prefix, sys.base_prefix, str(Path(os.path.realpath(sys.executable)).parents[1])}
    names |= {os.path.realpath(name) for name in names}
    names |= {name for name in _SYSTEM if os.path.exists(name) and not os.path.islink(name)}
    home = Path(os.path.realpath(Path.home()))
    places = {Path(name) for name in names} - {home, *home.parents, Path("/")}
    outermost = [place for place in places if not places & set(place.parents)]
    return sorted(map(str, [*outermost, source]))


def _watch(
    process: subprocess.Popen[bytes], stdin: str, output_bytes: int, wall_seconds: float
) -> Outcome:
    """Feeds and drains a program until it ends, prints too much or reaches its time limit."""
    assert process.stdin and process.stdout and process.stderr
    overflow = threading.Event()

    def drain(pipe: IO[bytes], kept: bytearray) -> None:
        while chunk := os.read(pipe.fileno(), 65536):
            if len(kept) + len(chunk) > output_bytes:
                overflow.set()
                _kill(process)
                return
            kept += chunk

    output, errors = bytearray(), bytearray()
    threads = [
        threading.Thread(target=target, args=arguments, daemon=True)
        for target, arguments in (
            (_feed, (process.stdin, stdin)),
            (drain, (process.stdout, output)),
            (drain, (process.stderr, errors)),
        )
    ]
    for thread in threads:
        thread.start()
    ending = "exited"
    try:
        process.wait(wall_seconds)
    except subprocess.TimeoutExpired:
        ending = "timed_out"
    _kill(process)
    for thread in threads:
        thread.join()
    if overflow.is_set():
        ending = "overflowed"
    texts = (kept.decode(errors="replace") for kept in (output, errors))
    return Outcome(ending, process.returncode, *texts)


def _feed(pipe: IO[bytes], text: str) -> None:
    with contextlib.suppress(OSError), pipe:  # the program may end without reading its input
        pipe.write(text.encode(errors="replace"))


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kills bubblewrap, and with it every process of its namespace."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()

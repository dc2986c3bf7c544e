"""Runs an untrusted program without network or the user's files, with all resources bounded.

It uses bubblewrap where installed, else our own namespaces where the kernel allows them; plain
limits (process group, rlimits, another user) must be allowed explicitly. `method` says which is in
use. Under the first two a program sees only the interpreter, the system's programs (read-only) and
its own folder: no homes, data sets, repository or other processes.
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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

METHODS = ("bubblewrap", "namespaces", "rlimits")
_LAUNCHER = Path(__file__).with_name("sandbox_launcher.py")
_USER_IDS = itertools.cycle(range(61_000, 64_000))
_MEBIBYTE = 2**20
# What an interpreter and its libraries may need besides their own folders, where it exists.
_SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store"),
    *("/etc/alternatives", "/etc/ld.so.cache"),
)


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

    Raises ValueError if this machine does not offer the requested isolation.
    """

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        method: str | None = None,
        allow_rlimits_only: bool = False,
    ) -> None:
        self.limits = limits or Limits()
        self.method = _available(method, self.limits, allow_rlimits_only=allow_rlimits_only)

    def run(self, files: dict[str, str], *, stdin: str = "", wall_seconds: float = 0.0) -> Outcome:
        """Runs main.py of `files` in a new folder; `wall_seconds` may lower the limit."""
        bound = min(wall_seconds or self.limits.wall_seconds, self.limits.wall_seconds)
        return _run(self.method, self.limits, files, stdin, bound)


def _available(method: str | None, limits: Limits, *, allow_rlimits_only: bool) -> str:
    """Returns the first method that works on this machine."""
    if method is not None and method not in METHODS:
        raise ValueError(f"sandbox method={method} is unknown: use one of {', '.join(METHODS)}")
    wanted = [method] if method else [m for m in METHODS if m != "rlimits" or allow_rlimits_only]
    failures = []
    for candidate in wanted:
        if candidate == "bubblewrap" and shutil.which("bwrap") is None:
            failures.append("bubblewrap: not installed")
            continue
        outcome = _run(candidate, limits, {"main.py": "print('ready')"}, "", 60.0)
        if outcome.succeeded and outcome.output == "ready\n":
            return candidate
        failures.append(f"{candidate}: {outcome.errors.strip()[-200:]}")
    raise ValueError(
        f"no sandbox works here ({'; '.join(failures)}): install bubblewrap or allow user "
        "namespaces"
    )


def _run(
    method: str,
    limits: Limits,
    files: dict[str, str],
    stdin: str,
    wall_seconds: float,
) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="sandbox-") as root:
        folder, source = Path(root, "work"), Path(root, "source")
        Path(root).chmod(0o711)
        folder.mkdir(mode=0o777)
        folder.chmod(0o777)
        source.mkdir()
        source.chmod(0o755)  # another user reads it, whatever the umask
        for name, text in files.items():
            (source / name).write_text(text, encoding="utf-8", errors="replace")
            (source / name).chmod(0o644)
        settings = _settings(method, limits, folder, source)
        with subprocess.Popen(
            [sys.executable, "-I", str(_LAUNCHER), json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={},
            cwd="/",
        ) as process:
            return _watch(process, stdin, limits, wall_seconds)


def _settings(method: str, limits: Limits, folder: Path, source: Path) -> dict[str, object]:
    program = [sys.executable, "-I", "-B", str(source / "main.py")]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "LANG": "C.UTF-8"}
    environment |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    visible, links = _visible(source), _links()
    return {
        "method": method,
        "command": [*_bubblewrap(visible, links, folder, limits.disk_bytes), *program]
        if method == "bubblewrap"
        else program,
        "environment": environment,
        "folder": str(folder),
        "visible": visible,
        "links": links,
        "disk_bytes": limits.disk_bytes,
        "user_id": next(_USER_IDS),
        "limits": {
            "CPU": limits.cpu_seconds,
            "AS": limits.memory_bytes,
            "FSIZE": limits.disk_bytes,
            "NPROC": limits.num_processes,
            "NOFILE": 64,
            "CORE": 0,
        },
    }


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


def _links() -> dict[str, str]:
    """Returns the system's folders that are links (/bin -> usr/bin)."""
    return {name: os.readlink(name) for name in _SYSTEM if os.path.islink(name)}


def _bubblewrap(
    visible: Sequence[str], links: Mapping[str, str], folder: Path, disk_bytes: int
) -> list[str]:
    return [
        shutil.which("bwrap") or "bwrap",
        *("--unshare-all", "--die-with-parent", "--new-session"),
        *(word for path in visible for word in ("--ro-bind", path, path)),
        *(word for path, target in links.items() for word in ("--symlink", target, path)),
        *("--dev", "/dev", "--proc", "/proc"),
        *("--size", str(disk_bytes), "--tmpfs", str(folder), "--chdir", str(folder)),
        *("--remount-ro", "/dev", "--remount-ro", "/"),  # both are in memory and unbounded
    ]


def _watch(
    process: subprocess.Popen[bytes], stdin: str, limits: Limits, wall_seconds: float
) -> Outcome:
    """Feeds and drains a program until it ends, prints too much or reaches its time limit."""
    assert process.stdin and process.stdout and process.stderr
    overflow = threading.Event()
    output, errors = bytearray(), bytearray()
    threads = [
        threading.Thread(target=_feed, args=(process.stdin, stdin), daemon=True),
        *(
            threading.Thread(
                target=_drain, args=(pipe, kept, limits.output_bytes, overflow, process)
            )
            for pipe, kept in ((process.stdout, output), (process.stderr, errors))
        ),
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
    return Outcome(
        ending, process.returncode, output.decode(errors="replace"), errors.decode(errors="replace")
    )


def _feed(pipe: IO[bytes], text: str) -> None:
    with contextlib.suppress(OSError):  # the program may end without reading its input
        pipe.write(text.encode(errors="replace"))
    with contextlib.suppress(OSError):
        pipe.close()


def _drain(
    pipe: IO[bytes],
    kept: bytearray,
    bound: int,
    overflow: threading.Event,
    process: subprocess.Popen[bytes],
) -> None:
    while chunk := os.read(pipe.fileno(), 65536):
        if len(kept) + len(chunk) > bound:
            overflow.set()
            _kill(process)
            return
        kept += chunk


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kills the process group, and with it every process of the namespace."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


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

"""Runs one program under its limits; a script of its own that sandbox.py starts.

    python -I sandbox_launcher.py '{"method": "namespaces", "command": […], …}'

It uses only the standard library. It cuts off network, processes and the file system (namespaces;
bubblewrap does this itself), gives up root, sets the limits, starts the program and returns its
exit code. When the launcher ends, so does everything it started: the kernel kills a process
namespace with its first process.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import struct
import sys
from typing import Any, NoReturn

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000
_CLONE_ALL = _CLONE_NEWNS | 0x20000000 | 0x40000000 | 0x08000000 | 0x04000000
"""New mount, process, network, IPC and host name namespaces (linux/sched.h)."""
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 1 << 12, 1 << 14, 1 << 18
_SYS_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE = 442, -100, 0x8000
_MOUNT_ATTR_RDONLY, _MOUNT_ATTR_NOSUID = 1, 2
_MNT_DETACH = 2
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


def main() -> int:
    """Returns the program's exit code; 128 + n if signal n ended it."""
    settings = json.loads(sys.argv[1])
    _die_with_parent()
    if settings["method"] == "namespaces":
        return _in_namespaces(settings)
    if os.getuid() == 0 and settings["method"] == "bubblewrap":
        _check(_LIBC.unshare(_CLONE_NEWNS), "unshare")
        _expose([*settings["visible"], settings["folder"]])
    return _become(settings)


def _become(settings: dict[str, Any]) -> NoReturn:
    """Replaces this process by the program, or by bubblewrap, without root's rights."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(settings["user_id"])  # a user of its own: the bound on processes
        os.setuid(settings["user_id"])  # holds per user, and not for root
        _die_with_parent()  # the change of user cleared it
    _check(_LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
    for name, value in settings["limits"].items():
        kind = getattr(resource, f"RLIMIT_{name}")
        resource.setrlimit(kind, (value, value))
    os.chdir(settings["folder"])
    os.execve(settings["command"][0], settings["command"], settings["environment"])


def _in_namespaces(settings: dict[str, Any]) -> int:
    user, group = os.getuid(), os.getgid()
    _check(_LIBC.unshare(_CLONE_ALL | (_CLONE_NEWUSER if user else 0)), "unshare")
    if user:
        for file, line in (
            ("setgroups", "deny"),
            ("uid_map", f"{user} {user} 1"),
            ("gid_map", f"{group} {group} 1"),
        ):
            with open(f"/proc/self/{file}", "w") as stream:
                stream.write(line)
    first = os.fork()
    if first == 0:
        _die_with_parent()
        _mount(settings, owner=user or settings["user_id"])
        os._exit(_first_process(settings))
    return _exit_code(os.waitpid(first, 0)[1])


def _mount(settings: dict[str, Any], *, owner: int) -> None:
    """Mounts a file system of what is visible, read-only, and one bounded folder in memory."""
    _check(_LIBC.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None), "mount private")
    folder: str = settings["folder"]
    root = folder  # any empty folder will do until it is /
    _mount_tmpfs(root, "size=1m,mode=755")
    for path in (*settings["visible"], *_DEVICES):
        _bind(path, root + path)
    for path, target in settings["links"].items():
        os.makedirs(os.path.dirname(root + path), exist_ok=True)
        os.symlink(target, root + path)
    for path in ("/proc", folder):
        os.makedirs(root + path, exist_ok=True)
    attributes = struct.pack("QQQQ", _MOUNT_ATTR_RDONLY | _MOUNT_ATTR_NOSUID, 0, 0, 0)
    changed = _LIBC.syscall(
        _SYS_MOUNT_SETATTR, _AT_FDCWD, root.encode(), _AT_RECURSIVE, attributes, len(attributes)
    )
    _check(changed, "mount_setattr")
    _mount_tmpfs(root + folder, f"size={settings['disk_bytes']},mode=700,uid={owner}")
    # It shows this process namespace only. Containers refuse it: then /proc stays empty.
    _LIBC.mount(b"proc", f"{root}/proc".encode(), b"proc", _MS_NOSUID | _MS_NODEV, None)
    os.chdir(root)
    _check(_LIBC.pivot_root(b".", b"."), "pivot_root")
    _check(_LIBC.umount2(b".", _MNT_DETACH), "umount")  # the old /, mounted over the new one
    os.chdir("/")


def _bind(source: str, target: str) -> None:
    """Mounts a file or folder, with everything mounted below it, at a second place."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        open(target, "x").close()
    flags = _MS_BIND | _MS_REC
    _check(_LIBC.mount(source.encode(), target.encode(), None, flags, None), f"bind {source}")


def _expose(paths: list[str]) -> None:
    """Makes paths in folders that only root may enter (/root) visible to bubblewrap's user.

    An empty folder with only these paths is mounted over each such folder.
    """
    _check(_LIBC.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None), "mount private")
    handles = {path: os.open(path, os.O_PATH) for path in paths}
    covered = {private for path in paths if (private := _private_ancestor(path))}
    for folder in covered:
        _mount_tmpfs(folder, "size=1m,mode=755")
    for path, handle in handles.items():
        if not os.path.exists(path):
            _bind(f"/proc/self/fd/{handle}", path)
        os.close(handle)


def _private_ancestor(path: str) -> str | None:
    """Returns the first folder on the way to a path that other users may not enter."""
    parts = path.strip("/").split("/")
    for length in range(1, len(parts) + 1):
        folder = "/" + "/".join(parts[:length])
        if os.path.isdir(folder) and not os.stat(folder).st_mode & 0o001:
            return folder
    return None


def _mount_tmpfs(folder: str, options: str) -> None:
    flags = _MS_NOSUID | _MS_NODEV
    _check(_LIBC.mount(b"tmpfs", folder.encode(), b"tmpfs", flags, options.encode()), "mount tmpfs")


def _first_process(settings: dict[str, Any]) -> int:
    """Runs as process 1 of the namespace: starts the program and ends after it, with all others."""
    program = os.fork()
    if program == 0:
        _become(settings)
    while True:
        ended, status = os.wait()  # orphans are reaped here too
        if ended == program:
            return _exit_code(status)


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


if __name__ == "__main__":
    sys.exit(main())

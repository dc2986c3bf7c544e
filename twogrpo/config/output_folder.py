"""The folders that a command writes: each is its own, and one process at a time works there."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import sys
import time
import weakref
from collections.abc import Iterable, Sequence
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path

from twogrpo.errors import DISK_IS_FULL, ConfigError

LOCK = ".twogrpo.lock"
# What flock(2) says where the filesystem has no locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
_MAX_NAME_BYTES = 255
_RETRY_SECONDS = 0.1  # so that another process's look at the lock refuses nobody
_held: weakref.WeakValueDictionary[tuple[int, int], Lock] = weakref.WeakValueDictionary()


class Lock:
    """A locked file. The kernel drops the lock when the process ends, however that happens."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.release = weakref.finalize(self, _release, path, descriptor)

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def check_name(key: str, name: str) -> None:
    """Raises ConfigError for a name that is empty, too long or climbs out of its folder."""
    if not name.strip() or "\0" in name or os.path.normpath(name).split(os.sep)[0] == "..":
        raise ConfigError(f"{key}={name!r} is no name for a folder: give {key}=NAME, without ..")
    if any(len(os.fsencode(part)) > _MAX_NAME_BYTES for part in Path(name).parts):
        raise ConfigError(
            f"{key}={name[:40]}… cannot be written (too long a name): give a shorter one"
        )


def check_output_folder(
    key: str, name: str, *, marks: Sequence[str], own: Iterable[str] = ()
) -> Path:
    """The folder if it may be written: it is new, empty, or has a file that matches one of `marks`.

    Entries that match `own`, as a killed process may leave them, count as nothing.

    Raises:
        ConfigError: the folder is somebody else's, or no folder can be there.
    """
    check_name(key, name)
    folder = Path(name)
    try:
        if not os.path.lexists(folder):
            nearest = next(path for path in folder.absolute().parents if path.exists())
            if not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
                raise PermissionError(errno.EACCES, f"{nearest} cannot be written")
            return folder
        entries = sorted(os.listdir(folder))
        foreign = [e for e in entries if not any(fnmatch(e, pattern) for pattern in (LOCK, *own))]
        is_ours = not foreign or any(any(folder.glob(mark)) for mark in marks)
    except OSError as error:
        raise _unusable(key, name, error) from error
    if not is_ours:
        raise ConfigError(
            f"{key}={name} is not empty and not ours: it holds {foreign[0]} and no {marks[0]}: "
            f"give a new or empty folder, {key}=…"
        )
    return folder


def claim(key: str, folder: Path, *, beside: bool = False) -> Lock:
    """Locks the folder for this process until the returned object is gone or released.

    The file with the lock is in the folder, which is created if need be, or `beside` one that is
    replaced as a whole.

    Raises:
        ConfigError: another process is at work there, or nothing can be written there.
    """
    path = (folder.with_name(f".{folder.name}{LOCK}") if beside else folder / LOCK).absolute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for is_last in (False, True):
            if found := _try_lock(key, path, folder):
                return found
            time.sleep(0 if is_last else _RETRY_SECONDS)
    except OSError as error:
        if error.errno in DISK_IS_FULL:
            raise
        raise _unusable(key, str(folder), error) from error
    raise _busy(key, folder, path)


def refuse_busy(key: str, folder: Path) -> None:
    """Raises ConfigError if another process has claimed the folder; writes nothing."""
    path = folder / LOCK
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:  # nobody is there; who may not read it cannot write there either
        return
    try:
        if not _ours(descriptor):  # shared, so that two looks do not refuse each other
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise _busy(key, folder, path) from error
    except OSError:  # no locks here, which `claim` says
        return
    finally:
        os.close(descriptor)


def _try_lock(key: str, path: Path, folder: Path) -> Lock | None:
    """The lock, shared within this process; None if another process holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    if held := _ours(descriptor):
        os.close(descriptor)
        return held
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                return None
            raise
        sys.stderr.write(
            f"WARNING: {key}={folder} is on a filesystem without locks ({error.strerror}): let no "
            "second process work there\n"
        )
    if os.fstat(descriptor).st_nlink == 0:  # its last holder has just removed it
        os.close(descriptor)
        return _try_lock(key, path, folder)
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()} {socket.gethostname()}".encode(), 0)
    claimed = _held[_inode(descriptor)] = Lock(path, descriptor)
    return claimed


def _release(path: Path, descriptor: int) -> None:
    with suppress(OSError):
        if os.path.samestat(os.lstat(path), os.fstat(descriptor)):  # else the folder was moved,
            path.unlink()  # or the file deleted, and what is there now is another's
    os.close(descriptor)


def _ours(descriptor: int) -> Lock | None:
    """The lock that this process holds on the file; inodes of released ones are used again."""
    held = _held.get(_inode(descriptor))
    return held if held and held.release.alive else None


def _inode(descriptor: int) -> tuple[int, int]:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino


def _busy(key: str, folder: Path, path: Path) -> ConfigError:
    try:
        pid, _, host = path.read_text(encoding="utf-8", errors="replace").partition(" ")
    except OSError:
        pid, host = "", ""
    there = f" on {host}" if host not in ("", socket.gethostname()) else ""
    return ConfigError(
        f"{key}={folder}: another process (pid {pid or 'unknown'}{there}) is at work there: wait "
        "until it ends, or end it"
    )


def _unusable(key: str, name: str, error: OSError) -> ConfigError:
    return ConfigError(
        f"{key}={name} cannot be written ({error.strerror or error}): give a folder that can, "
        f"{key}=…"
    )

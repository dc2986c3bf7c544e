"""What the files that a run read held: edited under the same name, they make another run."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from twogrpo.errors import ConfigError

# By the key that names them and then by name: size in bytes, time of the last change, sha256.
Inputs = dict[str, dict[str, dict[str, Any]]]
# By key: files, or by name the hashes of what has no file.
Files = Mapping[str, Sequence[Path] | Mapping[str, str]]
# A larger file is not hashed again while its size and time of change are those of the record:
# sha256 takes about a second a GB.
ALWAYS_HASHED_BYTES = 2**26


def read_inputs(files: Files, known: Inputs) -> Inputs:
    """What is in the files now; `known` is what the record has of them.

    Raises:
        ConfigError: a file cannot be read.
    """
    return {
        key: {name: {"sha256": value} for name, value in of.items()}
        if isinstance(of, Mapping)
        else {path.name: _read(key, path, known.get(key, {}).get(path.name, {})) for path in of}
        for key, of in files.items()
    }


def digests(inputs: Inputs) -> dict[str, dict[str, str]]:
    """The hashes alone, which do not depend on the machine."""
    return {key: {name: f["sha256"] for name, f in of.items()} for key, of in inputs.items()}


def are_inputs(value: Any) -> bool:
    """Whether a value of a `run.json` is what `read_inputs` gives."""
    parts = [file for of in _values(value) for file in _values(of)]
    return isinstance(value, dict) and all(
        isinstance(file, dict) and isinstance(file.get("sha256"), str) for file in parts
    )


def first_change(recorded: Inputs, current: Inputs) -> str | None:
    """The key and name of the first file that is not as recorded; None if there is none.

    Files that are gone altogether changed nothing that was made of them.
    """
    before, now = digests(recorded), digests(current)
    for key, hashes in now.items():
        for name in sorted({*hashes, *before.get(key, {})}):
            if hashes.get(name) != before.get(key, {}).get(name):
                return f"{key}: {name}"
    return None


def check_plain(path: Path) -> None:
    """Raises OSError for what is there but no plain file: to read a FIFO would never end."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is no plain file")


def _values(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else [value]


def _read(key: str, path: Path, known: Mapping[str, Any]) -> dict[str, Any]:
    try:
        check_plain(path)
        found = path.stat()
        about = {"bytes": found.st_size, "mtime_ns": found.st_mtime_ns}
        if (
            found.st_size > ALWAYS_HASHED_BYTES
            and {**about, "sha256": known.get("sha256")} == known
        ):
            return dict(known)
        return about | {"sha256": sha256(path, **about)}
    except OSError as error:
        raise ConfigError(
            f"{key}: {path} cannot be read ({error.strerror}): make it readable or give another"
        ) from error


@cache  # a process asks more than once: before the model is loaded, and when the record is opened
def sha256(path: Path, bytes: int, mtime_ns: int) -> str:
    """The hash of a file of that size and time of change."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

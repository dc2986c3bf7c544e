"""Publishes a folder atomically, flushed and renamed, with a manifest of its files' hashes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

FILE = "manifest.json"


def sums_of(files: Iterable[Path]) -> dict[str, dict[str, int | str]]:
    """The size in bytes and sha256 of each file, by name."""
    sums: dict[str, dict[str, int | str]] = {}
    for path in files:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        sums[path.name] = {"bytes": path.stat().st_size, "sha256": digest}
    return sums


def publish(temporary: Path, final: Path, sums: dict[str, dict[str, int | str]]) -> None:
    """Writes the manifest into `temporary`, flushes all of it to disk and renames it to `final`."""
    (temporary / FILE).write_text(
        json.dumps({"files": sums}, indent=1, sort_keys=True) + "\n", encoding="utf-8"
    )
    for path in [*temporary.iterdir(), temporary]:
        flush(path)
    if final.exists():
        shutil.rmtree(final)
    temporary.replace(final)
    flush(final.parent)


def listed(folder: Path) -> dict[str, dict[str, int | str]]:
    """The sizes and hashes in the manifest.

    Raises:
        ValueError: there is no manifest, or the folder's files are not those it lists.
    """
    try:
        sums: dict[str, dict[str, int | str]] = json.loads((folder / FILE).read_bytes())["files"]
        names = {FILE, *sums}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{FILE} cannot be read ({type(error).__name__})") from error
    odd = names ^ {path.name for path in folder.iterdir()}
    if odd:
        raise ValueError(f"{min(odd)} is missing or is not in {FILE}")
    return sums


def damage(folder: Path, sums: dict[str, dict[str, int | str]]) -> list[str]:
    """What is wrong with those files, a line each; empty if they are intact."""
    found = []
    for name, expected in sums.items():
        try:
            actual = sums_of([folder / name])[name]
        except OSError as error:
            found.append(f"{name} cannot be read ({error.strerror})")
            continue
        if actual != expected:
            found.append(f"{name} is not what was written ({actual}, the manifest has {expected})")
    return found


def flush(path: Path) -> None:
    """Flushes a file or folder from the operating system's cache to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

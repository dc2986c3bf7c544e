"""Checkpoints: tensors as safetensors, all else as JSON; written beside, flushed, renamed, pruned.

A folder `checkpoints/000020` holds the state after 20 generations. Nothing here is a pickle.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor


def save(
    folder: Path, *, generation: int, tensors: dict[str, Tensor], state: dict[str, Any], kept: int
) -> None:
    """Writes `folder/{generation:06d}` and removes all but the newest `kept` checkpoints."""
    final = folder / f"{generation:06d}"
    temporary = folder / f".{generation:06d}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_file({k: v.contiguous() for k, v in tensors.items()}, temporary / "tensors.safetensors")
    (temporary / "state.json").write_text(json.dumps(state))
    for path in [*temporary.iterdir(), temporary]:
        _flush_to_disk(path)
    shutil.rmtree(final, ignore_errors=True)
    temporary.replace(final)
    _flush_to_disk(folder)
    for old in _checkpoints(folder)[:-kept]:
        shutil.rmtree(old)


def load_latest(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and state of the newest checkpoint; None where there is none."""
    checkpoints = _checkpoints(folder)
    if not checkpoints:
        return None
    newest = checkpoints[-1]
    return load_file(newest / "tensors.safetensors"), json.loads(
        (newest / "state.json").read_text()
    )


def _checkpoints(folder: Path) -> list[Path]:
    """Oldest first; unfinished ones begin with a dot and are passed over."""
    return sorted(path for path in folder.glob("[0-9]*") if path.is_dir())


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

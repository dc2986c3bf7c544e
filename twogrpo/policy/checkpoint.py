"""Checkpoints: tensors in shards of safetensors, everything else as JSON, with hashes of all files.

A folder `checkpoints/000020` holds the state after 20 steps. `torch.distributed.checkpoint`
writes one or more shards a rank and reads them back for any other number of ranks. We use its
safetensors storage, because the index of its own storage is a pickle.

A checkpoint is written to a temporary folder, hashed, flushed and renamed: a kill, a full disk or a
lost rank leaves the earlier ones intact.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import warnings
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from safetensors import SafetensorError
from torch import Tensor
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.api import CheckpointException

from twogrpo.distributed.process_group import SINGLE_PROCESS, Ranks
from twogrpo.errors import DISK_IS_FULL, CheckpointFault, escape_control_chars
from twogrpo.policy import checkpoint_manifest

STATE = "state.json"
# While a shard is written, two more copies of it are in memory.
SHARD_BYTES = 2**28


def save(
    folder: Path,
    *,
    step: int,
    tensors: Mapping[str, Tensor],
    state: Mapping[str, Any],
    kept: int,
    ranks: Ranks = SINGLE_PROCESS,
) -> None:
    """Writes `folder/{step:06d}` and removes all but the newest `kept` checkpoints.

    Every rank calls it, with its shard of the same tensors (DTensors) and the same state.

    Raises:
        CheckpointFault: the disk is full or not writable; the earlier checkpoints are intact.
    """
    final = folder / f"{step:06d}"
    temporary = folder / f".{step:06d}.tmp"
    try:
        if ranks.is_first:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            (temporary / STATE).write_text(json.dumps(state), encoding="utf-8")
        ranks.barrier()
        _write_shards(temporary, tensors, ranks)
        # The shards that this rank wrote; the writer counts ranks from 1.
        mine = [*temporary.glob(f"shard-{ranks.rank + 1:05d}-*")]
        mine += [temporary / STATE] * ranks.is_first
        sums = ranks.all_gather(checkpoint_manifest.sums_of(mine))
        if ranks.is_first:
            checkpoint_manifest.publish(temporary, final, dict(ChainMap(*sums)))
            _prune(folder, kept)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise disk_fault(f"checkpoint {final}", error, intact="the earlier ones") from error
    ranks.barrier()


def load_latest(
    folder: Path,
    *,
    into: Mapping[str, Tensor],
    check: Callable[[Path, dict[str, Any]], None] = lambda *_: None,
    ranks: Ranks = SINGLE_PROCESS,
) -> dict[str, Any] | None:
    """Fills the tensors `into` from the newest intact checkpoint and returns its state.

    A damaged one is reported, renamed to `damaged-…`, and the one before it is used. Returns None
    if there is no checkpoint. Every rank calls it, with its shard of the tensors, however many
    ranks saved. `check` gets the checkpoint and its state before anything is loaded, and may refuse
    them.

    Raises:
        CheckpointFault: there are checkpoints, but none is intact.
        ValueError: the checkpoint has other tensors than these.
    """
    damaged: list[Path] = []
    found = ranks.all_gather(_checkpoints(folder))[0]  # as the first rank sees it
    for checkpoint in reversed(found):
        reasons = _damage(checkpoint, ranks)
        if not reasons:
            state = dict(json.loads((checkpoint / STATE).read_bytes()))
            check(checkpoint, state)
            _read_shards(checkpoint, into, ranks)
            _set_aside(damaged, ranks)
            return state
        damaged.append(checkpoint)
        if ranks.is_first:
            sys.stderr.write(
                f"WARNING: {checkpoint} is damaged: {escape_control_chars('; '.join(reasons))}\n"
            )
    if damaged:
        raise CheckpointFault(
            f"{folder} holds {len(damaged)} checkpoints and none is intact: restore one from a "
            "backup, or delete the folder to begin the run again"
        )
    return None


def read_weights(checkpoint: Path) -> dict[str, Tensor]:
    """The weights of one checkpoint, full tensors by parameter name, in this process alone.

    Raises:
        CheckpointFault: it is damaged.
    """
    reasons = _damage(checkpoint, SINGLE_PROCESS)
    if reasons:
        raise CheckpointFault(f"{checkpoint} is damaged ({reasons[0]}): give another")
    tensors = {
        name: torch.empty(stored.size, dtype=stored.properties.dtype)
        for name, stored in _stored(checkpoint).items()
        if name.startswith("weight/")
    }
    with _explained(SINGLE_PROCESS):
        dcp.load(tensors, storage_reader=HuggingFaceStorageReader(str(checkpoint)), no_dist=True)
    return {name.removeprefix("weight/"): tensor for name, tensor in tensors.items()}


def newest(folder: Path) -> Path | None:
    """The last checkpoint written, intact or not; None if there is none."""
    return max(_checkpoints(folder), default=None)


def exists(folder: Path, step: int) -> bool:
    """Whether there is a checkpoint of this step."""
    return (folder / f"{step:06d}").is_dir()


def _write_shards(folder: Path, tensors: Mapping[str, Tensor], ranks: Ranks) -> None:
    file_of, filled, file = {}, 0, 1
    for name, tensor in tensors.items():
        num_bytes = tensor.numel() * tensor.element_size() // ranks.size
        if filled and filled + num_bytes > SHARD_BYTES:
            filled, file = 0, file + 1
        filled += num_bytes
        file_of[name] = file
    writer = HuggingFaceStorageWriter(str(folder), file_of, save_distributed=True)
    packed = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with _explained(ranks):
        dcp.save(packed, storage_writer=writer, no_dist=ranks.size == 1)


def _read_shards(folder: Path, into: Mapping[str, Tensor], ranks: Ranks) -> None:
    stored = _stored(folder)
    there = {name: (tuple(s.size), s.properties.dtype) for name, s in stored.items()}
    here = {name: (tuple(t.shape), t.dtype) for name, t in into.items()}
    if there != here:
        odd = min(name for name in {*there, *here} if there.get(name) != here.get(name))
        raise ValueError(
            f"{folder} is of another model: {odd} is {there.get(odd)} there, {here.get(odd)} here"
        )
    reader = HuggingFaceStorageReader(str(folder))
    with _explained(ranks):
        dcp.load(dict(into), storage_reader=reader, no_dist=ranks.size == 1)


def _stored(folder: Path) -> dict[str, Any]:
    """The size and dtype of every tensor, by name."""
    try:
        return HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    except SafetensorError as error:  # its hashes match: another program wrote it so
        raise ValueError(f"{folder} holds no safetensors ({error}): delete it") from error


@contextmanager
def _explained(ranks: Ranks) -> Iterator[None]:
    """Raises the error of a rank itself; DCP wraps it in a BaseException."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            yield
    except CheckpointException as failure:
        errors = failure.failures
        error, _ = errors.get(ranks.rank) or next(iter(errors.values()))
        raise error from failure


def _damage(checkpoint: Path, ranks: Ranks) -> list[str]:
    """What is wrong with a checkpoint; each rank hashes a share of its files."""
    try:
        sums = checkpoint_manifest.listed(checkpoint)
    except ValueError as error:
        mine = [str(error)] * ranks.is_first
    else:
        names = ranks.shard(sorted(sums))
        mine = checkpoint_manifest.damage(checkpoint, {name: sums[name] for name in names})
    return [reason for part in ranks.all_gather(mine) for reason in part]


def _checkpoints(folder: Path) -> list[Path]:
    """The checkpoints, oldest first; unfinished and damaged ones have other names."""
    return sorted(path for path in folder.glob("[0-9]*") if path.is_dir())


def _set_aside(damaged: list[Path], ranks: Ranks) -> None:
    """Renames damaged checkpoints, so that they are neither overwritten nor counted as kept."""
    ranks.barrier()  # all ranks have read them
    for checkpoint in damaged if ranks.is_first else []:
        aside = checkpoint.with_name(f"damaged-{checkpoint.name}")
        shutil.rmtree(aside, ignore_errors=True)
        checkpoint.replace(aside)
        sys.stderr.write(f"WARNING: it is now {aside}; the run continues at an earlier one\n")


def _prune(folder: Path, kept: int) -> None:
    for old in [*_checkpoints(folder)[:-kept], *folder.glob(".*.tmp")]:
        shutil.rmtree(old)


def disk_fault(what: str, error: OSError | SafetensorError, *, intact: str) -> CheckpointFault:
    """The fault that `what` was not written, with reason and remedy; `intact` is what is left."""
    # safetensors raises its own error, which has the system's error number only in its text.
    found = re.search(r"(?:os error|code:) (\d+)", str(error))
    number = error.errno if isinstance(error, OSError) else int(found[1]) if found else None
    if number in DISK_IS_FULL:
        reason, remedy = "the disk is full", "make room"
    else:
        reason = os.strerror(number) if number else " ".join(str(error).split())
        remedy = "make the folder writable"
    return CheckpointFault(
        f"{what} was not written ({reason}); {intact} are intact: {remedy}, "
        "and the same command continues there"
    )

"""The processes of a run: a single one, or the ranks that `torchrun` started.

Every rank runs the same loop on the same prompts and groups. Expensive work is sharded: each rank
samples, grades and scores its share, and the shares are gathered on all ranks. So the code above
this floor needs no rank, except to decide who writes the record.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor

from twogrpo.config.schema import HardwareConfig
from twogrpo.errors import ConfigError

T = TypeVar("T")
# Longer than any phase in which a rank waits for another; torchrun notices a rank that died.
TIMEOUT = timedelta(hours=2)
# A thread of gloo needs the interpreter's lock to free its last tensor. If it is still waiting when
# the interpreter exits, the process aborts (SIGABRT, once in 70 exits of two ranks on busy cores).
# Sleeping releases the lock.
GLOO_EXIT_SECONDS = 0.2


@dataclass(frozen=True)
class Ranks:
    """This process among all; `is_sharded` if `torchrun` started it, even as the only rank."""

    rank: int
    size: int
    local_rank: int
    is_sharded: bool = False

    @property
    def is_first(self) -> bool:
        """Whether this rank writes the run's record."""
        return self.rank == 0

    def shard(self, items: Sequence[T]) -> list[T]:
        """This rank's share: every `size`-th item."""
        return list(items[self.rank :: self.size])

    def unshard(self, mine: Sequence[T]) -> list[T]:
        """The inverse of `shard`: gathers the shares of all ranks into the original order."""
        shares = self.all_gather(list(mine))
        total = sum(map(len, shares))
        return [shares[place % self.size][place // self.size] for place in range(total)]

    def all_gather(self, mine: T) -> list[T]:
        """The value of every rank, in the order of ranks."""
        if self.size == 1:
            return [mine]
        found: list[T] = [mine] * self.size
        dist.all_gather_object(found, mine)
        return found

    def barrier(self) -> None:
        """Waits until all ranks are here."""
        if self.size > 1:
            dist.barrier()


SINGLE_PROCESS = Ranks(rank=0, size=1, local_rank=0)


def init_process_group(hardware: HardwareConfig) -> Ranks:
    """Joins the process group that `torchrun` names in the environment; without one this process
    is the only rank.

    Raises:
        ConfigError: there are more ranks than GPUs, tensor parallelism does not divide them, or
            they cannot connect.
    """
    is_launched = "RANK" in os.environ
    rank, size, local_rank = (
        int(os.environ[name]) if is_launched else default
        for name, default in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))
    )
    if size % hardware.tensor_parallel_size:
        raise ConfigError(
            f"hardware.tensor_parallel_size={hardware.tensor_parallel_size} does not divide the "
            f"{size} ranks: start a multiple of it, torchrun --nproc-per-node …"
        )
    if not is_launched and hardware.num_gpus > 1:
        raise ConfigError(
            f"hardware.num_gpus={hardware.num_gpus} needs a rank for each: use torchrun "
            f"--nproc-per-node {hardware.num_gpus} scripts/train.py …, or hardware=one_gpu"
        )
    if not is_launched:
        return SINGLE_PROCESS
    if hardware.device == "cuda":
        num_gpus = torch.cuda.device_count()
        if local_rank >= num_gpus:
            raise ConfigError(
                f"torchrun --nproc-per-node is more than the {num_gpus} GPUs of this machine: "
                f"use --nproc-per-node {num_gpus} or hardware=cpu"
            )
        torch.cuda.set_device(local_rank)
    if not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if hardware.device == "cuda" else "gloo"
        try:
            dist.init_process_group(backend, timeout=TIMEOUT)
        except (RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(
                f"the {size} ranks cannot find each other at {os.environ.get('MASTER_ADDR')}:"
                f"{os.environ.get('MASTER_PORT')} ({reason}): give torchrun --standalone or a free "
                "port, --master-port"
            ) from error
    return Ranks(rank, size, local_rank, is_sharded=True)


def rank_zero_first(ranks: Ranks, make: Callable[[], T]) -> T:
    """Returns `make()`, run on the first rank before the others: it may repair what they read."""
    if ranks.is_first:
        made = make()
    ranks.barrier()
    return made if ranks.is_first else make()


def shutdown(ranks: Ranks) -> None:
    """Destroys the process group, unless a closing sampler already has."""
    if not ranks.is_sharded:
        return
    if dist.is_initialized():
        dist.destroy_process_group()
    time.sleep(GLOO_EXIT_SECONDS)


def full_tensor(tensor: Tensor) -> Tensor:
    """Gathers a sharded tensor; all ranks must call it together."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor

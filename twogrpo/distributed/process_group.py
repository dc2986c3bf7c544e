"""The processes of a run: one alone, or those that `torchrun` started.

Every rank runs the same loop on the same prompts and groups. What is dear is shared out: each rank
samples, grades and scores its share, the shares are gathered, and from then on all know all. So
nothing above this floor asks for a rank, but for who writes the record.
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

from twogrpo.config.schema import HardwareConfig
from twogrpo.errors import ConfigError

T = TypeVar("T")
# Longer than any phase in which one rank waits for another; a dead rank is noticed by torchrun.
TIMEOUT = timedelta(hours=2)
# A thread of gloo waits for the interpreter's lock to let go of its last tensor. One that is still
# waiting when the interpreter ends takes the process down (SIGABRT, seen once in 70 endings of two
# ranks on busy cores); asleep, a rank leaves it the lock.
GLOO_LETS_GO_SECONDS = 0.2


@dataclass(frozen=True)
class Ranks:
    """This process among all; `is_sharded` where `torchrun` started it, be it alone."""

    rank: int
    size: int
    local_rank: int
    is_sharded: bool = False

    @property
    def is_first(self) -> bool:
        """Whether this one writes the run's record."""
        return self.rank == 0

    def shard(self, items: Sequence[T]) -> list[T]:
        """This rank's part: every `size`-th item."""
        return list(items[self.rank :: self.size])

    def unshard(self, mine: Sequence[T]) -> list[T]:
        """The items again, from the shares of all ranks, in the order that `shard` found."""
        shares = self.all_gather(list(mine))
        total = sum(map(len, shares))
        return [shares[place % self.size][place // self.size] for place in range(total)]

    def all_gather(self, mine: T) -> list[T]:
        """What every rank gave, by rank."""
        if self.size == 1:
            return [mine]
        found: list[T] = [mine] * self.size
        dist.all_gather_object(found, mine)
        return found

    def barrier(self) -> None:
        """Waits for all."""
        if self.size > 1:
            dist.barrier()


SINGLE_PROCESS = Ranks(rank=0, size=1, local_rank=0)


def init_process_group(hardware: HardwareConfig) -> Ranks:
    """Joins the process group that `torchrun` names in the environment; alone without one.

    Raises:
        ConfigError: more ranks than GPUs, or ranks that tensor parallelism cannot part evenly or
            that cannot find each other.
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
    if not is_launched and (hardware.num_gpus > 1 or hardware.cpu_offload):
        raise ConfigError(
            f"hardware.num_gpus={hardware.num_gpus} hardware.cpu_offload={hardware.cpu_offload} "
            "need ranks: torchrun --nproc-per-node N scripts/train.py …, or use hardware=one_gpu"
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
    """What `make` makes, on the first rank before any other: it may mend what the others read."""
    if ranks.is_first:
        made = make()
    ranks.barrier()
    return made if ranks.is_first else make()


def shutdown(ranks: Ranks) -> None:
    """Destroys the process group, unless a sampler that closed first has done so."""
    if not ranks.is_sharded:
        return
    if dist.is_initialized():
        dist.destroy_process_group()
    time.sleep(GLOO_LETS_GO_SECONDS)

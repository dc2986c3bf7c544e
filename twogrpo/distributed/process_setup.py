"""How a process uses the CPU: its threads, and the memory that it has freed."""

from __future__ import annotations

import ctypes

import torch

from twogrpo.config.schema import HardwareConfig

# <malloc.h>
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def prepare_process(hardware: HardwareConfig) -> None:
    """Before the first tensor is made."""
    torch.set_num_threads(hardware.num_threads)
    if hardware.device == "cpu":
        keep_freed_memory()


def keep_freed_memory() -> bool:
    """Lets the C library keep what is freed, and hand it out again.

    By default glibc gives large blocks back to the system at once, and each pass has its
    activations cleared and mapped anew: a quarter of a step's seconds (LOG.md). The process does
    not shrink after its peak, then. False where the library knows no such thing.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    # −1: never trimmed; 0: no block is a mapping of its own.
    return bool(mallopt(M_TRIM_THRESHOLD, -1) and mallopt(M_MMAP_MAX, 0))

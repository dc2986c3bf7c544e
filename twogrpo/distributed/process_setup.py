"""How a process uses the CPU: its number of threads, and the memory that it has freed."""

from __future__ import annotations

import ctypes

import torch

from twogrpo.config.schema import HardwareConfig

# <malloc.h>
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def prepare_process(hardware: HardwareConfig) -> None:
    """Sets the threads and the memory allocator; call it before the first tensor is created."""
    torch.set_num_threads(hardware.num_threads)
    if hardware.device == "cpu":
        keep_freed_memory()


def keep_freed_memory() -> bool:
    """Makes the C library keep freed memory for reuse.

    By default glibc returns large blocks to the system at once, and every pass has its activations
    mapped and zeroed again: a quarter of a step's seconds (LOG.md). In exchange the process does
    not shrink after its peak. Returns False if the C library has no such setting.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    # −1: never trim; 0: no block is a separate mapping.
    return bool(mallopt(M_TRIM_THRESHOLD, -1) and mallopt(M_MMAP_MAX, 0))

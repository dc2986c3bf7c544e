"""Seconds by phase, of the wall and of the processor, and the memory that each phase took."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

STATM = Path("/proc/self/statm")


class PhaseTimer:
    """Adds up the time spent in named phases, on a GPU until it has done what they asked for, and
    keeps their memory; phases do not nest.

    Memory is, on a GPU, the most that torch had allocated in the phase, and `peak_bytes` the most
    in any so far (each phase starts torch's own peak anew); on a CPU, what the process held when
    the phase ended, and nothing where there is no /proc.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.peak_bytes = 0
        self._is_gpu = device == "cuda"
        self._wall: dict[str, float] = defaultdict(float)
        self._cpu: dict[str, float] = defaultdict(float)
        self._bytes: dict[str, int] = defaultdict(int)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Times the block; processor seconds count this process with all its threads."""
        if self._is_gpu:
            self.peak_bytes = max(self.peak_bytes, self._held())
            torch.cuda.reset_peak_memory_stats()
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield
            if self._is_gpu:
                torch.cuda.synchronize()  # what the phase asked for is the phase's
        finally:
            self._wall[name] += time.perf_counter() - wall
            self._cpu[name] += time.process_time() - cpu
            self._bytes[name] = max(self._bytes[name], self._held())
            self.peak_bytes = max(self.peak_bytes, self._bytes[name])

    def read(self) -> dict[str, float]:
        """`seconds/…`, `cpu_seconds/…` and `memory/…_gib` since the last reading; starts anew."""
        row = {f"seconds/{name}": value for name, value in self._wall.items()}
        row |= {f"cpu_seconds/{name}": value for name, value in self._cpu.items()}
        row |= {f"memory/{name}_gib": held / 2**30 for name, held in self._bytes.items() if held}
        for found in (self._wall, self._cpu, self._bytes):
            found.clear()
        return row

    def _held(self) -> int:
        if self._is_gpu:
            return torch.cuda.max_memory_allocated()
        if not STATM.exists():
            return 0
        return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

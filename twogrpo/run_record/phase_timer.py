"""Seconds by phase, of the wall clock and of the processor, and the memory that each phase took."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STATM = Path("/proc/self/statm")


class PhaseTimer:
    """Adds up the time and keeps the memory of named phases; phases do not nest.

    `gpu` is `torch.cuda`, passed so that the run record needs no torch, or None.

    On a GPU a phase ends when the GPU has done its work, and its memory is the most that torch
    had allocated in it, less the `asleep_bytes` that vLLM has given back and torch still counts.
    On a CPU its memory is what the process held when it ended; nothing where there is no /proc.
    `peak_bytes` is the most in any phase so far.
    """

    def __init__(self, gpu: Any = None, asleep_bytes: Callable[[], int] = lambda: 0) -> None:
        self.peak_bytes = 0
        self._gpu, self._asleep_bytes = gpu, asleep_bytes
        self._wall: dict[str, float] = defaultdict(float)
        self._cpu: dict[str, float] = defaultdict(float)
        self._bytes: dict[str, int] = defaultdict(int)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Times the block; processor seconds count this process with all its threads."""
        if self._gpu:
            self.peak_bytes = max(self.peak_bytes, self._held())
            self._gpu.reset_peak_memory_stats()
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield
            if self._gpu:
                self._gpu.synchronize()  # kernels that the phase launched belong to it
        finally:
            self._wall[name] += time.perf_counter() - wall
            self._cpu[name] += time.process_time() - cpu
            self._bytes[name] = max(self._bytes[name], self._held())
            self.peak_bytes = max(self.peak_bytes, self._bytes[name])

    def read(self) -> dict[str, float]:
        """Returns `seconds/…`, `cpu_seconds/…` and `memory/…_gib` since the last call and resets.

        A step's row is read before its checkpoint is saved, whose seconds are therefore in the
        next row; those of the last checkpoint and of the export are in the run's final row.
        """
        row = {f"seconds/{name}": value for name, value in self._wall.items()}
        row |= {f"cpu_seconds/{name}": value for name, value in self._cpu.items()}
        row |= {f"memory/{name}_gib": held / 2**30 for name, held in self._bytes.items() if held}
        for found in (self._wall, self._cpu, self._bytes):
            found.clear()
        return row

    def _held(self) -> int:
        if self._gpu:
            return int(self._gpu.max_memory_allocated()) - self._asleep_bytes()
        if not STATM.exists():
            return 0
        return int(STATM.read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")

"""Seconds by phase, of the wall and of the processor."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Adds up the time spent in named phases; phases do not nest."""

    def __init__(self) -> None:
        self._wall: dict[str, float] = defaultdict(float)
        self._cpu: dict[str, float] = defaultdict(float)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Times the block; processor seconds count this process with all its threads."""
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self._wall[name] += time.perf_counter() - wall
            self._cpu[name] += time.process_time() - cpu

    def read(self) -> dict[str, float]:
        """`seconds/…` and `cpu_seconds/…` since the last reading, and starts anew."""
        row = {f"seconds/{name}": value for name, value in self._wall.items()}
        row |= {f"cpu_seconds/{name}": value for name, value in self._cpu.items()}
        self._wall.clear()
        self._cpu.clear()
        return row

"""What this machine can do at best, measured: matrix products, copies; and the memory used."""

from __future__ import annotations

import platform
import resource
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

# Elements: square matrices whose product takes milliseconds, and copies far beyond any cache.
MATRIX_SIZE = {"cpu": 2048, "cuda": 8192}
COPY_BYTES = {"cpu": 2**28, "cuda": 2**30}
TRIALS = 5
# bfloat16 products of dense matrices, FLOP/s, by NVIDIA's data sheets; the first part of the name.
DATA_SHEET_FLOPS = {
    "NVIDIA H100 PCIe": 756e12, "NVIDIA H100 NVL": 835e12, "NVIDIA H100": 989e12,
    "NVIDIA H200": 989e12, "NVIDIA A100": 312e12, "NVIDIA L40S": 362e12, "NVIDIA L4": 121e12,
}  # fmt: skip


def matmul_flops(device: str, dtype: torch.dtype) -> float:
    """Ceiling of matrix products, FLOP/s: 2·n³ for two n × n matrices, the best of five."""
    size = MATRIX_SIZE[device]
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2 * size**3 / _best_seconds(lambda: left @ right, device)


def data_sheet_flops(name: str) -> float | None:
    """The data sheet's bfloat16 FLOP/s of the GPU that torch names so; None where it is unknown."""
    return next((flops for card, flops in DATA_SHEET_FLOPS.items() if name.startswith(card)), None)


def copy_bytes_per_second(device: str) -> float:
    """Ceiling of memory, bytes a second, read and written bytes both counted; the best of five."""
    source = torch.ones(COPY_BYTES[device] // 4, device=device)
    target = torch.empty_like(source)
    return 2 * COPY_BYTES[device] / _best_seconds(lambda: target.copy_(source), device)


def name(device: str) -> str:
    """The name of the GPU or, of a CPU, the model name that Linux reports."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def synchronise(device: str) -> None:
    """Waits until the device has finished its work."""
    if device == "cuda":
        torch.cuda.synchronize()


def memory_bytes(device: str) -> int:
    """Bytes held now: the resident memory of this process, or what torch has allocated on a GPU."""
    if device == "cuda":
        return torch.cuda.memory_allocated()
    return _status("VmRSS") or _most_resident()


def peak_memory_bytes(device: str) -> int:
    """The most bytes held since the process began, or since `forget_peak`."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return _status("VmHWM") or _most_resident()


def forget_peak(device: str) -> None:
    """Resets the peak to what is held now; where Linux does not permit it, the peak stays.

    See clear_refs in Linux' Documentation/filesystems/proc.rst.
    """
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def _most_resident() -> int:
    """The peak where Linux's own count is missing; it starts from the parent process's memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _status(name: str) -> int:
    path = Path("/proc/self/status")
    if not path.exists():
        return 0
    lines = (line.split() for line in path.read_text(encoding="utf-8").splitlines())
    return next((int(words[1]) * 1024 for words in lines if words[0] == f"{name}:"), 0)


def _best_seconds(work: Callable[[], object], device: str) -> float:
    seconds = []
    for _ in range(TRIALS + 1):  # the first one warms up
        synchronise(device)
        start = time.perf_counter()
        work()
        synchronise(device)
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])

"""The phase timer adds up seconds by phase, keeps peaks of memory, and starts again when read."""

import pytest
import torch

from twogrpo.run_record.phase_timer import PhaseTimer


class FakeGpu:
    """A GPU whose peak the test sets; waiting for it moves the clock to `done_at`."""

    def __init__(self, *, peak: int = 0, now: list[float] | None = None, done_at: float = 0.0):
        self.peak, self.now, self.done_at = peak, now, done_at

    def synchronize(self) -> None:
        if self.now:
            self.now[0] = self.done_at

    def reset_peak_memory_stats(self) -> None:
        self.peak = 0

    def max_memory_allocated(self) -> int:
        return self.peak


def test_a_phase_on_the_cpu_shows_the_memory_held_at_its_end():
    timer = PhaseTimer()
    with timer.phase("before"):
        pass
    with timer.phase("update"):
        held = torch.ones(2**26)  # 256 MiB, touched
    row = timer.read()
    assert set(row) == {
        f"{kind}{phase}{unit}"
        for kind, unit in (("seconds/", ""), ("cpu_seconds/", ""), ("memory/", "_gib"))
        for phase in ("before", "update")
    }
    assert row["memory/update_gib"] - row["memory/before_gib"] == pytest.approx(0.25, abs=0.05)
    assert timer.peak_bytes == pytest.approx(row["memory/update_gib"] * 2**30)
    assert held.sum() == 2**26
    assert timer.read() == {}


def test_on_a_gpu_each_phase_has_its_own_peak_and_the_highest_is_kept():
    """Allocations of 1, 3 and 2 GiB, each freed before the next phase; 5 GiB while loading."""
    gpu = FakeGpu(peak=5 * 2**30)
    assert {name for name in vars(FakeGpu) if name[0] != "_"} <= set(vars(torch.cuda))
    timer = PhaseTimer(gpu)
    for name, gib in (("generate", 1), ("update", 3), ("generate", 2)):
        with timer.phase(name):
            gpu.peak = gib * 2**30
    row = timer.read()
    assert (row["memory/generate_gib"], row["memory/update_gib"]) == (2, 3)
    assert timer.peak_bytes == 5 * 2**30


def test_on_a_gpu_what_a_sampler_has_given_back_is_not_counted():
    """torch goes on counting 60 of its GiB, asleep while the policy is updated."""
    gpu, asleep = FakeGpu(), [0]
    timer = PhaseTimer(gpu, lambda: asleep[0])
    for name, asleep_gib in (("generate", 0), ("update", 60), ("sync", 0)):
        with timer.phase(name):
            gpu.peak, asleep[0] = 70 * 2**30, asleep_gib * 2**30
    row = timer.read()
    assert [row[f"memory/{name}_gib"] for name in ("generate", "update", "sync")] == [70, 10, 70]


def test_on_a_gpu_a_phase_ends_when_its_kernels_are_done(monkeypatch):
    """The first phase launches 3 s of work, for which only `synchronize` waits."""
    now = [10.0]
    monkeypatch.setattr("twogrpo.run_record.phase_timer.time.perf_counter", lambda: now[0])
    timer = PhaseTimer(FakeGpu(now=now, done_at=13.0))
    with timer.phase("update"):
        pass
    with timer.phase("sync"):
        pass
    row = timer.read()
    assert (row["seconds/update"], row["seconds/sync"]) == (3.0, 0.0)

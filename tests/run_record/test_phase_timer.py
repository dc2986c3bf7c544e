"""Time and memory by phase: sums of the one, peaks of the other, and then anew."""

import pytest
import torch

from twogrpo.run_record.phase_timer import PhaseTimer


def test_a_phase_shows_the_memory_that_it_took():
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


def test_on_a_gpu_each_phase_has_its_own_peak_and_none_is_forgotten(monkeypatch):
    """By a stand-in: allocations of 1, 3 and 2 GiB, each freed before the next phase."""
    peak = [5 * 2**30]  # before the first phase: the models' loading
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: peak[0])
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: peak.__setitem__(0, 0))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    timer = PhaseTimer("cuda")
    for name, gib in (("generate", 1), ("update", 3), ("generate", 2)):
        with timer.phase(name):
            peak[0] = gib * 2**30
    row = timer.read()
    assert (row["memory/generate_gib"], row["memory/update_gib"]) == (2, 3)
    assert timer.peak_bytes == 5 * 2**30


def test_on_a_gpu_a_phase_ends_when_its_work_is_done(monkeypatch):
    """By a stand-in: what was asked for takes 3 s, for which only `synchronize` waits."""
    now = [10.0]
    monkeypatch.setattr("twogrpo.run_record.phase_timer.time.perf_counter", lambda: now[0])
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 0)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: None)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: now.__setitem__(0, 13.0))
    timer = PhaseTimer("cuda")
    with timer.phase("update"):
        pass
    with timer.phase("sync"):
        pass
    row = timer.read()
    assert (row["seconds/update"], row["seconds/sync"]) == (3.0, 0.0)

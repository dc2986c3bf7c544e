"""Freed memory stays with the process, and a step's passes ask the system for no more."""

import resource
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
from twogrpo.engines.processor import keep_freed_memory
torch.set_num_threads(1)
kept = sys.argv[1] == "kept" and keep_freed_memory()
def work():
    for _ in range(4):
        torch.ones(2**24).exp()  # 64 MiB each
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(int(kept), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(word: str) -> tuple[bool, int]:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, word], capture_output=True, text=True, check=True
    )
    kept, count = done.stdout.split()
    return bool(int(kept)), int(count)


def test_a_second_pass_maps_no_page_anew():
    kept, count = faults("kept")
    if not kept:
        pytest.skip("a C library without mallopt")
    pages = 2**26 // resource.getpagesize()
    assert count < pages / 10
    assert faults("given back")[1] > pages


HELD = """
import sys
from pathlib import Path
import torch
from twogrpo.engines.processor import give_back_memory, keep_freed_memory
def held():
    return int(Path("/proc/self/statm").read_text().split()[1])
if not keep_freed_memory() or not Path("/proc/self/statm").exists():
    sys.exit("no mallopt")
blocks = [torch.ones(2**24) for _ in range(4)]  # 64 MiB each
last, full = torch.ones(2**20), held()  # behind them, so that the heap cannot end before it
del blocks
kept, gave = held(), give_back_memory()
print(full - kept, int(gave), kept - held())
"""


def test_what_is_kept_can_be_given_back():
    done = subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True, check=False)
    if done.stderr.strip() == "no mallopt":
        pytest.skip("a C library without mallopt")
    freed_at_once, gave, given_back = map(int, done.stdout.split())
    pages = 4 * 2**26 // resource.getpagesize()
    assert freed_at_once < pages / 10
    assert gave
    assert given_back > 0.9 * pages

"""Freed memory stays with the process, and a step's passes ask the system for no more."""

import resource
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
from twogrpo.distributed.process_setup import keep_freed_memory
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

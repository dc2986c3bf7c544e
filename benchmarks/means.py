"""`make bench-means`: what each means of being fast is worth, in pairs with it and without.

The work is that of `make bench-peer`: SmolLM2-135M, 32 rollouts of at most 24 tokens, one optimiser
step. A ratio is the seconds without over the seconds with, of a pair; over 1 the means pays. A knob
is set for a process of its own, with responses of full length and half of each group right; what is
no knob is left out within one process (benchmarks/means_inside.py). Nothing else may run meanwhile.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import bench_peer
from benchmarks.means_inside import in_turn
from twogrpo.benchmark import machine
from twogrpo.preflight.text import table
from twogrpo.tracking import ROOT

STEP, START = "step", "start"  # a whole one; and the process but for the steps that are counted


@dataclass(frozen=True)
class Knob:
    """Values with which the means is used and left out, and what is looked at."""

    mean: str
    used: str
    left_out: str
    phases: tuple[str, ...] = (STEP,)


# A value that is the default of `bench_peer.our_command` is named too, so that both sides are.
KNOBS = (
    Knob("bfloat16 passes", "hardware.dtype=bfloat16", "hardware.dtype=float32"),
    Knob("two threads, not one", "hardware.num_threads=2", "hardware.num_threads=1",
         ("generate", "update", STEP)),
    Knob("vLLM, not transformers", "rollout=vllm", "rollout=transformers",
         ("generate", STEP, START)),
    Knob("micro-batches of 1,024 tokens, not 256", "hardware.tokens_per_microbatch=1024",
         "hardware.tokens_per_microbatch=256", ("update",)),
    Knob("micro-batches of 1,024 tokens, not 4,096", "hardware.tokens_per_microbatch=1024",
         "hardware.tokens_per_microbatch=4096", ("update",)),
    Knob("logits in chunks of 256, not at once", "hardware.logits_chunk_tokens=256",
         "hardware.logits_chunk_tokens=4096", ("update",)),
    Knob("compiled layers", "hardware.compile=true", "hardware.compile=false",
         ("update", STEP, START)),
)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """Pairs of seconds with and without a means."""

    mean: str
    phase: str
    group_size: int
    pairs: Sequence[tuple[float, float]]

    def row(self) -> dict[str, Any]:
        """Of the table and of the CSV: medians over the pairs, and the ratios' range."""
        ratios = [left_out / used for used, left_out in self.pairs]
        return {
            "mean": self.mean,
            "phase": self.phase,
            "group_size": self.group_size,
            "seconds_with": f"{median(used for used, _ in self.pairs):.3f}",
            "seconds_without": f"{median(left_out for _, left_out in self.pairs):.3f}",
            "ratio": f"{median(ratios):.2f}",
            "least": f"{min(ratios):.2f}",
            "most": f"{max(ratios):.2f}",
            "pairs": len(self.pairs),
        }


def of_knob(knob: Knob, group_size: int, given: argparse.Namespace) -> Iterator[Found]:
    """Two processes a pair, in turn."""
    sides = []
    for number in range(given.pairs):
        used = partial(process, knob.used, group_size, given, number)
        left_out = partial(process, knob.left_out, group_size, given, number)
        sides.append(in_turn(number, used, left_out))
    for phase in knob.phases:
        pairs = [(one[phase], other[phase]) for one, other in sides]
        yield Found(knob.mean, phase, group_size, pairs)


def process(value: str, group_size: int, given: argparse.Namespace, seed: int) -> dict[str, float]:
    """Median seconds of each phase of a step, of the whole, and of all beside the counted steps."""
    command = bench_peer.our_command(group_size, given, seed)
    command = with_values(command, "work=full", value)  # the same lengths, whatever is drawn
    start = time.perf_counter()
    found = bench_peer.run(command, threads=given.threads)
    wall = time.perf_counter() - start
    step = found["seconds"]["median"]
    return found["seconds_of"] | {STEP: step, START: wall - given.steps * step}


def inside(group_size: int, given: argparse.Namespace, *words: str) -> Iterator[Found]:
    """What is no knob: one process does it all."""
    command = with_values(bench_peer.our_command(group_size, given, seed=0), *words)
    command[1:2] = ["-m", "benchmarks.means_inside", f"--pairs={given.pairs}"]
    for line in bench_peer.output(command, threads=given.threads):
        told = json.loads(line)
        yield Found(told["mean"], told["phase"], group_size, told["pairs"])


def with_values(command: Sequence[str], *words: str) -> list[str]:
    """The command line with `key=value` put where the key is, else at the end."""
    keys = tuple(word.partition("=")[0] + "=" for word in words)
    return [*(word for word in command if not word.startswith(keys)), *words]


def measured(given: argparse.Namespace) -> Iterator[Found]:
    """What is no knob at both group sizes, a knob at the larger one."""
    for group_size in bench_peer.GROUP_SIZES:
        yield from inside(group_size, given)
    yield from inside(16, given, "rollout=vllm", "hardware.kv_cache_gib=1.0")
    for one in KNOBS:
        yield from of_knob(one, 16, given)


def write(found: Sequence[Found], path: Path) -> None:
    """The CSV, with what the machine was and when."""
    about = {"machine": machine.name("cpu"), "date": time.strftime("%Y-%m-%d", time.gmtime())}
    rows = [one.row() | about for one in found]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    """Measures, tells each as it is found, and writes the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, parents=[bench_peer.our_arguments()])
    parser.add_argument("--out", type=Path, default=ROOT / "results/benchmark/means.csv")
    given = parser.parse_args()
    found = []
    for one in measured(given):
        found.append(one)
        print(json.dumps(one.row()), flush=True)
    write(found, given.out)
    rows = [list(map(str, one.row().values())) for one in found]
    print(table(list(found[0].row()), rows, left=2))


if __name__ == "__main__":
    main()

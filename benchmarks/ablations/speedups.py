"""`make bench-means`: what each means of being fast is worth, in pairs with it and without.

The work is that of `make bench-peer`: SmolLM2-135M, 32 rollouts of at most 24 tokens, one optimiser
step. A ratio is the seconds without over the seconds with, of a pair; over 1 the means pays. A knob
is set for a process of its own, with responses of full length and half of each group right; what is
no knob is left out within one process (benchmarks/ablations/in_process.py). Nothing else may run
meanwhile.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.ablations.in_process import PLAIN, PREFIX_CACHES
from benchmarks.throughput import hardware_ceilings
from benchmarks.trl import compare_trl
from benchmarks.trl.compare_trl import in_turn
from twogrpo.preflight.text_tables import note, table
from twogrpo.run_record.files import write_atomically
from twogrpo.run_record.provenance import ROOT, measured_commit

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

NAMES = (*PLAIN, *PREFIX_CACHES, *(knob.mean for knob in KNOBS))
NEED_VLLM = (*PREFIX_CACHES, *(knob.mean for knob in KNOBS if knob.used == "rollout=vllm"))
Row = dict[str, Any]


@dataclass(frozen=True)
class Found:
    """Pairs of seconds with and without a means; each second the median of `steps` steps."""

    mean: str
    phase: str
    group_size: int
    pairs: Sequence[tuple[float, float]]
    steps: int = 1

    @property
    def ratios(self) -> list[float]:
        """Of each pair."""
        return [left_out / used for used, left_out in self.pairs]

    @property
    def is_clear(self) -> bool:
        """Whether all pairs agree that it pays, or that it does not."""
        return min(self.ratios) > 1 or max(self.ratios) < 1

    def row(self) -> Row:
        """Of the table and of the CSV: medians over the pairs, and the ratios' range."""
        return {
            "mean": self.mean,
            "phase": self.phase,
            "group_size": self.group_size,
            "seconds_with": f"{median(used for used, _ in self.pairs):.3f}",
            "seconds_without": f"{median(left_out for _, left_out in self.pairs):.3f}",
            "ratio": f"{median(self.ratios):.2f}",
            "least": f"{min(self.ratios):.2f}",
            "most": f"{max(self.ratios):.2f}",
            "pairs": len(self.pairs),
            "steps": self.steps,
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
        yield Found(knob.mean, phase, group_size, pairs, given.steps)


def process(value: str, group_size: int, given: argparse.Namespace, seed: int) -> dict[str, float]:
    """Median seconds of each phase of a step, of the whole, and of all beside the counted steps."""
    command = compare_trl.our_command(group_size, given, seed)
    command = with_values(command, "work=full", value)  # the same lengths, whatever is drawn
    with TemporaryDirectory() as folder:  # nothing is compiled yet, as for a first user
        start = time.perf_counter()
        found = compare_trl.run(command, threads=given.threads, TORCHINDUCTOR_CACHE_DIR=folder)
        wall = time.perf_counter() - start
    step = found["seconds"]["median"]
    return found["seconds_of"] | {STEP: step, START: wall - given.steps * step}


def inside(group_size: int, given: argparse.Namespace, *words: str) -> Iterator[Found]:
    """What is no knob: one process does it all."""
    command = with_values(compare_trl.our_command(group_size, given, seed=0), *words)
    options = [f"--pairs={given.pairs}", f"--only={given.only}"]
    command[1:2] = ["-m", "benchmarks.ablations.in_process", *options]
    for line in compare_trl.output(command, threads=given.threads):
        told = json.loads(line)
        yield Found(told["mean"], told["phase"], group_size, told["pairs"])


def with_values(command: Sequence[str], *words: str) -> list[str]:
    """The command line with `key=value` put where the key is, else at the end."""
    keys = tuple(word.partition("=")[0] + "=" for word in words)
    return [*(word for word in command if not word.startswith(keys)), *words]


def wanted(only: str) -> list[str]:
    """The means whose name holds `only`; says which of them are left out for want of vLLM."""
    names = [name for name in NAMES if only in name]
    if find_spec("vllm") is None and (lacking := [name for name in names if name in NEED_VLLM]):
        print(f"left out, since vLLM is not installed (make setup-vllm): {'; '.join(lacking)}")
        names = [name for name in names if name not in lacking]
    return names


def measured(given: argparse.Namespace, names: Sequence[str]) -> Iterator[Found]:
    """What is no knob at both group sizes, a knob at the larger one."""
    if not set(names).isdisjoint(PLAIN):
        for group_size in compare_trl.GROUP_SIZES:
            yield from inside(group_size, given)
    if not set(names).isdisjoint(PREFIX_CACHES):
        yield from inside(16, given, "rollout=vllm", "hardware.kv_cache_gib=1.0")
    for one in KNOBS:
        if one.mean in names:
            yield from of_knob(one, 16, given)


class Kept:
    """The CSV, written anew with each row, so that what stops has lost none; a means that is
    measured again takes its row's place."""

    def __init__(self, path: Path, *, afresh: bool) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        rows: list[Row] = []
        if path.exists() and not afresh:
            rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
        self._rows = {self._key(row): row for row in rows}

    def add(self, row: Row) -> None:
        """And writes; a column that an earlier row lacks is empty there."""
        self._rows[self._key(row)] = row
        text = io.StringIO()
        writer = csv.DictWriter(text, row.keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows.values())
        write_atomically(self.path, text.getvalue())

    @staticmethod
    def _key(row: Row) -> tuple[str, ...]:
        return tuple(str(row[name]) for name in ("mean", "phase", "group_size"))


def page(found: Sequence[Found]) -> str:
    """For a person; a mark where the pairs disagree."""
    rows = [[*map(str, one.row().values()), "" if one.is_clear else "?"] for one in found]
    text = table([*found[0].row(), ""], rows, left=2)
    told = "? means that it paid in some pairs only."
    return text if all(one.is_clear for one in found) else f"{text}\n{note(told)}"


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; what it does not offer is as in `make bench-peer`."""
    parser = argparse.ArgumentParser(description=__doc__, parents=[compare_trl.counts()])
    parser.add_argument("--only", default="", metavar="TEXT",
                        help="the means whose name holds it; other rows of --out stay")  # fmt: skip
    parser.add_argument("--out", type=Path, default=ROOT / "results/benchmark/means.csv")
    given = parser.parse_args(words, compare_trl.arguments([]))
    if not any(given.only in name for name in NAMES):
        parser.error(f"--only={given.only} names no means: use part of {'; '.join(NAMES)}")
    return given


def main() -> None:
    """Measures, tells each as it is found, and keeps it."""
    given = arguments()
    about = {
        "threads": given.threads,
        "machine": hardware_ceilings.name("cpu"),
        "commit": measured_commit(),
    }
    about["date"] = time.strftime("%Y-%m-%d", time.gmtime())
    kept = Kept(given.out, afresh=not given.only)
    found = []
    for one in measured(given, wanted(given.only)):
        found.append(one)
        print(json.dumps(one.row()), flush=True)
        kept.add(one.row() | about)
    if found:
        print(page(found))


if __name__ == "__main__":
    main()

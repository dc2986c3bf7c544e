"""Scaling curves: the cost of a step against one size, each point a process of its own.

`benchmarks/throughput/sweep_points.py` says what is varied. All points do the utmost work
(work=full), so that lengths and dead groups are the same along a curve.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose

from benchmarks.throughput.config import BenchmarkConfig, check_benchmark
from benchmarks.throughput.sweep_points import REMEDIES, SWEEPS, Point
from twogrpo.config.schema import parse
from twogrpo.config.validation import check, one_of
from twogrpo.data.sources import training_problems
from twogrpo.errors import ConfigError
from twogrpo.preflight.text_tables import gib, note, section, table
from twogrpo.run_record.files import write_atomically
from twogrpo.run_record.provenance import ROOT, measured_commit

PHASES = ("generate", "update")
# Of a point's JSON beside its numbers: what it was, and what all points share.
SETTINGS = ("prompts", "group_size", "max_response_tokens")
ABOUT = ("model", "dtype", "threads", "machine", "date")
# The last word wins: a point that took the user's own sweep= would sweep again, without end.
LAST = ("work=full", "json=true", "sweep=null")


@dataclass(frozen=True)
class Curve:
    """Of one sweep: a row of measured values a point, and the exponents that fit them."""

    name: str
    rows: Sequence[dict[str, float]]
    exponents: dict[str, float]


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """k of cost ~ size^k: the slope of the least-squares line through the logarithms.

    Raises:
        ValueError: fewer than two different sizes, or a value that is not positive.

    >>> exponent([1, 2, 4], [3, 12, 48])
    2.0
    """
    if len(set(sizes)) < 2 or min(*sizes, *costs) <= 0:
        raise ValueError("an exponent needs two different sizes and positive costs")
    x, y = [math.log2(size) for size in sizes], [math.log2(cost) for cost in costs]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return slope / sum((a - mean_x) ** 2 for a in x)


def sweep(config: BenchmarkConfig, arguments: Sequence[str]) -> str:
    """Runs `config.sweep`, keeps its CSV and returns the page; `arguments` are the user's own.

    Composes every point, so Hydra must be at work on conf/ (in `@hydra.main`,
    `initialize_config_dir`).

    Raises:
        ConfigError: a value is wrong, there is no such sweep, it has fewer than two sizes, or a
            point does not run.
    """
    assert config.sweep is not None
    one_of("sweep", config.sweep, SWEEPS)
    check_benchmark(config)
    rows, commit = [], measured_commit()
    with SWEEPS[config.sweep](config) as points:
        check_points(config.sweep, points, arguments)
        file = results_file(config)
        for point in points:
            sys.stderr.write(f"sweep={config.sweep}: {point.size}\n")
            found = _run(point, arguments)
            rows.append(row_of(point.size, found))
            about = {key: found[key] for key in ABOUT}
            _write(rows, about | {"commit": commit, "arguments": shlex.join(arguments)}, file)
    return page(fit(config.sweep, rows), file)


def check_points(name: str, points: Sequence[Point], arguments: Sequence[str]) -> None:
    """That each would run, before minutes are spent on the first.

    Raises:
        ConfigError: one would not, or there are fewer than two.
    """
    if len(points) < 2:
        remedy = REMEDIES.get(name, "use another sweep")
        raise ConfigError(f"sweep={name} has {len(points)} sizes here: {remedy}")
    for point in points:
        try:
            _check_point(parse(compose("benchmark", _typed(point, arguments)), BenchmarkConfig))
        except ConfigError as error:
            raise ConfigError(f"sweep={name} at {point.size}: {error}") from error


def results_file(config: BenchmarkConfig) -> Path:
    """The CSV of this sweep, its folder made: another model or algorithm has a file of its own.

    Raises:
        ConfigError: nothing can be written there.
    """
    algorithm, folder = config.algorithm.name, ROOT / config.results_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"results_dir={config.results_dir} cannot be made ({error.strerror}): give another"
        ) from error
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"results_dir={config.results_dir} cannot be written: give another")
    names = ["sweep", str(config.sweep), config.model.name]
    return folder / ("_".join(names if algorithm == "grpo" else [*names, algorithm]) + ".csv")


def row_of(size: int, found: dict[str, Any]) -> dict[str, float]:
    """What a curve keeps of one point's JSON."""
    return {
        "size": size,
        **{key: found[key] for key in SETTINGS},
        "seconds": found["seconds"]["median"],
        **{f"seconds_{phase}": found["seconds_of"][phase] for phase in PHASES},
        "rollouts_per_second": found["rollouts_per_second"],
        "peak_memory_bytes": found["peak_memory"],
        "memory_of_steps_bytes": found["memory_of_steps"],
    }


def fit(name: str, rows: Sequence[dict[str, float]]) -> Curve:
    """The curve with its exponents of seconds, whole and by phase, and of peak memory: all of it,
    and what the steps added to the process that they found (where each point's added some)."""
    sizes = [row["size"] for row in rows]
    fitted = ["seconds", *(f"seconds_{phase}" for phase in PHASES), "peak_memory_bytes"]
    if all(row["memory_of_steps_bytes"] > 0 for row in rows):
        fitted.append("memory_of_steps_bytes")
    return Curve(name, rows, {key: exponent(sizes, [row[key] for row in rows]) for key in fitted})


def page(curve: Curve, file: Path) -> str:
    """For a person, with where the CSV lies; the last line is JSON."""
    rows = [
        [f"{row['size']:,.0f}", f"{row['seconds']:.3f}", f"{row['seconds_generate']:.3f}",
         f"{row['seconds_update']:.3f}", f"{row['rollouts_per_second']:,.1f}",
         gib(row["peak_memory_bytes"]), gib(row["memory_of_steps_bytes"])]
        for row in curve.rows
    ]  # fmt: skip
    found = {name: round(value, 3) for name, value in curve.exponents.items()}
    told = ", ".join(f"{name} {value:.2f}" for name, value in found.items())
    text = section(
        f"A step against {curve.name}",
        table(
            [
                curve.name,
                "seconds",
                "generate",
                "update",
                "rollouts/s",
                "peak memory",
                "of the steps",
            ],
            rows,
        ),
        note(f"Exponents of size: {told}. Every point: {file}"),
    )
    return f"{text}\n{json.dumps({'sweep': curve.name, 'exponents': found})}"


def _check_point(config: BenchmarkConfig) -> None:
    check(config)
    check_benchmark(config)
    try:
        training_problems(config.dataset)
    except ConfigError as error:
        if config.dataset.num_prompts != config.training.prompts_per_step:
            raise
        # The one follows the other, which was typed.
        message = str(error).replace("dataset.num_prompts", "training.prompts_per_step")
        raise ConfigError(message) from error


def _typed(point: Point, arguments: Sequence[str]) -> list[str]:
    return [*arguments, *point.overrides, *LAST]


def _run(point: Point, arguments: Sequence[str]) -> dict[str, Any]:
    launch = [sys.executable]
    if point.ranks > 1:
        launch += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={point.ranks}"]
    command = [*launch, "scripts/benchmark.py", *_typed(point, arguments)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise ConfigError(f"the point {point.size} does not run: see its message above")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _write(rows: Sequence[dict[str, float]], about: dict[str, Any], path: Path) -> None:
    """All points so far: one that fails costs no other."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [*rows[0], *about], lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: f"{v:.6g}" for k, v in row.items()} | about for row in rows)
    write_atomically(path, text.getvalue())

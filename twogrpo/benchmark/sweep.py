"""Scaling curves: the cost of a step against one size, each point a process of its own.

`points` says what is varied. All do the utmost work (work=full), so that lengths and dead groups
are the same along a curve.
"""

from __future__ import annotations

import csv
import json
import math
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from twogrpo.benchmark.settings import BenchmarkConfig, check_benchmark
from twogrpo.checks import one_of
from twogrpo.config import ConfigError
from twogrpo.preflight.text import gib, note, section, table
from twogrpo.tracking import ROOT

GROUP_SIZES = (2, 4, 8, 16, 32, 64)
PROMPT_FACTORS = (1, 2, 4, 8)
RESPONSE_TOKENS = (16, 32, 64, 128, 256)
VOCABULARIES = (2_048, 8_192, 32_768, 131_072)
RANKS = (1, 2)
PHASES = ("generate", "update")
# Of a point's JSON beside its numbers: what it was, and what all points share.
SETTINGS = ("prompts", "group_size", "max_response_tokens")
ABOUT = ("model", "dtype", "threads", "machine", "date")


@dataclass(frozen=True)
class Point:
    """One size, and how the command line differs there."""

    size: int
    overrides: tuple[str, ...]
    ranks: int = 1


@dataclass(frozen=True)
class Curve:
    """Of one sweep: a row of measured values a point, and the exponents that fit them."""

    name: str
    rows: Sequence[dict[str, float]]
    exponents: dict[str, float]


# What may be missing where a sweep has no two sizes.
REMEDIES = {
    "constant_rollouts": "make training.prompts_per_generation × algorithm.group_size and the "
    "mini-batch in rollouts multiples of two of the group sizes "
    + ", ".join(map(str, GROUP_SIZES)),
}


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

    Raises:
        ConfigError: a value is wrong, there is no such sweep, it has fewer than two sizes, or a
            point does not run.
    """
    assert config.sweep is not None
    one_of("sweep", config.sweep, SWEEPS)
    check_benchmark(config)
    rows, about, commit = [], dict[str, Any](), _commit()
    with SWEEPS[config.sweep](config) as points:
        if len(points) < 2:
            remedy = REMEDIES.get(config.sweep, "use another sweep")
            raise ConfigError(f"sweep={config.sweep} has {len(points)} sizes here: {remedy}")
        for point in points:
            sys.stderr.write(f"sweep={config.sweep}: {point.size}\n")
            found = _run(point, arguments)
            rows.append(row_of(point.size, found))
            about = {key: found[key] for key in ABOUT}
    about |= {"commit": commit, "arguments": shlex.join(arguments)}
    curve = fit(config.sweep, rows)
    name = f"sweep_{curve.name}_{config.model.name}.csv"
    _write(curve, about, ROOT / config.results_dir / name)
    return page(curve)


def row_of(size: int, found: dict[str, Any]) -> dict[str, float]:
    """What a curve keeps of one point's JSON."""
    return {
        "size": size,
        **{key: found[key] for key in SETTINGS},
        "seconds": found["seconds"]["median"],
        **{f"seconds_{phase}": found["seconds_of"][phase] for phase in PHASES},
        "rollouts_per_second": found["rollouts_per_second"],
        "peak_memory_bytes": found["peak_memory"],
        "memory_of_steps_bytes": found["peak_memory"] - found["memory_at_start"],
    }


def fit(name: str, rows: Sequence[dict[str, float]]) -> Curve:
    """The curve with its exponents of seconds, whole and by phase, and of peak memory: all of it,
    and what the steps added to the process that they found (where each point's added some)."""
    sizes = [row["size"] for row in rows]
    fitted = ["seconds", *(f"seconds_{phase}" for phase in PHASES), "peak_memory_bytes"]
    if all(row["memory_of_steps_bytes"] > 0 for row in rows):
        fitted.append("memory_of_steps_bytes")
    return Curve(name, rows, {key: exponent(sizes, [row[key] for row in rows]) for key in fitted})


def page(curve: Curve) -> str:
    """For a person; the last line is JSON."""
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
        note(f"Exponents of size: {told}."),
    )
    return f"{text}\n{json.dumps({'sweep': curve.name, 'exponents': found})}"


def _run(point: Point, arguments: Sequence[str]) -> dict[str, Any]:
    launch = [sys.executable]
    if point.ranks > 1:
        launch += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={point.ranks}"]
    # The last word wins: a point that took the user's own sweep= would sweep again, without end.
    last = ["work=full", "json=true", "sweep=null"]
    command = [*launch, "scripts/benchmark.py", *arguments, *point.overrides, *last]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise ConfigError(f"the point {point.size} does not run: see its message above")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _commit() -> str:
    """The code that was measured; "-dirty" if it had changes of its own, empty without git."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*", "--abbrev=12"]
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:
        return ""


def _write(curve: Curve, about: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*curve.rows[0], *about], lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" for k, v in row.items()} | about for row in curve.rows)


@contextmanager
def _group_sizes(config: BenchmarkConfig) -> Iterator[list[Point]]:
    """The same prompts, more rollouts to each."""
    yield [Point(size, (f"algorithm.group_size={size}",)) for size in GROUP_SIZES]


@contextmanager
def _constant_rollouts(config: BenchmarkConfig) -> Iterator[list[Point]]:
    """The same rollouts in a generation and in a mini-batch, to fewer prompts each time."""
    total = config.training.prompts_per_generation * config.algorithm.group_size
    minibatch, scale = config.rollouts_per_minibatch, config.algorithm.minibatch_scale
    sizes = [size for size in GROUP_SIZES if not (total % size or minibatch % (size * scale))]
    yield [
        Point(
            size,
            (
                f"algorithm.group_size={size}",
                f"training.prompts_per_generation={total // size}",
                f"training.prompts_per_minibatch={minibatch // size // scale}",
            ),
        )
        for size in sizes
    ]


@contextmanager
def _prompts(config: BenchmarkConfig) -> Iterator[list[Point]]:
    """More mini-batches of the same size."""
    first = config.training.prompts_per_generation
    yield [
        Point(first * factor, (f"training.prompts_per_generation={first * factor}",))
        for factor in PROMPT_FACTORS
    ]


@contextmanager
def _response_tokens(config: BenchmarkConfig) -> Iterator[list[Point]]:
    """A model of the same shape with random weights and a context that holds the longest."""
    with _folder_of_models(config) as (source, folder):
        has = AutoConfig.from_pretrained(source).max_position_embeddings
        wanted = max(has, config.dataset.max_prompt_tokens + max(RESPONSE_TOKENS))
        path = _random_model(source, folder / "long", max_position_embeddings=wanted)
        yield [
            Point(tokens, (f"model.path={path}", f"dataset.max_response_tokens={tokens}"))
            for tokens in RESPONSE_TOKENS
        ]


@contextmanager
def _ranks(config: BenchmarkConfig) -> Iterator[list[Point]]:
    yield [Point(number, (), ranks=number) for number in RANKS]


@contextmanager
def _vocabularies(config: BenchmarkConfig) -> Iterator[list[Point]]:
    """Models of the same shape with random weights and another vocabulary, the smallest that of the
    tokenizer: prompts hold any of its tokens."""
    with _folder_of_models(config) as (source, folder):
        least = len(AutoTokenizer.from_pretrained(source))
        yield [
            Point(
                size, (f"model.path={_random_model(source, folder / str(size), vocab_size=size)}",)
            )
            for size in sorted({max(size, least) for size in VOCABULARIES})
        ]


@contextmanager
def _folder_of_models(config: BenchmarkConfig) -> Iterator[tuple[Path, Path]]:
    """The model's folder, and one for models of its shape."""
    source = ROOT / config.model.path
    if not source.is_dir():
        raise ConfigError(
            f"model.path={config.model.path} is no folder: sweep={config.sweep} needs one"
        )
    with TemporaryDirectory() as folder:
        yield source, Path(folder)


def _random_model(source: Path, target: Path, **changes: int) -> Path:
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.safetensors"))
    shape = AutoConfig.from_pretrained(source)
    for name, value in changes.items():
        setattr(shape, name, value)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(shape).save_pretrained(target)
    return target


SWEEPS: dict[str, Callable[[BenchmarkConfig], Any]] = {
    "group_size": _group_sizes,
    "constant_rollouts": _constant_rollouts,
    "prompts": _prompts,
    "response_tokens": _response_tokens,
    "ranks": _ranks,
    "vocabulary": _vocabularies,
}

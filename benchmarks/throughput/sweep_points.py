"""What a scaling curve varies: its sizes, and how the command line differs at each."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from benchmarks.throughput.config import BenchmarkConfig
from twogrpo.errors import ConfigError
from twogrpo.run_record.provenance import ROOT

GROUP_SIZES = (2, 4, 8, 16, 32, 64)
PROMPT_FACTORS = (1, 2, 4, 8)
RESPONSE_TOKENS = (16, 32, 64, 128, 256)
VOCABULARIES = (2_048, 8_192, 32_768, 131_072)
RANKS = (1, 2)
# What may be missing where a sweep has no two sizes.
REMEDIES = {
    "constant_rollouts": "make training.prompts_per_step × algorithm.group_size and the "
    "mini-batch in rollouts multiples of two of the group sizes "
    + ", ".join(map(str, GROUP_SIZES)),
}


@dataclass(frozen=True)
class Point:
    """One size, and how the command line differs there."""

    size: int
    overrides: tuple[str, ...]
    ranks: int = 1


@contextmanager
def _group_sizes(config: BenchmarkConfig) -> Iterator[list[Point]]:
    """The same prompts, more rollouts to each."""
    yield [Point(size, (f"algorithm.group_size={size}",)) for size in GROUP_SIZES]


@contextmanager
def _constant_rollouts(config: BenchmarkConfig) -> Iterator[list[Point]]:
    """The same rollouts in a generation and in a mini-batch, to fewer prompts each time."""
    total = config.training.prompts_per_step * config.algorithm.group_size
    minibatch, scale = config.rollouts_per_minibatch, config.algorithm.minibatch_scale
    sizes = [size for size in GROUP_SIZES if not (total % size or minibatch % (size * scale))]
    yield [
        Point(
            size,
            (
                f"algorithm.group_size={size}",
                f"training.prompts_per_step={total // size}",
                f"training.prompts_per_minibatch={minibatch // size // scale}",
            ),
        )
        for size in sizes
    ]


@contextmanager
def _prompts(config: BenchmarkConfig) -> Iterator[list[Point]]:
    """More mini-batches of the same size."""
    first = config.training.prompts_per_step
    yield [
        Point(first * factor, (f"training.prompts_per_step={first * factor}",))
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

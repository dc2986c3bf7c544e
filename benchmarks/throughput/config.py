"""What is benchmarked (conf/benchmark.yaml): a training run, how often, and on which workload."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from twogrpo.config.annotations import COUNT, NOT_NEGATIVE, OneOf
from twogrpo.config.schema import Config
from twogrpo.errors import ConfigError

WORKLOADS = ("repeated", "resampled", "max_length")


@dataclass
class BenchmarkConfig(Config):
    """conf/benchmark.yaml: everything of a training run, and how it is measured."""

    workload: Annotated[str, OneOf(WORKLOADS)]
    warmup_steps: Annotated[int, NOT_NEGATIVE]
    steps: Annotated[int, COUNT]
    calibrate: str | None
    json: bool


def check_benchmark(config: BenchmarkConfig) -> None:
    """Checks the benchmark's own keys.

    Raises:
        ConfigError: a value is wrong.
    """
    if config.workload == "max_length" and config.algorithm.group_size % 2:
        raise ConfigError(
            f"algorithm.group_size={config.algorithm.group_size} is odd: workload=max_length makes "
            "every other rollout of a group right, use an even one"
        )
    if config.calibrate is not None:
        _check_file(config.calibrate)


def _check_file(value: str) -> None:
    """The file must be writable, before minutes are spent on its content."""
    path = Path(value)
    if path.is_dir():
        raise ConfigError(f"calibrate={value} is a folder: give a file")
    if not path.parent.is_dir():
        raise ConfigError(f"calibrate={value}: there is no folder {path.parent}, make it")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ConfigError(f"calibrate={value} cannot be written: give another file")

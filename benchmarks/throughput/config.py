"""What is benchmarked (conf/benchmark.yaml): a training run, how often, and what for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from twogrpo.config.schema import Config
from twogrpo.config.validation import at_least, one_of
from twogrpo.errors import ConfigError

WORK = ("same", "fresh", "full")


@dataclass
class BenchmarkConfig(Config):
    """conf/benchmark.yaml: everything of a training run, and how it is measured."""

    work: str
    warmup_steps: int
    steps: int
    calibrate: str | None
    probe: str | None
    probe_prompts: int
    probe_samples: int
    sweep: str | None
    results_dir: str
    json: bool


def check_benchmark(config: BenchmarkConfig) -> None:
    """Of the benchmark's own keys.

    Raises:
        ConfigError: a value is wrong.
    """
    one_of("work", config.work, WORK)
    at_least("steps", config.steps, 1)
    at_least("warmup_steps", config.warmup_steps, 0)
    if config.work == "full" and config.algorithm.group_size % 2:
        raise ConfigError(
            f"algorithm.group_size={config.algorithm.group_size} is odd: work=full makes every "
            "other rollout of a group right, use an even one"
        )
    at_least("probe_prompts", config.probe_prompts, 1)
    at_least("probe_samples", config.probe_samples, 2)
    asked = {"calibrate": config.calibrate, "probe": config.probe, "sweep": config.sweep}
    given = [f"{key}={value}" for key, value in asked.items() if value is not None]
    if len(given) > 1:
        raise ConfigError(f"{given[0]} beside {given[1]}: do one after the other")
    ranks = max(int(os.environ.get("WORLD_SIZE", "1")), config.hardware.tensor_parallel_size)
    if given and config.calibrate is None and ranks > 1:
        raise ConfigError(
            f"{given[0]} starts as one process: use hardware.tensor_parallel_size=1, and start it "
            "with python instead of torchrun"
        )
    for key, value in asked.items():
        if value is not None and key != "sweep":
            _check_file(key, value)


def _check_file(key: str, value: str) -> None:
    """That it can be written, before minutes are spent on what it is to hold."""
    path = Path(value)
    if path.is_dir():
        raise ConfigError(f"{key}={value} is a folder: give a file")
    if not path.parent.is_dir():
        raise ConfigError(f"{key}={value}: there is no folder {path.parent}, make it")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ConfigError(f"{key}={value} cannot be written: give another file")

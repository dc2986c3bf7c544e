"""What is benchmarked (conf/benchmark.yaml): a training run, how often, and what for."""

from __future__ import annotations

from dataclasses import dataclass

from twogrpo.checks import at_least, one_of
from twogrpo.config import Config, ConfigError

WORK = ("same", "fresh", "full")


@dataclass
class BenchmarkConfig(Config):
    """conf/benchmark.yaml: everything of a training run, and how it is measured."""

    work: str
    warmup_steps: int
    steps: int
    calibrate: str | None
    sweep: str | None
    results_dir: str
    json: bool

    @property
    def sampler_dtype(self) -> str:
        """In which the sampler computes: transformers' in the policy's."""
        hardware = self.hardware
        return hardware.sampler_dtype if self.rollout.engine == "vllm" else hardware.dtype


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
    if config.calibrate is not None and config.sweep is not None:
        raise ConfigError(
            f"calibrate={config.calibrate} beside sweep={config.sweep}: do one after the other"
        )

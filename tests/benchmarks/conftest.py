"""A benchmark's configuration, small."""

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.throughput.config import BenchmarkConfig
from tests.conftest import compose_config
from twogrpo.config.schema import parse


@pytest.fixture
def typed(model_folder: Path) -> list[str]:
    """Overrides for two steps of 4 prompts × 4 rollouts of a tiny random model."""
    return [
        f"model.path={model_folder}", "algorithm.group_size=4", "training.prompts_per_step=4",
        "training.prompts_per_minibatch=2", "dataset.max_response_tokens=6",
        "evaluation.problems_per_benchmark=3", "warmup_steps=1", "steps=2",
    ]  # fmt: skip


@pytest.fixture
def benchmark_config(typed: list[str]) -> Callable[..., BenchmarkConfig]:
    """`benchmark_config("workload=max_length", "seed=1")`: the small one with these overrides."""

    def make(*overrides: str) -> BenchmarkConfig:
        return parse(compose_config(*typed, *overrides, name="benchmark"), BenchmarkConfig)

    return make

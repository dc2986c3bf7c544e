"""A benchmark's configuration, small."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import compose_config
from twogrpo.benchmark.settings import BenchmarkConfig
from twogrpo.config import parse


@pytest.fixture
def benchmark_config(model_folder: Path) -> Callable[..., BenchmarkConfig]:
    """Two steps of 4 prompts × 4 rollouts of a tiny random model, with these overrides."""

    def make(*overrides: str) -> BenchmarkConfig:
        composed = compose_config(
            f"model.path={model_folder}",
            "algorithm.group_size=4",
            "training.prompts_per_generation=4",
            "training.prompts_per_minibatch=2",
            "dataset.max_response_tokens=6",
            "evaluation.problems_per_benchmark=3",
            "warmup_steps=1",
            "steps=2",
            *overrides,
            name="benchmark",
        )
        return parse(composed, BenchmarkConfig)

    return make

"""The types of the scripts that do not train: evaluate, prepare_model, prepare_data.

What a key means and its value stand in conf/, as for twogrpo/config/schema.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from twogrpo.config.annotations import NOT_IDENTIFYING, NOT_NEGATIVE, OneOf
from twogrpo.config.identity import Identified
from twogrpo.config.schema import (
    DatasetConfig,
    EvaluationConfig,
    HardwareConfig,
    ModelConfig,
    RewardConfig,
    RolloutConfig,
    TrackingConfig,
)


@dataclass
class Origin:
    """The algorithm that trained the checkpoint; "base" with group size 0 if it was not trained."""

    name: str
    group_size: int


@dataclass
class TrainedOn:
    """The prompts that the checkpoint was trained on; 0 if it was not trained."""

    name: str
    num_prompts: int


@dataclass
class EvaluateConfig(Identified):
    """An evaluation of a checkpoint; `algorithm`, `dataset`, `seed` are its training's."""

    checkpoint: Annotated[str, NOT_IDENTIFYING]
    contamination: Annotated[str | None, NOT_IDENTIFYING]
    algorithm: Origin
    model: ModelConfig
    dataset: TrainedOn
    reward: RewardConfig
    rollout: RolloutConfig
    hardware: Annotated[HardwareConfig, NOT_IDENTIFYING]
    evaluation: EvaluationConfig
    tracking: Annotated[TrackingConfig, NOT_IDENTIFYING]
    seed: Annotated[int, NOT_NEGATIVE]
    step: int
    weights_sha256: str
    run_name: Annotated[str, NOT_IDENTIFYING]
    output_dir: Annotated[str, NOT_IDENTIFYING]
    resume: Annotated[str, OneOf(("auto", "never")), NOT_IDENTIFYING]

    def identifying(self) -> dict[str, Any]:
        """The values in the hash, by dotted key; the weights count, not the folder they lie in."""
        return {key: value for key, value in super().identifying().items() if key != "model.path"}


@dataclass
class PrepareModelConfig:
    """The model to fetch or convert."""

    model: ModelConfig


@dataclass
class PrepareDataConfig:
    """The training set to prepare, and the benchmarks to look for in it."""

    dataset: DatasetConfig
    evaluation: EvaluationConfig
    output_dir: str

"""The schemas of the scripts that train nothing: evaluate, prepare_model, prepare_data.

As in twogrpo/config/schema.py, values and what they mean stand in conf/.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from twogrpo.config.identity import identifying, identity_of
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
    """The algorithm that trained an evaluated checkpoint; "base" with groups of 0 for none."""

    name: str
    group_size: int


@dataclass
class TrainedOn:
    """The prompts that an evaluated checkpoint was trained on; 0 of them for a start model."""

    name: str
    num_prompts: int


@dataclass
class EvaluateConfig:
    """An evaluation of a checkpoint; `algorithm`, `dataset` and `seed` are its training's."""

    checkpoint: str
    contamination: str | None
    algorithm: Origin
    model: ModelConfig
    dataset: TrainedOn
    reward: RewardConfig
    rollout: RolloutConfig
    hardware: HardwareConfig
    evaluation: EvaluationConfig
    tracking: TrackingConfig
    seed: int
    step: int
    weights_sha256: str
    run_name: str
    output_dir: str
    resume: str

    def identity(self) -> str:
        """Hash of the weights, wherever they lie, and of all that can change a number."""
        return identity_of(self.identifying())

    def identifying(self) -> dict[str, Any]:
        """Those values, by dotted key."""
        elsewhere = ("checkpoint", "contamination", "model.path")
        return {k: v for k, v in identifying(asdict(self)).items() if k not in elsewhere}


@dataclass
class PrepareModelConfig:
    """Which model to fetch or convert."""

    model: ModelConfig


@dataclass
class PrepareDataConfig:
    """Which training set to prepare, against which benchmarks."""

    dataset: DatasetConfig
    evaluation: EvaluationConfig
    output_dir: str

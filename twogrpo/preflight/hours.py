"""Hours of training: measured seconds of a step × steps, or the paper's own. Nothing is modelled.

`make bench ARGS="… calibrate=FILE"` measures the steps of a run; the paper's hours are those of
conf/scale/paper.yaml.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from twogrpo.config.batch_sizes import TOTAL, batch_rows, paper_column
from twogrpo.config.cli import CONF
from twogrpo.config.schema import Config
from twogrpo.errors import ConfigError


@dataclass(frozen=True)
class Calibration:
    """Median seconds of one training step by phase, and what they were measured on.

    `measured_on` is what the function of that name returns; a plan that differs in one of these
    values has no use for the seconds.
    """

    date: str
    machine: str
    workload: str
    measured_on: dict[str, Any]
    seconds: dict[str, float]

    @property
    def step_seconds(self) -> float:
        """Seconds of one training step."""
        return sum(self.seconds.values())

    def write(self, path: Path) -> None:
        """Writes the calibration as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


def measured_on(config: Config, device: str, num_ranks: int) -> dict[str, Any]:
    """The values of a run that the seconds of its step depend on.

    `device` is "cpu" or the GPU's name as its driver reports it.
    """
    hardware = config.hardware
    threads = {"hardware.num_threads": hardware.num_threads} if hardware.device == "cpu" else {}
    return {
        "device": device,
        "ranks": num_ranks,
        **threads,
        "hardware.dtype": hardware.dtype,
        "model.name": config.model.name,
        "model.lora.rank": config.model.lora.rank if config.model.lora else None,
        "rollout.engine": config.rollout.engine,
        "algorithm.name": config.algorithm.name,
        "algorithm.group_size": config.algorithm.group_size,
        "training.prompts_per_step": config.training.prompts_per_step,
        "training.prompts_per_minibatch": config.prompts_per_minibatch,
        "dataset.max_response_tokens": config.dataset.max_response_tokens,
    }


def read_calibration(path: Path) -> Calibration:
    """The inverse of `Calibration.write`; raises ConfigError if the file is missing or damaged."""
    try:
        found = Calibration(**json.loads(path.read_text(encoding="utf-8")))
        if not (found.step_seconds > 0 and min(found.seconds.values()) >= 0):
            raise ValueError("seconds must be numbers over 0, by phase")
        dict(found.measured_on)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"calibration={path} cannot be read ({error}): write it with scripts/benchmark.py "
            "calibrate=FILE, or leave it null"
        ) from error
    return found


def calibrated_hours(path: Path, config: Config, device: str) -> float:
    """Hours of training without validation, checkpoints, evaluation and start-up; raises
    ConfigError where the file cannot be read or was measured on something else.

    `device` is the planned device; its family is part of the GPU's name ("NVIDIA H200").
    """
    found = read_calibration(path)
    is_cpu, measured = config.hardware.device == "cpu", dict(found.measured_on)
    family, name = device.partition("_")[0], str(measured.get("device"))
    if not is_cpu and re.search(rf"\b{family}\b", name, re.IGNORECASE):  # an L40S is no L4
        measured["device"] = device
    planned = measured_on(config, "cpu" if is_cpu else device, max(config.hardware.num_gpus, 1))
    for key, value in planned.items():
        if measured.get(key) != value:
            raise ConfigError(
                f"calibration={path} was measured with {key}={measured.get(key)}, but this run has "
                f"{key}={value}: calibrate with this run's values (make bench ARGS=…)"
            )
    return found.step_seconds * config.num_steps / 3600


def paper_hours(config: Config) -> tuple[float, int] | None:
    """Hours and GPUs (140 GB) of Table 1 if the run is one of its cells, by dataset, model, arm and
    batch sizes, without adapters; else None."""
    algorithm = config.algorithm
    batches = zip(batch_rows(config), paper_column(config), strict=True)
    same = [value.split()[0] == paper for (_, value), paper in batches]
    is_baseline = algorithm.group_size == 16
    if (
        config.model.lora
        or not all(same[:TOTAL])
        or not (is_baseline or algorithm.minibatch_scale > 1)
    ):
        return None
    arm = "grpo" if is_baseline else "two_grpo"
    arm += "" if algorithm.resampling == "none" else "_rs"
    costs = OmegaConf.load(CONF / "scale/paper.yaml").expected_costs
    cost = costs.get(f"table1/{config.dataset.name}_{config.model.name}_{arm}")
    return None if cost is None else (float(cost.hours), int(cost.gpus))

"""Hours of training: measured seconds of a step × steps, or the paper's own. Nothing is modelled.

`make bench ARGS="… calibrate=FILE"` measures the steps of a run; the paper's hours are those of
conf/scale/paper.yaml.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from twogrpo.config.batch_sizes import batch_rows, paper_column
from twogrpo.config.cli import CONF
from twogrpo.config.schema import Config
from twogrpo.errors import ConfigError

TOTAL = 7  # the batch table's row of all rollouts, of which resampling knows bounds only


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
        content = json.loads(path.read_text(encoding="utf-8"))
        found = Calibration(**{field.name: content[field.name] for field in fields(Calibration)})
        if not (found.step_seconds > 0 and min(found.seconds.values()) >= 0):
            raise ValueError("seconds must be numbers over 0, by phase")
        dict(found.measured_on)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise ConfigError(
            f"calibration={path} cannot be read ({reason}): write it with scripts/benchmark.py "
            "calibrate=FILE, or leave it null"
        ) from error
    return found


def calibrated_hours(path: Path, config: Config, device: str) -> float:
    """Hours of training without validation, checkpoints, evaluation and start-up; raises
    ConfigError where the file cannot be read or was measured on something else.

    `device` is the planned device; its family is part of the GPU's name ("NVIDIA H200").
    """
    found = read_calibration(path)
    kind = config.hardware.device
    ranks = max(config.hardware.num_gpus, 1)
    planned = measured_on(config, "cpu" if kind == "cpu" else device, ranks)
    measured = dict(found.measured_on)
    if kind != "cpu" and device.partition("_")[0] in str(measured.get("device")).lower():
        measured["device"] = device
    for key, value in planned.items():
        if measured.get(key) != value:
            raise ConfigError(
                f"calibration={path} was measured with {key}={measured.get(key)}, but this run has "
                f"{key}={value}: calibrate with this run's values (make bench ARGS=…)"
            )
    return found.step_seconds * config.num_steps / 3600


def paper_hours(config: Config) -> tuple[float, int] | None:
    """Hours and GPUs (140 GB) of Table 1 if the run is one of its cells, by dataset, model, arm and
    batch sizes; else None."""
    batches = zip(batch_rows(config), paper_column(config), strict=True)
    same = [value.split()[0] == paper for (_, value), paper in batches]
    algorithm = config.algorithm
    is_arm = algorithm.group_size == 16 or algorithm.minibatch_scale > 1
    if not is_arm or not all(same[:TOTAL]):
        return None
    arm = "grpo" if algorithm.group_size == 16 else "two_grpo"
    arm += "" if algorithm.resampling == "none" else "_rs"
    costs = OmegaConf.load(CONF / "scale/paper.yaml").expected_costs
    cost = costs.get(f"table1/{config.dataset.name}_{config.model.name}_{arm}")
    return None if cost is None else (float(cost.hours), int(cost.gpus))

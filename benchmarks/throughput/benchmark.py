"""Runs one benchmark, prints it and optionally writes a calibration file."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.throughput import hardware_ceilings, report
from benchmarks.throughput.config import BenchmarkConfig
from benchmarks.throughput.step_timing import measure, open_run
from benchmarks.throughput.throughput import Ceilings, Result, Sampler, summarise
from twogrpo.config.schema import Config, HardwareConfig
from twogrpo.core.advantages import ADVANTAGES
from twogrpo.models.load import DTYPES
from twogrpo.preflight.hours import Calibration, measured_on
from twogrpo.preflight.memory.estimate import BYTES
from twogrpo.preflight.model_shapes import architecture_of


@dataclass(frozen=True)
class Output:
    """A benchmark's result, as data and as printed; `text` is empty on all ranks but the first."""

    result: Result
    data: dict[str, Any]
    text: str


def bench(config: BenchmarkConfig) -> Output:
    """Measures; writes the calibration if `config.calibrate` names a file.

    Raises:
        ConfigError: a value is wrong, or the model's sizes are not known.
    """
    model = architecture_of(config.model)
    with open_run(config) as (run, recorder):
        measured = measure(run, recorder, config)
        # After the steps, so that the memory of this is not counted in their peak.
        ceilings = _ceilings(config.hardware)
        # DPO scores its pairs by the policy and the reference policy before each update.
        scoring_passes = 2 if ADVANTAGES[config.algorithm.advantage].refresh else 0
        sampler = _sampler(config, run.ranks.size)
        result = summarise(measured, model, ceilings, sampler, scoring_passes=scoring_passes)
        if config.calibrate is not None and run.ranks.is_first:
            calibration(config, result, run.ranks.size).write(Path(config.calibrate))
        data = report.as_json(config, model, ceilings, result, run.ranks.size)
        page = "" if config.json else report.report(config, ceilings, result) + "\n"
        if not run.ranks.is_first:
            return Output(result, data, "")
        return Output(result, data, f"{page}{json.dumps(data)}")


def calibration(config: BenchmarkConfig, result: Result, num_ranks: int) -> Calibration:
    """The median seconds of a step by phase, as scripts/preflight.py takes them."""
    device, machine = config.hardware.device, hardware_ceilings.name(config.hardware.device)
    return Calibration(
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        machine=machine,
        workload=config.workload,
        measured_on=measured_on(config, "cpu" if device == "cpu" else machine, num_ranks),
        seconds=result.seconds_of,
    )


def _ceilings(hardware: HardwareConfig) -> Ceilings:
    dtypes = {hardware.dtype, hardware.sampler_dtype}
    flops = {name: hardware_ceilings.matmul_flops(hardware.device, DTYPES[name]) for name in dtypes}
    copies = hardware_ceilings.copy_bytes_per_second(hardware.device)
    return Ceilings(flops[hardware.dtype], flops[hardware.sampler_dtype], copies)


def _sampler(config: Config, num_ranks: int) -> Sampler:
    hardware = config.hardware
    return Sampler(
        bytes_per_value=BYTES[hardware.sampler_dtype],
        rollouts_per_call=hardware.rollouts_per_call,
        copies=max(num_ranks // hardware.tensor_parallel_size, 1),
        refills=config.rollout.engine == "vllm",
    )

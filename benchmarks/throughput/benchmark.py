"""One benchmark from its configuration: measured, told, and kept where a file is asked for."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.throughput import hardware_ceilings, report
from benchmarks.throughput.calibrate import calibrate, workload
from benchmarks.throughput.config import BenchmarkConfig
from benchmarks.throughput.step_timing import Measured, measure, open_run
from benchmarks.throughput.throughput import Ceilings, Result, Sampler, summarise
from twogrpo.config.schema import Config, HardwareConfig
from twogrpo.models.load import DTYPES
from twogrpo.preflight.memory.estimate import BYTES
from twogrpo.preflight.model_shapes import architecture_of


@dataclass(frozen=True)
class Told:
    """What a benchmark found, and as it is printed; `text` is empty on all ranks but the first."""

    result: Result
    data: dict[str, Any]
    text: str


def bench(config: BenchmarkConfig) -> Told:
    """Measures; writes the calibration where `config.calibrate` names a file.

    Raises:
        ConfigError: a value is wrong, or the model's sizes are not known.
    """
    model = architecture_of(config.model)
    with open_run(config) as (run, watched):
        doubts, measured = list[str](), measure(run, watched, config)
        if config.work == "full":
            doubts += ended_early(measured, config.dataset.max_response_tokens)
        work = workload(config, measured)
        # After the steps, so that what these hold is no part of the peak.
        ceilings = _ceilings(config.hardware)
        result = summarise(
            measured,
            model,
            ceilings,
            _sampler(config, run.ranks.size),
            scoring_passes=work.reweighing_passes,
        )
        if config.calibrate is not None:
            found = calibrate(run, config, model, work, result, ceilings)
            doubts += [f"calibrate: {doubt}" for doubt in found.clamped()]
            if run.ranks.is_first:
                found.write(Path(config.calibrate))
        data = report.as_json(config, model, ceilings, result, run.ranks.size)
        page = "" if config.json else report.report(config, ceilings, result) + "\n"
        if not run.ranks.is_first:
            return Told(result, data, "")
        sys.stderr.writelines(f"{doubt}\n" for doubt in doubts)
        return Told(result, data, f"{page}{json.dumps(data)}")


def ended_early(measured: Measured, limit: int) -> list[str]:
    """That work=full was not all of it, in a line; nothing where every response has its limit."""
    lengths = [length for step in measured.steps for length in step.lengths]
    early = sum(length < limit for length in lengths)
    if not early:
        return []
    return [
        f"work=full: {early} of {len(lengths)} responses ended before dataset.max_response_tokens="
        f"{limit}, at the token that vLLM takes for the end: use rollout=transformers"
    ]


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

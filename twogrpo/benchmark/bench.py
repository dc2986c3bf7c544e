"""One benchmark from its configuration: measured, told, and kept where a file is asked for."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twogrpo.benchmark import machine, report
from twogrpo.benchmark.calibrate import calibrate
from twogrpo.benchmark.result import Ceilings, Result, summarise
from twogrpo.benchmark.settings import BenchmarkConfig
from twogrpo.benchmark.steps import measure, open_run
from twogrpo.engines.build import DTYPES
from twogrpo.preflight.architectures import architecture_of
from twogrpo.preflight.memory import BYTES


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
    model, device = architecture_of(config.model), config.hardware.device
    with open_run(config) as (run, watched):
        measured = measure(run, watched, config)
        # After the steps, so that what these hold is no part of the peak.
        ceilings = Ceilings(
            machine.matmul_flops(device, DTYPES[config.hardware.dtype]),
            machine.copy_bytes_per_second(device),
        )
        result = summarise(
            measured,
            model,
            ceilings,
            sampler_bytes=BYTES[config.sampler_dtype],
            rollouts_per_call=config.hardware.rollouts_per_call,
            tensor_parallel=config.hardware.tensor_parallel_size,
        )
        if config.calibrate is not None:
            found = calibrate(run, config, model, measured, result, ceilings)
            if run.ranks.is_first:
                found.write(Path(config.calibrate))
                sys.stderr.writelines(f"calibrate: {doubt}\n" for doubt in found.clamped())
        data = report.as_json(config, model, ceilings, result, run.ranks.size)
        page = "" if config.json else report.report(config, ceilings, result) + "\n"
        return Told(result, data, f"{page}{json.dumps(data)}" if run.ranks.is_first else "")

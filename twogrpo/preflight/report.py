"""A preflight as a report for a person, and as data."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from twogrpo.config.batch_sizes import batch_rows, paper_column
from twogrpo.config.schema import Config
from twogrpo.preflight.memory.estimate import memory, verdict
from twogrpo.preflight.memory.report import devices, memory_part
from twogrpo.preflight.preflight import Preflight, PreflightConfig
from twogrpo.preflight.small_group_checks import safety_rows
from twogrpo.preflight.text_tables import MARKS, duration, note, section, table
from twogrpo.preflight.time.roofline import Workload, phase_seconds
from twogrpo.preflight.time.workload import ARMS
from twogrpo.preflight.zero_variance import Beta, Forecast, forecast

GROUP_SIZES = (2, 4, 8, 16)
NAMES = {"grpo": "16-GRPO", "two_grpo": "2-GRPO", "two_grpo_rs": "2-GRPO+RS"}

OFFLOADED = "cpu_offload waits for its link as sizes say, never measured; "
NOT_DIVIDING = "its mini-batches, 8 times as many prompts, do not divide these steps."


def report(found: Preflight) -> str:
    """For a person."""
    config = found.config
    title = f"{config.run_name}: {config.algorithm.name} on {config.dataset.name}"
    return "\n".join(
        [
            section(f"Preflight of {title}", note(_summary(found))),
            section("Batches", _batches(config)),
            section("Small groups", _safety(config)),
            section("Memory of one device", memory_part(found)),
            section("Time and cost", _time(found)),
            section("Dead groups", _forecast(found)),
            section("Conflicts", _findings(found)),
            _last_line(found),
        ]
    )


def as_json(found: Preflight) -> dict[str, Any]:
    """The same as data; hours, bytes, tokens."""
    config = found.config
    gpus = found.place.devices
    return {
        "run_name": config.run_name,
        "arm": found.own,
        "exit_code": found.exit_code,
        "model": {"parameters": found.model.parameters, "source": found.model.source},
        "device": asdict(found.device),
        "num_devices": gpus,
        "batches": dict(batch_rows(config)),
        "memory": {
            **asdict(found.needed),
            "update_peak": found.needed.update_peak,
            "sampling_peak": found.needed.sampling_peak,
            "sync_peak": found.needed.sync_peak,
            "verdict": verdict(found.needed, found.device),
            "devices": {
                d.name: verdict(memory(config, found.model, d, found.lengths), d)
                for d in devices(found)
            },
        },
        "lengths": asdict(found.lengths),
        "arms": {
            name: {
                **asdict(cost),
                "hours": cost.hours,
                "device_hours": cost.hours * gpus,
                "tokens_generated": _tokens(work),
                "price": _price(config, cost.hours * gpus),
            }
            for name, (work, cost) in found.arms.items()
        },
        "evaluation_hours": found.evaluation_hours,
        "dead_groups": [_finite(asdict(row)) for row in _rows(found)],
        "findings": [asdict(finding) for finding in found.findings],
    }


def _summary(found: Preflight) -> str:
    own, (_, cost) = found.config, found.arms[found.own]
    devices = f"{found.place.devices} × {found.device.name}"
    return (
        f"{own.model.name} ({found.model.parameters / 1e9:.3g} B parameters) on {devices}: "
        f"{verdict(found.needed, found.device)}, about {duration(cost.hours)} of training. "
        f"{own.rollout.engine} samples. Estimates; assumptions below."
    )


def _batches(config: Config) -> str:
    rows = [
        [name, value, paper]
        for (name, value), paper in zip(batch_rows(config), paper_column(config), strict=True)
    ]
    return table(["", "this run", "paper"], rows, left=2)


def _safety(config: Config) -> str:
    return table(["", "", ""], [list(row) for row in safety_rows(config)], left=3)


def _time(found: Preflight) -> str:
    config, gpus = found.config, found.place.devices
    base = found.arms["grpo"][1].hours
    priced = config.price_per_gpu_hour is not None
    header = ["arm", "sample s", "π_old s", "update s", "sync s", "other s", "M tokens", "hours"]
    header += ["GPU-hours", "of 16-GRPO", *(["price"] if priced else [])]
    rows = [
        [
            _label(found, name) + (" ←" if name == found.own else ""),
            *(f"{seconds:,.3g}" for seconds in phase_seconds(cost)),
            f"{_tokens(work) / 1e6:,.4g}",
            duration(cost.hours),
            f"{cost.hours * gpus:,.3g}",
            f"{cost.hours / base:.1%}",
            *([f"{_price(config, cost.hours * gpus):,.2f}"] if priced else []),
        ]
        for name, (work, cost) in found.arms.items()
    ]
    absent = [NAMES[name] for name in ARMS if name not in found.arms]
    rows += [[name, *["–"] * (len(header) - 1)] for name in absent]
    hours = found.evaluation_hours
    evaluation = "not estimated" if hours is None else duration(hours)
    return "\n".join(
        [
            table(header, rows),
            note(f"Seconds are of one step. Evaluation at the end, extra: {evaluation}."),
            *([note(f"–: {NOT_DIVIDING}")] if absent else []),
            note(_assumptions(found)),
        ]
    )


def _label(found: Preflight, name: str) -> str:
    """The paper's name of an arm; of a run that is none of its arms, algorithm and group size."""
    own = found.config.algorithm
    return NAMES.get(name, f"{own.name}, G = {own.group_size}")


def _assumptions(found: Preflight) -> str:
    config, lengths = found.config, found.lengths
    given = "given" if config.mean_response_tokens is not None else "assumed"
    source = f"calibrated by {config.calibration}" if config.calibration else "not calibrated"
    return (
        f"Assumptions: responses of {lengths.response:,.0f} tokens on the mean ({given}; "
        f"mean_response_tokens=…), prompts of {lengths.prompt:,.0f}; "
        f"{found.device.update_efficiency:.3g} of the device's matrix ceiling in updates and "
        f"{found.device.generation_efficiency:.3g} of its ceilings in decoding ({source}); shares "
        "of dead groups as below; a prompt is trained on once for its group; the longest response "
        f"holds up each step; {OFFLOADED if found.place.offloads else ''}verifier and all "
        f"else take {found.device.overhead_seconds:.2g} s a step, validation and start-up "
        "nothing."
    )


def _rows(found: Preflight) -> list[Forecast]:
    sizes = sorted({*GROUP_SIZES, found.config.algorithm.group_size})
    baseline = (16, found.config.training.prompts_per_minibatch)
    return forecast(found.success, sizes, reference=baseline)


def _forecast(found: Preflight) -> str:
    own, minibatch = found.config.algorithm.group_size, found.config.rollouts_per_minibatch
    rows = [
        [
            f"{row.group_size}{' ←' if row.group_size == own else ''}",
            f"{1 - row.contrastive_share:.1%}",
            f"{row.contrastive_share:.1%}{_plus_minus(row.error)}",
            f"{row.contrastive_share * minibatch:,.0f} of {minibatch:,}",
            f"{row.draws_per_kept:.3g}",
            f"{row.prompts_per_minibatch:,.0f}",
        ]
        for row in _rows(found)
    ]
    header = ["G", "dead", "contrastive", "effective rollouts", "draws a kept", "prompts wanted"]
    probe = (
        f"From {found.config.probe}: {len(found.success)} prompts; ± one standard error of the "
        "prompts; larger G than samples through a beta distribution."
        if not isinstance(found.success, Beta)
        else "No probe: success rates assumed Beta(2, 0.5), mean 0.8. Better: the same keys with "
        "scripts/benchmark.py probe=probe.json ask the start model 8 times each on 100 training "
        "prompts, as training would; give the file as probe=probe.json."
    )
    return "\n".join(
        [
            table(header, rows),
            note(
                "Effective: rollouts of a mini-batch of this run's size that carry a gradient. "
                "Prompts wanted: in a mini-batch, for as many of them as 16-GRPO's mini-batch has."
            ),
            note(probe),
        ]
    )


def _plus_minus(error: float) -> str:
    return "" if math.isnan(error) else f" ± {error:.1%}"


def _findings(found: Preflight) -> str:
    lines = []
    for finding in found.findings:
        first, *rest = note(finding.text).splitlines()
        lines.append(f"  {MARKS[finding.level]} {finding.name}: {first.strip()}")
        lines += [f"    {line.strip()}" for line in rest]
    return "\n".join(lines)


def _last_line(found: Preflight) -> str:
    count = {
        level: sum(f.level == level for f in found.findings) for level in ("warning", "failure")
    }
    meaning = ("all is well", "look at the warnings", "the run will fail")[found.exit_code]
    told = [f"{number} {level}{'' if number == 1 else 's'}" for level, number in count.items()]
    return f"{' and '.join(told)}: {meaning} (exit code {found.exit_code})"


def _tokens(work: Workload) -> float:
    return work.generations * work.rollouts * work.draws * work.response_tokens


def _price(config: PreflightConfig, device_hours: float) -> float | None:
    price = config.price_per_gpu_hour
    return None if price is None else price * device_hours


def _finite(values: dict[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}

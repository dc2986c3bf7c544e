"""A preflight as a report for a person, on one screen, and as data."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from twogrpo.config.batch_sizes import batch_rows, paper_column
from twogrpo.preflight.memory.estimate import memory, verdict
from twogrpo.preflight.memory.report import devices, memory_part
from twogrpo.preflight.preflight import Preflight
from twogrpo.preflight.text_tables import MARKS, note, section, table
from twogrpo.preflight.zero_variance import Beta, Forecast, forecast

GROUP_SIZES = (2, 4, 8, 16)


def report(found: Preflight) -> str:
    """The report for a person."""
    config, gpus = found.config, max(found.config.hardware.num_gpus, 1)
    pairs = zip(batch_rows(config), paper_column(config), strict=True)
    batches = [[name, value, paper] for (name, value), paper in pairs]
    return "\n".join(
        [
            f"Preflight of {config.run_name}",
            note(
                f"{config.model.name}, {found.model.parameters / 1e9:.3g} B parameters, on "
                f"{gpus} × {found.device.name}: {verdict(found.needed, found.device)}. "
                f"{config.rollout.engine} samples."
            ),
            "",
            section("Batches", table(["", "this run", "paper"], batches, left=2)),
            section("Memory of one device, estimated from sizes", memory_part(found)),
            section("Hours of training", _hours(found)),
            section("Zero-variance groups", _forecast(found)),
            _findings(found),
        ]
    )


def as_json(found: Preflight) -> dict[str, Any]:
    """The same as data, in hours and bytes."""
    config, needed = found.config, found.needed
    peaks = ("update_peak", "sampling_peak", "sync_peak")
    hours, gpus = found.paper or (None, None)
    return {
        "run_name": config.run_name,
        "algorithm": config.algorithm.name,
        "group_size": config.algorithm.group_size,
        "exit_code": found.exit_code,
        "model": {"parameters": found.model.parameters, "source": found.model.source},
        "device": asdict(found.device),
        "num_devices": max(config.hardware.num_gpus, 1),
        "batches": dict(batch_rows(config)),
        "memory": asdict(needed) | {peak: getattr(needed, peak) for peak in peaks},
        "verdicts": {d.name: verdict(memory(config, found.model, d), d) for d in devices(found)},
        "hours": {"calibrated": found.calibrated_hours, "paper": hours, "paper_gpus": gpus},
        "zero_variance": [
            {name: value if math.isfinite(value) else None for name, value in asdict(row).items()}
            for row in _rows(found)
        ],
        "findings": [asdict(finding) for finding in found.findings],
    }


def _hours(found: Preflight) -> str:
    hours, paper, lines = found.calibrated_hours, found.paper, list[str]()
    if hours is not None:
        lines.append(
            f"{hours:.3g} h: the seconds of a step in {found.config.calibration} × "
            f"{found.config.num_steps:,} steps. Validation, checkpoints, evaluation extra."
        )
    if paper is not None:
        lines.append(f"The paper's Table 1: {paper[0]:.2f} h on {paper[1]} GPUs of 140 GB.")
    return note(" ".join(lines or ['unknown: calibrate with make bench ARGS="calibrate=FILE …".']))


def _rows(found: Preflight) -> list[Forecast]:
    sizes = sorted({*GROUP_SIZES, found.config.algorithm.group_size})
    baseline = (16, found.config.training.prompts_per_minibatch)
    return forecast(found.success, sizes, reference=baseline)


def _forecast(found: Preflight) -> str:
    own, minibatch = found.config.algorithm.group_size, found.config.rollouts_per_minibatch
    rows = [
        [
            f"{row.group_size}{' ←' if row.group_size == own else ''}",
            f"{1 - row.signal_share:.1%}"
            + ("" if math.isnan(row.error) else f" ± {row.error:.1%}"),
            f"{row.signal_share * minibatch:,.0f} of {minibatch:,}",
            f"{row.draws_per_signal:.3g}",
            f"{row.prompts_per_minibatch:,.0f}",
        ]
        for row in _rows(found)
    ]
    header = ["G", "zero variance", "rollouts with signal", "draws per group with signal"]
    source = (
        f"Success rates of {len(found.success)} prompts in {found.config.success_rates}."
        if not isinstance(found.success, Beta)
        else "Success rates assumed Beta(2, 0.5); success_rates=RUN reads those of a run's first "
        "step (tracking.save_rollouts=true)."
    )
    return "\n".join([table([*header, "prompts for 16-GRPO's signal"], rows), note(source)])


def _findings(found: Preflight) -> str:
    """Passed checks by name, the others in full, and what the exit code means."""
    levels = [finding.level for finding in found.findings]
    passed = ", ".join(finding.name for finding in found.findings if finding.level == "ok")
    others = [f"{MARKS[f.level]} {f.name}: {f.text}" for f in found.findings if f.level != "ok"]
    checks = section("Checks", *map(note, [f"{MARKS['ok']} {passed}", *others]))
    meaning = ("all is well", "look at the warnings", "the run will fail")[found.exit_code]
    counts = f"warnings: {levels.count('warning')}, failures: {levels.count('failure')}"
    return f"{checks}\n{counts}: {meaning} (exit code {found.exit_code})"

"""The result of a benchmark as a page and as one line of JSON."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from benchmarks.throughput import hardware_ceilings
from benchmarks.throughput.config import BenchmarkConfig
from benchmarks.throughput.throughput import Ceilings, Result
from twogrpo.preflight.model_shapes import Architecture
from twogrpo.preflight.text_tables import gib, note, section, table


def as_json(
    config: BenchmarkConfig, model: Architecture, ceilings: Ceilings, result: Result, num_ranks: int
) -> dict[str, Any]:
    """The settings and the result as data."""
    hardware = config.hardware
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "model": config.model.name,
        "parameters": model.parameters,
        "algorithm": config.algorithm.name,
        "group_size": config.algorithm.group_size,
        "prompts": config.training.prompts_per_step,
        "updates": config.updates_per_step,
        "max_response_tokens": config.dataset.max_response_tokens,
        "sampler": config.rollout.engine,
        "device": hardware.device,
        "machine": hardware_ceilings.name(hardware.device),
        "threads": hardware.num_threads,
        "ranks": num_ranks,
        "dtype": hardware.dtype,
        "sampler_dtype": hardware.sampler_dtype,
        "workload": config.workload,
        "ceilings": asdict(ceilings),
        **asdict(result),
    }


def report(config: BenchmarkConfig, ceilings: Ceilings, result: Result) -> str:
    """The page for a person."""
    algorithm, hardware = config.algorithm, config.hardware
    prompts, total = config.training.prompts_per_step, result.seconds
    title = (
        f"{config.model.name}, {algorithm.name}: {prompts} prompts × {algorithm.group_size} "
        f"rollouts, {config.updates_per_step} updates"
    )
    where = f"{hardware.device}, {hardware.num_threads} threads, {hardware.dtype}"
    sampler = f"{config.rollout.engine} samples in {hardware.sampler_dtype}"
    same = "each with new samples" if config.workload == "resampled" else "each the same work"
    if not result.is_same_work and config.workload != "resampled":
        same = "NOT all the same work: sampling is not reproducible here"
    return section(
        f"Benchmark of {title}",
        note(f"{sampler}; {where}; {config.steps} steps, {same}."),
        table(["seconds a step", "median", "min", "max"], [
            ["", f"{total.median:.3f}", f"{total.min:.3f}", f"{total.max:.3f}"]]),
        table(["phase", "seconds", "share"], _phases(result)),
        table(["", ""], _rates(result)),
        table(["", "reached", "ceiling a rank", "share"], _ceilings(ceilings, result)),
    )  # fmt: skip


def _phases(result: Result) -> list[list[str]]:
    whole = sum(result.seconds_of.values())
    return [
        [name, f"{seconds:.3f}", f"{seconds / whole:.1%}"]
        for name, seconds in sorted(result.seconds_of.items(), key=lambda item: -item[1])
    ]


def _rates(result: Result) -> list[list[str]]:
    return [
        ["rollouts a second", f"{result.rollouts_per_second:,.2f}"],
        ["tokens generated a second", f"{result.tokens_generated_per_second:,.1f}"],
        ["tokens trained on a second", f"{result.tokens_trained_per_second:,.1f}"],
        ["rollouts trained on", f"{result.trained_share:.1%}"],
        ["peak memory", gib(result.peak_memory)],
        ["before the first step", gib(result.memory_at_start)],
        ["that the steps added", gib(result.memory_of_steps)],
    ]


def _ceilings(ceilings: Ceilings, result: Result) -> list[list[str]]:
    updating, sampling = result.updating, result.generating
    at_most = ceilings.sampler_matmul_flops
    rows = [
        _row("updates, GFLOP/s", updating.flops, ceilings.matmul_flops, updating.share_of_matmul),
        _row("sampling, GFLOP/s", sampling.flops, at_most, sampling.share_of_matmul),
    ]
    read, share = sampling.bytes_per_second, sampling.share_of_copy
    if read is not None and share is not None:
        rows.append(_row("sampling, GB/s", read, ceilings.copy_bytes_per_second, share))
    return rows


def _row(name: str, reached: float, ceiling: float, share: float) -> list[str]:
    return [name, f"{reached / 1e9:.4g}", f"{ceiling / 1e9:.4g}", f"{share:.1%}"]

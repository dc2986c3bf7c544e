"""From a benchmark to the numbers that the planner wants of a machine (twogrpo/preflight)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import fields, replace
from itertools import zip_longest
from statistics import fmean, median

import torch

from benchmarks.throughput import hardware_ceilings
from benchmarks.throughput.config import BenchmarkConfig
from benchmarks.throughput.step_timing import Measured
from benchmarks.throughput.throughput import TRAINING, Ceilings, Result
from twogrpo.preflight.assumed_lengths import Lengths
from twogrpo.preflight.memory.estimate import BYTES, memory
from twogrpo.preflight.model_shapes import Architecture
from twogrpo.preflight.time import workload as planning
from twogrpo.preflight.time.calibration_fit import LEAST_SECONDS, fitted
from twogrpo.preflight.time.devices import Calibration, Device, load_device
from twogrpo.preflight.time.roofline import Workload
from twogrpo.preflight.zero_variance import ASSUMED
from twogrpo.training.run import Run
from twogrpo.types import TrainingSample

TRIALS = 5
SEEDS = 8  # the longest of that many short responses is timed


def calibrate(
    run: Run,
    config: BenchmarkConfig,
    model: Architecture,
    work: Workload,
    result: Result,
    ceilings: Ceilings,
) -> Calibration:
    """Ceilings, the overheads of one step and of a generation, and the efficiencies at which the
    planner's model takes as long as the run's phases took."""
    decode, update = overheads(run, config, model, ceilings)
    # Placed on the ranks that there were: hardware.num_gpus is for planning.
    config = replace(config, hardware=replace(config.hardware, num_gpus=run.ranks.size))
    device = replace(
        this_device(config.hardware.device),
        matmul_flops=ceilings.matmul_flops,
        copy_bytes_per_second=ceilings.copy_bytes_per_second,
        decode_step_seconds=decode,
        update_seconds=update,
    )
    seconds = result.seconds_of
    device = fitted(
        model,
        device,
        work,
        planning.placement(config, memory(config, model, device)),
        generate_seconds=seconds["generate"],
        train_seconds=sum(seconds.get(phase, 0.0) for phase in TRAINING),
        other_seconds=sum(seconds[p] for p in seconds if p not in ("generate", *TRAINING)),
    )
    threads = f"cpu, {config.hardware.num_threads} threads"
    shared = {field.name for field in fields(Calibration)} & {f.name for f in fields(Device)}
    return Calibration(
        device=threads if config.hardware.device == "cpu" else device.name,
        model=config.model.name,
        dtype=config.hardware.dtype,
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        **{name: getattr(device, name) for name in shared},
    )


def this_device(kind: str) -> Device:
    """This machine's CPU or GPU to plan with: of a GPU its own memory, links as an H200's."""
    if kind == "cpu":
        return load_device("cpu")
    found = torch.cuda.get_device_properties()
    return replace(load_device("h200_141"), name=found.name, memory_gib=found.total_memory / 2**30)


def workload(config: BenchmarkConfig, measured: Measured) -> Workload:
    """The mean step as the planner sees a generation; lengths, dead groups and rounds as measured.

    Two steps may differ in their rounds (work=fresh): each is of the mean size then.
    """
    steps = measured.steps
    prompt_lengths = [length for step in steps for length in step.prompt_lengths]
    lengths = [length for step in steps for length in step.lengths]
    planned = planning.workload(config, Lengths(fmean(prompt_lengths), fmean(lengths)), ASSUMED)
    sizes = [[len(call.lengths_PG) for call in step.calls] for step in steps]
    trained = sum(step.rollouts_trained for step in steps)
    return replace(
        planned,
        trained_share=trained / len(steps) / planned.rollouts,
        rounds=tuple(fmean(size) / planned.prompts for size in zip_longest(*sizes, fillvalue=0)),
    )


def overheads(
    run: Run, config: BenchmarkConfig, model: Architecture, ceilings: Ceilings
) -> tuple[float, float]:
    """Seconds of a decoding step and of an optimiser step on one short sequence, each without what
    the weights alone cost at the ceiling of copies, since the planner counts that apart. A call of
    one token, which is all prefill, is taken off the call that is timed."""
    prompt, sampling = (
        run.collector.stream.next(1)[0].prompt,
        replace(run.collector.sampling, max_response_tokens=8),
    )
    drawn = run.collector.sampler.sample([prompt], [list(range(SEEDS))], sampling)[0]
    lengths = [len(rollout.token_ids) for rollout in drawn]
    length, seed = max(lengths), lengths.index(max(lengths))

    def decode(tokens: int) -> float:
        limited = replace(sampling, max_response_tokens=tokens)
        return _median_seconds(
            lambda: run.collector.sampler.sample([prompt], [[seed]], limited), device
        )

    device = config.hardware.device
    stepping = (decode(length) - decode(1)) / max(length - 1, 1)
    sequence = TrainingSample(
        prompt.token_ids, prompt.token_ids[:1], 1.0, 1e-3, sampler_logps=torch.zeros(1)
    )
    rate = ceilings.copy_bytes_per_second
    reading = model.active_parameters * BYTES[config.hardware.sampler_dtype] / rate
    adam = 28 * model.parameters / run.ranks.size / rate
    return (
        max(stepping - reading, LEAST_SECONDS),
        max(_median_seconds(lambda: run.policy.update([sequence]), device) - adam, LEAST_SECONDS),
    )


def _median_seconds(work: Callable[[], object], device: str) -> float:
    seconds = []
    for _ in range(TRIALS + 1):  # the first one warms up
        start = time.perf_counter()
        work()
        hardware_ceilings.synchronise(device)
        seconds.append(time.perf_counter() - start)
    return median(seconds[1:])

"""Assembles a run as training does and times its steps, each the same work."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.throughput import hardware_ceilings
from benchmarks.throughput.config import BenchmarkConfig, check_benchmark
from benchmarks.throughput.fixed_workload import Call, RecordingSampler, record_sampler
from twogrpo.training import assemble
from twogrpo.training.loop import train_step
from twogrpo.training.resampling import Counters, build_resampling
from twogrpo.training.resume import closing
from twogrpo.training.run import Run


@dataclass(frozen=True)
class Step:
    """One training step: its seconds, in all and by phase, and the work that it was.

    `calls` of the sampler follow one another (resampling makes several); `rollouts_trained` are
    those that went through the policy, with `tokens_trained` response tokens.
    """

    seconds: float
    phases: dict[str, float]
    calls: Sequence[Call]
    rollouts_trained: int
    tokens_trained: int

    @property
    def lengths(self) -> list[int]:
        """Tokens of every response drawn."""
        return [length for call in self.calls for group in call.lengths_PG for length in group]

    @property
    def prompt_lengths(self) -> list[int]:
        """Tokens of every prompt sampled."""
        return [length for call in self.calls for length in call.prompts_P]

    @property
    def tokens_generated(self) -> int:
        """Response tokens drawn."""
        return sum(self.lengths)

    @property
    def rollouts(self) -> int:
        """Responses drawn."""
        return len(self.lengths)


@dataclass(frozen=True)
class Measured:
    """The steps of a run and its memory, bytes: held before the first step, added by the steps (and
    the warm-up) at most, and the peak since the process began."""

    steps: Sequence[Step]
    memory_at_start: int
    memory_of_steps: int
    peak_memory: int
    num_ranks: int


@contextmanager
def open_run(config: BenchmarkConfig) -> Iterator[tuple[Run, RecordingSampler]]:
    """A run assembled as for training, with its record in a temporary folder.

    Raises:
        ConfigError: a value is wrong, as `assemble` raises it.
    """
    check_benchmark(config)
    with TemporaryDirectory() as folder:
        run = assemble.assemble(replace(config, output_dir=str(Path(folder) / "run")))
        with closing(run):
            yield run, record_sampler(run, workload=config.workload)


def measure(run: Run, recorder: RecordingSampler, config: BenchmarkConfig) -> Measured:
    """Times `steps` steps after `warmup_steps`. With workload=resampled each continues where the
    last one ended, with new samples (and new prompts, if the data set has more); otherwise each
    draws the same ones."""
    device = config.hardware.device
    before, at_start = (
        hardware_ceilings.peak_memory_bytes(device),
        hardware_ceilings.memory_bytes(device),
    )
    hardware_ceilings.forget_peak(device)
    steps = []
    for number in range(config.warmup_steps + config.steps):
        if config.workload != "resampled":
            run.collector.stream.position = 0
        step = take_step(run, recorder, device)
        if number >= config.warmup_steps:
            steps.append(step)
    peak = max(hardware_ceilings.peak_memory_bytes(device), run.timer.peak_bytes)
    return Measured(
        steps=steps,
        memory_at_start=at_start,
        memory_of_steps=peak - at_start,
        peak_memory=max(before, peak),
        num_ranks=run.ranks.size,
    )


def take_step(run: Run, recorder: RecordingSampler, device: str) -> Step:
    """Steps 1 to 7 of the loop, as `twogrpo.training.loop` takes them."""
    # Like a first step: nothing carried over, no budget used.
    recorder.calls, run.collector.counters = [], Counters()
    run.collector.resampling = build_resampling(run.config)
    hardware_ceilings.synchronise(device)
    start = time.perf_counter()
    row = train_step(run, step=0)
    hardware_ceilings.synchronise(device)
    seconds = time.perf_counter() - start
    phases = {
        name.removeprefix("seconds/"): value
        for name, value in row.items()
        if name.startswith("seconds/")
    }
    return Step(
        seconds=seconds,
        phases=phases | {"other": seconds - sum(phases.values())},
        # The canary's is the last.
        calls=tuple(recorder.calls[:-1] if run.diagnostics.sync_check.prompts else recorder.calls),
        rollouts_trained=run.collector.counters.trained_on,
        tokens_trained=row["tokens/trained_on"],
    )

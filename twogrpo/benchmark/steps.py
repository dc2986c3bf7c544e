"""Assembles a run as training does and times its steps, each the same work."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from twogrpo import assemble
from twogrpo.benchmark import machine
from twogrpo.benchmark.settings import BenchmarkConfig, check_benchmark
from twogrpo.benchmark.work import Watched, watch
from twogrpo.engines import ranks
from twogrpo.resampling import Counters
from twogrpo.run import Run
from twogrpo.train import train_one_generation


@dataclass(frozen=True)
class Step:
    """One generation of the loop: seconds by phase, the whole's, and the work that it was.

    `lengths_PG` are tokens of the responses; `rollouts_trained` those that went through the policy,
    with `tokens_trained` response tokens.
    """

    seconds: float
    phases: dict[str, float]
    lengths_PG: Sequence[Sequence[int]]
    rollouts_trained: int
    tokens_trained: int

    @property
    def tokens_generated(self) -> int:
        """Response tokens drawn."""
        return sum(map(sum, self.lengths_PG))

    @property
    def rollouts(self) -> int:
        """Responses drawn."""
        return sum(map(len, self.lengths_PG))


@dataclass(frozen=True)
class Measured:
    """Steps of a run, its memory, and the tokens of the prompts of a step."""

    steps: Sequence[Step]
    prompt_lengths: Sequence[int]
    memory_at_start: int
    peak_memory: int
    num_ranks: int


@contextmanager
def open_run(config: BenchmarkConfig) -> Iterator[tuple[Run, Watched]]:
    """A run as training has it, its record in a folder that is gone afterwards.

    Raises:
        ConfigError: as `assemble`.
    """
    check_benchmark(config)
    with TemporaryDirectory() as folder:
        run = assemble.assemble(replace(config, output_dir=str(Path(folder) / "run")))
        watched = watch(run, work=config.work)
        try:
            yield run, watched
        finally:
            run.reward.close()
            run.rollout.close()
            ranks.leave(run.ranks)


def measure(run: Run, watched: Watched, config: BenchmarkConfig) -> Measured:
    """`steps` steps after `warmup_steps`; with work=fresh each draws other responses to the same
    prompts, else each draws the same ones."""
    device = config.hardware.device
    at_start = machine.memory_bytes(device)
    steps = []
    for number in range(config.warmup_steps + config.steps):
        if config.work != "fresh":
            run.stream.position = 0
        step = take_step(run, watched, device)
        if number >= config.warmup_steps:
            steps.append(step)
    prompts = [prompt for _, prompt in run.stream.next(config.training.prompts_per_generation)]
    return Measured(
        steps=steps,
        prompt_lengths=[len(prompt.token_ids) for prompt in prompts],
        memory_at_start=at_start,
        peak_memory=max(machine.peak_memory_bytes(device), run.clock.peak_bytes),
        num_ranks=run.ranks.size,
    )


def take_step(run: Run, watched: Watched, device: str) -> Step:
    """Steps 1 to 7 of the loop, as `twogrpo.train` takes them."""
    # As a first generation: nothing carried over, no budget used.
    watched.lengths_PG, run.counters = [], Counters()
    run.resampling = assemble.build_resampling(run.config)
    machine.synchronise(device)
    start = time.perf_counter()
    row = train_one_generation(run, generation=0)
    machine.synchronise(device)
    seconds = time.perf_counter() - start
    phases = {
        name.removeprefix("seconds/"): value
        for name, value in row.items()
        if name.startswith("seconds/")
    }
    num_groups = len(watched.lengths_PG) - len(run.canary)  # whose responses are drawn last
    return Step(
        seconds=seconds,
        phases=phases | {"other": seconds - sum(phases.values())},
        lengths_PG=watched.lengths_PG[:num_groups],
        rollouts_trained=run.counters.trained_on,
        tokens_trained=row["tokens/trained_on"],
    )

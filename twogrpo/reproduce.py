"""Runs all experiments of a scale, a process each, and then the analysis; what is done is kept."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

from twogrpo.config import ConfigError
from twogrpo.tracking import ROOT, is_finished_folder


@dataclass
class Cost:
    """What a run is expected to take."""

    gpus: int
    hours: float


@dataclass
class Scale:
    """What is run at a scale (conf/scale/)."""

    name: str
    experiments: list[str]
    seeds: list[int]
    overrides: list[str]
    checkpoints: list[str]
    checkpoint_overrides: list[str]
    processes: int
    launcher: str
    expected_costs: dict[str, Cost]


@dataclass
class ReproduceConfig:
    """conf/reproduce.yaml."""

    scale: Scale
    runs_dir: str
    results_dir: str
    processes: int
    dry_run: bool


@dataclass(frozen=True)
class Job:
    """One process and the folder of its record."""

    name: str
    folder: Path
    command: list[str]
    cost: Cost | None = None

    @property
    def is_done(self) -> bool:
        """Finished by the code as it is now."""
        return is_finished_folder(self.folder)


def reproduce(config: ReproduceConfig) -> None:
    """Runs what is not done, then rebuilds tables and figures.

    Raises:
        ConfigError: `processes` is less than 1.
        SystemExit: a run failed; its own message has said why.
    """
    if config.processes < 1:
        raise ConfigError(f"processes={config.processes} runs nothing: use 1 or more")
    planned = list(jobs(config))
    waiting = [job for job in planned if not job.is_done]
    _say(f"{len(planned)} runs, {len(planned) - len(waiting)} of them done, in {config.runs_dir}")
    if config.dry_run:
        for job in planned:
            _say(f"{'done' if job.is_done else 'todo'}  {_cost(job)}{shlex.join(job.command)}")
        return
    _run_all(waiting, processes=config.processes)
    analyse = ["-m", "analysis.all", f"runs={config.runs_dir}", f"out={config.results_dir}"]
    subprocess.run([sys.executable, *analyse], cwd=ROOT, check=True)


def jobs(config: ReproduceConfig) -> Iterator[Job]:
    """Every run of the scale: experiments × seeds, and the untrained checkpoints."""
    scale, runs = config.scale, Path(config.runs_dir)
    for experiment in scale.experiments:
        for seed in scale.seeds:
            name = f"{Path(experiment).name}-seed{seed}"
            arguments = [f"experiment={experiment}", f"seed={seed}", *scale.overrides]
            job = _job(name, runs, scale.launcher, "scripts/train.py", arguments)
            yield replace(job, cost=scale.expected_costs.get(experiment))
    for checkpoint in scale.checkpoints:
        name = f"base-{Path(checkpoint).name}"
        arguments = [f"checkpoint={checkpoint}", *scale.checkpoint_overrides]
        yield _job(name, runs, "python", "scripts/evaluate.py", arguments)


def _job(name: str, runs: Path, launcher: str, script: str, arguments: Sequence[str]) -> Job:
    start = [sys.executable] if launcher == "python" else shlex.split(launcher)
    command = [*start, script, *arguments, f"output_dir={runs / name}"]
    return Job(name, ROOT / runs / name, command)


def _cost(job: Job) -> str:
    if job.cost is None:
        return ""
    return f"{job.cost.gpus} GPUs, {job.cost.hours:.2f} h expected  "


def _run_all(waiting: Sequence[Job], *, processes: int) -> None:
    start = time.monotonic()
    with ThreadPoolExecutor(processes) as pool:
        futures = {pool.submit(_run, job): job for job in waiting}
        try:
            for done, future in enumerate(as_completed(futures), start=1):
                if future.result() != 0:
                    raise SystemExit(f"{futures[future].name} failed: see its message above")
                minutes, seconds = divmod(round(time.monotonic() - start), 60)
                _say(f"{done}/{len(waiting)} runs done, {minutes}:{seconds:02d} so far")
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _run(job: Job) -> int:
    return subprocess.run(job.command, cwd=ROOT, check=False).returncode


def _say(line: str) -> None:
    sys.stderr.write(f"reproduce  {line}\n")

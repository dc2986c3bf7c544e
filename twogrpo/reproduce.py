"""Runs all experiments of a scale, one process each, then the analysis; skips finished runs."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from hydra import compose

from twogrpo.config.schema import Config, HardwareConfig, parse
from twogrpo.config.script_schemas import EvaluateConfig
from twogrpo.errors import ConfigError
from twogrpo.run_record.files import read_run_file
from twogrpo.run_record.provenance import ROOT
from twogrpo.run_record.record import earlier_run


@dataclass
class Cost:
    """The expected cost of a run."""

    gpus: int
    hours: float


@dataclass
class Scale:
    """The runs of a scale (conf/scale/)."""

    name: str
    experiments: list[str]
    seeds: list[int]
    overrides: list[str]
    checkpoints: dict[str, list[str]]
    checkpoint_overrides: list[str]
    processes: int
    launcher: str
    expected_costs: dict[str, Cost]


@dataclass
class ReproduceConfig:
    """The schema of conf/reproduce.yaml."""

    scale: Scale
    runs_dir: str
    results_dir: str
    processes: int
    dry_run: bool


@dataclass(frozen=True)
class Job:
    """One run: its configuration and command."""

    name: str
    config: Config | EvaluateConfig
    command: list[str]
    cost: Cost | None = None

    @property
    def is_done(self) -> bool:
        """Whether the run finished with this configuration and the current code.

        Raises:
            ConfigError: the folder is another run's, see `earlier_run`.
        """
        config = replace(self.config, output_dir=str(ROOT / self.config.output_dir))
        if isinstance(config, EvaluateConfig):  # hashes the weights only when it runs
            recorded = read_run_file(Path(config.output_dir)).get("config", {})
            config = replace(config, weights_sha256=recorded.get("weights_sha256", ""))
        try:
            return earlier_run(config).get("status") == "finished"
        except ConfigError as error:
            raise ConfigError(
                f"{error}; or start over with runs_dir=runs/NEW (make reproduce "
                "ARGS=runs_dir=runs/NEW), whose results go to results/NEW"
            ) from error

    @property
    def state(self) -> str:
        """The run's state: done, todo, or refused with the reason."""
        try:
            return "done" if self.is_done else "todo"
        except ConfigError as error:
            return f"refused ({error})"


def reproduce(config: ReproduceConfig) -> None:
    """Runs all unfinished experiments, then rebuilds tables and figures.

    Raises:
        ConfigError: `processes` is less than 1, or a folder holds a run of other code or of
            another configuration.
        SystemExit: a run failed, after printing its own message.
    """
    if config.processes < 1:
        raise ConfigError(f"processes={config.processes} runs nothing: use 1 or more")
    planned = jobs(config)
    states = [job.state for job in planned]
    _print(f"{len(planned)} runs, {states.count('done')} of them done, in {config.runs_dir}")
    if config.dry_run:
        for job, state in zip(planned, states, strict=True):
            cost = f"{job.cost.gpus} GPUs, {job.cost.hours:.2f} h expected  " if job.cost else ""
            _print(f"{state}  {cost}{shlex.join(job.command)}")
        return
    waiting = [job for job in planned if not job.is_done]
    _run_all(waiting, processes=config.processes)
    results = config.results_dir or f"results/{Path(config.runs_dir).name}"
    analyse = ["-m", "analysis.all", f"runs={config.runs_dir}", f"out={results}"]
    subprocess.run([sys.executable, *analyse], cwd=ROOT, check=True)


def jobs(config: ReproduceConfig) -> list[Job]:
    """Every run of the scale: experiments × seeds, and the untrained checkpoints.

    Hydra must be initialized on conf/ (by `@hydra.main` or `initialize_config_dir`).

    Raises:
        ConfigError: a run's configuration does not parse.
        HydraException: it does not compose.
    """
    scale, planned = config.scale, list[Job]()
    for experiment in scale.experiments:
        given = [f"experiment={experiment}", *scale.overrides]
        composed = compose("train", given)  # once for all seeds: takes a third of a second
        for seed in scale.seeds:
            name = f"{Path(experiment).name}-seed{seed}"
            composed.seed, composed.output_dir = seed, f"{config.runs_dir}/{name}"
            training = parse(composed, Config)  # interpolations follow
            arguments = [*given, f"seed={seed}", f"output_dir={training.output_dir}"]
            start = _start(scale.launcher, training.hardware)
            command = [*start, "scripts/train.py", *arguments]
            planned.append(Job(name, training, command, scale.expected_costs.get(experiment)))
    for checkpoint, overrides in scale.checkpoints.items():
        name = f"base-{Path(checkpoint).name}"
        given = [f"checkpoint={checkpoint}", *scale.checkpoint_overrides, *overrides]
        arguments = [*given, f"output_dir={config.runs_dir}/{name}"]
        evaluation = parse(compose("evaluate", arguments), EvaluateConfig)
        command = [sys.executable, "scripts/evaluate.py", *arguments]  # one process, see its checks
        planned.append(Job(name, evaluation, command))
    return planned


def _start(launcher: str, hardware: HardwareConfig) -> list[str]:
    if launcher not in ("auto", "python"):
        return shlex.split(launcher)
    if launcher == "python" or hardware.num_gpus <= 1:
        return [sys.executable]
    ranks = str(hardware.num_gpus)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", ranks]
    return [sys.executable, *torchrun]


def _run_all(waiting: Sequence[Job], *, processes: int) -> None:
    start = time.monotonic()
    with ThreadPoolExecutor(processes) as pool:
        run = partial(subprocess.run, cwd=ROOT, check=False)
        futures = {pool.submit(run, job.command): job for job in waiting}
        try:
            for done, future in enumerate(as_completed(futures), start=1):
                if future.result().returncode != 0:
                    raise SystemExit(f"{futures[future].name} failed: see its message above")
                minutes, seconds = divmod(round(time.monotonic() - start), 60)
                _print(f"{done}/{len(waiting)} runs done, {minutes}:{seconds:02d} so far")
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _print(line: str) -> None:
    sys.stderr.write(f"reproduce  {line}\n")

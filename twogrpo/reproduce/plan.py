"""The plan of a scale: its runs, their configurations, commands and states."""

from __future__ import annotations

import itertools
import os
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser

from twogrpo.config.annotations import NAMED, NOT_NEGATIVE, Bounded
from twogrpo.config.output_folder import check_name
from twogrpo.config.schema import Config, HardwareConfig, parse
from twogrpo.config.script_schemas import EvaluateConfig
from twogrpo.data.files import input_files
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
    seeds: Annotated[list[int], NOT_NEGATIVE]
    overrides: list[str]
    checkpoints: dict[str, list[str]]
    checkpoint_overrides: list[str]
    processes: int
    launcher: str
    duration: str
    expected_costs: dict[str, Cost]


@dataclass
class ReproduceConfig:
    """The schema of conf/reproduce.yaml."""

    scale: Scale
    study_name: str | None
    runs_dir: Annotated[str, NAMED]
    results_dir: Annotated[str, NAMED]
    processes: Annotated[int, Bounded(at_least=1, at_most=1024)]
    dry_run: bool


@dataclass(frozen=True, eq=False)  # a job is itself: hashable, whatever it holds
class Job:
    """One run: its configuration and command."""

    name: str
    config: Config | EvaluateConfig
    command: list[str]
    cost: Cost | None = None

    @property
    def work(self) -> float:
        """The rollouts that the run draws, at most, with those of its evaluation."""
        evaluation = self.config.evaluation
        problems = len(evaluation.benchmarks) * (evaluation.problems_per_benchmark or 500)
        return self.training_work + problems * evaluation.num_samples

    @property
    def training_work(self) -> float:
        """The rollouts of the run's training alone; none of an evaluation."""
        if isinstance(self.config, EvaluateConfig):
            return 0.0
        rollouts_per_prompt = self.config.algorithm.most_rollouts_per_prompt
        return self.config.num_steps * self.config.training.prompts_per_step * rollouts_per_prompt

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
            return earlier_run(config, input_files(config)).get("status") == "finished"
        except ConfigError as error:
            raise ConfigError(
                f"{error}; or start over in another folder, as runs_dir=runs/NEW"
            ) from error

    @property
    def state(self) -> str:
        """The run's state: done, todo, or refused with the reason."""
        try:
            return "done" if self.is_done else "todo"
        except ConfigError as error:
            return f"refused ({error})"


def jobs(config: ReproduceConfig) -> list[Job]:
    """Every run of the scale: experiments × seeds, and the untrained checkpoints; or of the study.

    Hydra must be initialized on conf/ (by `@hydra.main` or `initialize_config_dir`).

    Raises:
        ConfigError: a run's configuration does not parse, or the scale has no seed, one twice, an
            empty folder or a launcher with a quote too many.
        HydraException: it does not compose.
    """
    scale, planned = config.scale, list[Job]()
    _check(config)
    if config.study_name:
        return _study_jobs(config.study_name, config.runs_dir, config.scale.launcher)
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


def _study_jobs(study: str, runs_dir: str, launcher: str) -> list[Job]:
    """Every cell of a study for every seed: the product that `train.py -m` makes of the sweep
    in conf/study/."""
    given, planned = [f"study={study}"], list[Job]()
    swept = compose("train", given, return_hydra_config=True).hydra.sweeper.params
    words = [f"{key}={value}" for key, value in swept.items() if key != "seed"]
    axes = [
        [f"{axis.key_or_group}={value}" for value in axis.sweep_string_iterator()]
        if axis.is_sweep_override()
        else [str(axis.input_line)]
        for axis in OverridesParser.create().parse_overrides(words)
    ]
    [seeds] = OverridesParser.create().parse_overrides([f"seed={swept.seed}"])
    for cell in itertools.product(*axes):
        composed = compose("train", [*given, *cell])  # once for all seeds
        for seed in seeds.sweep_string_iterator():
            composed.seed = int(seed)
            training = parse(composed, Config)
            if training.cell is None:
                raise ConfigError(
                    f"study_name={study} names no cell: give a study of docs/studies.md"
                )
            name = Path(training.output_dir).name
            training.output_dir = f"{runs_dir}/{name}"
            arguments = [*given, *cell, f"seed={seed}", f"output_dir={training.output_dir}"]
            command = [*_start(launcher, training.hardware), "scripts/train.py", *arguments]
            planned.append(Job(name, training, command))
    return planned


def _check(config: ReproduceConfig) -> None:
    seeds, launcher = config.scale.seeds, config.scale.launcher
    if not seeds or len(set(seeds)) < len(seeds):
        raise ConfigError(f"scale.seeds={seeds} must name one seed or more, each once")
    for key in ("runs_dir", "results_dir"):
        check_name(key, getattr(config, key))
        folder = ROOT / getattr(config, key)
        if any(os.path.isfile(path) for path in (folder, *folder.parents)):
            raise ConfigError(f"{key}={getattr(config, key)} lies in a file: give a folder")
    try:
        shlex.split(launcher)
    except ValueError as error:
        raise ConfigError(f"scale.launcher={launcher} is no command: {error}") from error


def _start(launcher: str, hardware: HardwareConfig) -> list[str]:
    if launcher not in ("auto", "python"):
        return shlex.split(launcher)
    if launcher == "python" or (hardware.device == "cpu" and hardware.num_gpus <= 1):
        return [sys.executable]
    ranks = str(max(hardware.num_gpus, 1))  # one GPU too is a shard, as preflight plans it
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", ranks]
    return [sys.executable, *torchrun]

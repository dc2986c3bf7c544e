"""The command line of the Hydra scripts: what Hydra refuses in one line, memory, sweeps."""

from __future__ import annotations

import ctypes
import difflib
import functools
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from hydra import compose
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from twogrpo.config.annotations import TAKES_MEMORY, annotations_of
from twogrpo.config.identity import flatten
from twogrpo.config.renamed import explain
from twogrpo.config.schema import HardwareConfig, one_line
from twogrpo.errors import (
    EXIT_INTERRUPTED,
    EXIT_LATE,
    ConfigError,
    MemoryFault,
    Preempted,
    exit_at_once,
    in_one_line,
    out_of_memory,
)

CONF = Path(__file__).resolve().parent.parent.parent / "conf"
PR_SET_PDEATHSIG = 1  # of Linux's prctl(2)
_failed = dict[str, int]()  # the exit codes of a sweep's jobs that failed


def run(main: Callable[[], None]) -> None:
    """Calls a `@hydra.main` function; what a user can help ends with one line and an exit code
    (twogrpo/errors.py). A sweep ends with the highest code of its jobs.
    """
    # Without it Hydra prints its errors itself and exits with code 1.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    with in_one_line(), _explained():
        _check_groups()
        _check_ranks()
        main()
        if _failed:
            sys.stderr.write(f"failed jobs of the sweep: {'; '.join(_failed)}\n")
            raise SystemExit(max(_failed.values()))


def job(function: Callable[[DictConfig], None]) -> Callable[[DictConfig], None]:
    """Decorates what `@hydra.main` decorates, so that an error ends the process before Hydra adds
    lines of its own.

    In a sweep each job gets a process of its own, if its launcher gives it none, so that threads,
    random state and process groups cannot leak from one job into the next, and the end of one does
    not end the others.
    """

    @functools.wraps(function)
    def guarded(cfg: DictConfig) -> None:
        hydra = HydraConfig.get()
        is_sweep = hydra.mode == RunMode.MULTIRUN
        is_elsewhere = is_sweep and not hydra.launcher._target_.endswith("BasicLauncher")
        # Submitit's jobs hand an error to the sweep, whose `run` says it when all have ended.
        with ExitStack() as guards:
            if not is_elsewhere:
                guards.enter_context(exit_at_once())
                guards.enter_context(in_one_line(lambda: _values(cfg)))
            guards.enter_context(_explained())
            _run_job_of_sweep(cfg) if is_sweep and not is_elsewhere else function(cfg)

    return guarded


def _check_ranks() -> None:
    """Raises ConfigError if the environment names ranks otherwise than torchrun does."""
    absent = "" if "RANK" in os.environ else "1"
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        value = os.environ.get(name, absent)
        if not value.isdecimal() or (name == "WORLD_SIZE" and not int(value)):
            raise ConfigError(
                f"{name}={value} in the environment: start with torchrun, or unset it"
            )


@contextmanager
def _explained() -> Iterator[None]:
    """Turns what Hydra refuses, and a lack of memory, into errors of ours."""
    try:
        yield
    except OmegaConfBaseException as error:
        raise ConfigError(one_line(error)) from error
    except HydraException as error:
        raise ConfigError(_explain(error)) from error
    except (MemoryError, RuntimeError, OSError) as error:
        shortage = out_of_memory(error)
        if shortage is None:
            raise
        marks = annotations_of(HardwareConfig)
        keys = [f"hardware.{name}" for name in marks if TAKES_MEMORY in marks[name]]
        notes = getattr(error, "__notes__", [])  # only a run that had begun has some
        short = (MemoryFault if notes else ConfigError)(f"{shortage}: lower {', '.join(keys)}")
        for note in notes:
            short.add_note(note)
        raise short from error


def end_with_parent() -> None:
    """Lets the kernel send SIGTERM to this process when its parent is gone, however that ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _run_job_of_sweep(cfg: DictConfig) -> None:
    """Runs the job in a process, and notes its exit code; an interruption ends the sweep."""
    typed = list(HydraConfig.get().overrides.task)
    command = [sys.executable, sys.argv[0], *typed, *_name_of_its_own(cfg, typed)]
    process = subprocess.Popen(command, preexec_fn=end_with_parent)
    while True:
        try:
            code = process.wait()
            break
        except KeyboardInterrupt:  # it went to the job too, which saves and ends
            continue
    code = code if code >= 0 else 128 - code
    if code in (EXIT_LATE, EXIT_INTERRUPTED, Preempted.exit_code):
        raise SystemExit(code)
    if code:
        _failed[f"{' '.join(typed)} (exit code {code})"] = code


def _name_of_its_own(cfg: DictConfig, typed: Sequence[str]) -> list[str]:
    """The run_name of a job of a sweep, with the swept values in it, if jobs would share a folder.

    Raises:
        ConfigError: they would share it all the same.
    """
    if _has_a_folder_for_each_job(HydraConfig.get().job.config_name):
        return []
    if "run_name" not in cfg or any(word.startswith("output_dir=") for word in typed):
        raise ConfigError(
            f"output_dir={cfg.output_dir} is the folder of several jobs of the sweep: leave it "
            "out, or give it what differs, as 'output_dir=runs/mine-${seed}'"
        )
    swept = [o.get_key_element() for o in _typed() if o.is_sweep_override()]
    values = ",".join(word for word in typed if word.partition("=")[0] in swept)
    name = cfg.run_name or f"{Path(str(cfg.checkpoint)).name}-{cfg.evaluation.name}"
    return [f"run_name='{name}-{re.sub('[^A-Za-z0-9_.,=-]', '-', values)}'"]


@functools.cache
def _has_a_folder_for_each_job(config_name: str) -> bool:
    """Whether the jobs of the sweep, all composed here, write into different folders, if any."""
    [jobs] = BasicSweeper.split_arguments(_typed(), None)
    folders = [_folder(compose(config_name, typed)) for typed in jobs]
    return None in folders or len(set(folders)) == len(folders)


def _folder(cfg: DictConfig) -> str | None:
    """What a job's folder follows from: `output_dir`, or in an evaluation the names in it."""
    if "output_dir" not in cfg:
        return None
    return cfg.output_dir or f"{cfg.run_name or (cfg.checkpoint, cfg.evaluation.name)}"


def _values(cfg: DictConfig) -> dict[str, Any]:
    values: Any = OmegaConf.to_container(cfg, resolve=True)
    return flatten(values)


def _typed() -> list[Override]:
    """The overrides on the command line."""
    given, unknown = get_args_parser().parse_known_args()
    if unknown:
        raise ConfigError(f"{' '.join(unknown)} is no option: use key=value, or see --help")
    return OverridesParser.create().parse_overrides(given.overrides)


def _check_groups() -> None:
    """Raises ConfigError for a group that is set to a number or to null, as `training=5`."""
    for override in _typed():
        key = override.get_key_element().lstrip("+")
        if not (CONF / key).is_dir() or override.is_delete():
            continue
        values = override.sweep_iterator() if override.is_sweep_override() else [override.value()]
        for value in values:
            names = value if isinstance(value, list) else [value]
            if not isinstance(value, dict) and not all(isinstance(name, str) for name in names):
                options = [file.stem for file in (CONF / key).glob("*.yaml")]
                hint = _suggest(str(value), options)
                raise ConfigError(f"{override.input_line} is no option: leave it out, or {hint}")


def _explain(error: HydraException) -> str:
    """Returns one line that names the key and the nearest correct name."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        missing = str(error.missing_cfg_file)
        if "/" not in missing:
            return f"--config-name={missing} is no file of conf/: leave it out"
        is_hydras = missing.startswith("hydra/")
        group, _, name = missing.rpartition("/") if is_hydras else missing.partition("/")
        folder = CONF / group  # Hydra's own list lacks experiments, a folder deeper
        options = [p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.yaml")]
        return f"{group}={name} is unknown: {_suggest(name, options or error.options or [])}"
    unknown = re.search(r"Could not override '([^']*?)\.?'", str(error))
    if unknown and (renamed := explain(unknown[1])):
        return renamed
    if unknown and unknown[1].startswith("model.lora."):
        return f"{unknown[1]}: model.lora is null, all weights are trained: add lora=rank_32"
    if unknown and unknown[1] not in (known := _keys()):
        return f"{unknown[1]} is no key of the configuration: {_suggest(unknown[1], known)}"
    message, override = " ".join(str(error).split()), getattr(error, "override", None)
    return f"{override}: {message}" if override else message


def _suggest(name: str, options: Iterable[str]) -> str:
    options = list(options)
    group = name.rpartition(".")[0]
    same_group = [option for option in options if group and option.startswith(f"{group}.")]
    nearest = difflib.get_close_matches(name, same_group or options, n=1, cutoff=0.5)
    if nearest:
        return f"did you mean {nearest[0]}?"
    if len(options) <= 20:
        return f"use one of {', '.join(options)}"
    return "--cfg job prints all keys"


def _keys() -> list[str]:
    """Every key and group of conf/, as typed on the command line."""
    keys = [path.name for path in CONF.iterdir() if path.is_dir()]
    for path in CONF.rglob("*.yaml"):
        group = path.parent.relative_to(CONF).as_posix().replace("/", ".").strip(".")
        content = OmegaConf.load(path)
        if isinstance(content, DictConfig):
            keys += [f"{group}.{key}".strip(".") for key in map(str, content) if key != "defaults"]
    return keys

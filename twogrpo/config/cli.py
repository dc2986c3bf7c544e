"""The command line of the Hydra scripts: a user's mistake is one line and exit code 2, no trace."""

from __future__ import annotations

import difflib
import functools
import os
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from twogrpo.config.annotations import TAKES_MEMORY, annotations_of
from twogrpo.config.renamed import explain
from twogrpo.config.schema import HardwareConfig, one_line
from twogrpo.errors import (
    DISK_IS_FULL,
    EXIT_DISK,
    EXIT_MEMORY,
    ConfigError,
    Fault,
    escape_control_chars,
    out_of_memory,
)

CONF = Path(__file__).resolve().parent.parent.parent / "conf"
EXIT_UNEXPECTED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
WAIT_FOR_FIRST_RANK_SECONDS = 20.0


def run(main: Callable[[], None]) -> None:
    """Calls a `@hydra.main` function; what Hydra refuses becomes one line and exit code 2."""
    # Without it Hydra prints its errors itself and exits with code 1.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        main()
    except HydraException as error:
        _fail(_explain(error), EXIT_USAGE)
    except OmegaConfBaseException as error:
        _fail(one_line(error), EXIT_USAGE)


def job(function: Callable[[DictConfig], None]) -> Callable[[DictConfig], None]:
    """Decorates what `@hydra.main` decorates: a ConfigError exits with 2, Ctrl-C with 130, a Fault
    with its own code (twogrpo/errors.py).

    In a multirun each job gets a process of its own, so that threads, random state and process
    groups cannot leak from one job into the next.
    """

    @functools.wraps(function)
    def guarded(cfg: DictConfig) -> None:
        try:
            if _shares_its_process():
                command = [sys.executable, sys.argv[0], *HydraConfig.get().overrides.task]
                if code := subprocess.run(command, check=False).returncode:
                    raise SystemExit(code)
            else:
                function(cfg)
        except ConfigError as error:
            _fail(escape_control_chars(str(error)), EXIT_USAGE)
        except OmegaConfBaseException as error:
            _fail(one_line(error), EXIT_USAGE)
        except Fault as fault:
            if fault.exit_code == EXIT_UNEXPECTED:
                traceback.print_exception(fault)
            lines = [str(fault), *getattr(fault, "__notes__", [])]
            _fail("\n".join(map(escape_control_chars, lines)), fault.exit_code)
        except OSError as error:
            if error.errno not in DISK_IS_FULL:
                raise
            _fail(
                f"the disk is full ({error.filename or error.strerror}): make room, and the same "
                "command continues at the last checkpoint",
                EXIT_DISK,
            )
        except (MemoryError, RuntimeError) as error:
            shortage = out_of_memory(error)
            if shortage is None:
                raise
            notes = getattr(error, "__notes__", [])  # only a run that had begun says how to go on
            marks = annotations_of(HardwareConfig)
            keys = [f"hardware.{name}" for name in marks if TAKES_MEMORY in marks[name]]
            line = f"{shortage}: lower {', '.join(keys)}"
            _fail("\n".join([line, *notes]), EXIT_MEMORY if notes else EXIT_USAGE)
        except KeyboardInterrupt:
            _fail("interrupted: the same command continues where this left off", EXIT_INTERRUPTED)

    return guarded


def _shares_its_process() -> bool:
    """Whether this is a job of a sweep on this machine; submitit's have processes of their own."""
    hydra = HydraConfig.get()
    return hydra.mode == RunMode.MULTIRUN and hydra.launcher._target_.endswith("BasicLauncher")


def _explain(error: HydraException) -> str:
    """Returns one line that names the key and the nearest correct name."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = str(error.missing_cfg_file).partition("/")
        folder = CONF / group  # Hydra's own list lacks experiments, a folder deeper
        options = [p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.yaml")]
        return f"{group}={name} is unknown: {_suggest(name, options or error.options or [])}"
    unknown = re.search(r"Could not override '([^']*?)\.?'", str(error))
    if unknown and (renamed := explain(unknown[1])):
        return renamed
    if unknown:
        return f"{unknown[1]} is no key of the configuration: {_suggest(unknown[1], _keys())}"
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


def _fail(message: str, code: int) -> NoReturn:
    if code == EXIT_USAGE and int(os.environ.get("LOCAL_RANK", "0")) > 0:
        # Every rank of torchrun finds the same mistake. The node's first rank prints it and exits,
        # and torchrun ends the others. A rank that is still here after the wait found it alone.
        time.sleep(WAIT_FOR_FIRST_RANK_SECONDS)
    sys.stderr.write(message + "\n")
    raise SystemExit(code)

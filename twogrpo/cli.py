"""The doorstep of the Hydra scripts: a user's mistake is one line and exit code 2, not a trace."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf.errors import OmegaConfBaseException

from twogrpo.config import ConfigError, one_line

EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


def run(main: Callable[[], None]) -> None:
    """Calls a `@hydra.main` function; exits with 2 for a user's mistake, 130 for Ctrl-C."""
    # With it Hydra raises what it would otherwise print its own way, with exit code 1.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        main()
    except ConfigError as error:
        _fail(str(error), EXIT_USAGE)
    except OmegaConfBaseException as error:
        _fail(one_line(error), EXIT_USAGE)
    except HydraException as error:
        _fail(_first_lines(error), EXIT_USAGE)
    except KeyboardInterrupt:
        _fail("interrupted: the same command continues from the last checkpoint", EXIT_INTERRUPTED)


def in_own_process() -> bool:
    """In a multirun, runs this job as a process of its own and says so; False in a single run.

    Threads, random state and process groups of one job cannot leak into the next.
    """
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN:
        return False
    command = [sys.executable, sys.argv[0], *hydra.overrides.task]
    code = subprocess.run(command, check=False).returncode
    if code:
        raise SystemExit(code)
    return True


def _first_lines(error: HydraException) -> str:
    cause = error.__cause__
    if isinstance(cause, OmegaConfBaseException):
        return f"{str(error).splitlines()[0]}: {one_line(cause)}"
    return " ".join(line.strip() for line in str(error).splitlines()[:3] if line.strip())


def _fail(message: str, code: int) -> None:
    print(message, file=sys.stderr)
    raise SystemExit(code)

"""Runs all experiments of a scale, one process each, then the analysis; skips finished runs."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from twogrpo.config.output_folder import check_output_folder, claim
from twogrpo.errors import ConfigError
from twogrpo.reproduce.plan import ReproduceConfig, jobs
from twogrpo.reproduce.workers import run_all
from twogrpo.run_record.files import RUN_FILE, check_report_folder
from twogrpo.run_record.provenance import ROOT


def reproduce(config: ReproduceConfig) -> None:
    """Runs all unfinished experiments, then builds the report in `results_dir`.

    Raises:
        ConfigError: see `jobs`; or a folder holds a run of other code or another configuration,
            or the launcher is not installed.
        SystemExit: a run or the analysis failed, after printing its own message.
    """
    planned = jobs(config)
    states = [job.state for job in planned]
    done = states.count("done")
    _print(
        f"{len(planned)} runs, {done} of them done, in {config.runs_dir}, {config.processes} at a "
        f"time: {_duration(config)} for all. Then tables and figures, in {config.results_dir}"
    )
    if config.dry_run:
        for job, state in zip(planned, states, strict=True):
            cost = f"{job.cost.gpus} GPUs, {job.cost.hours:.2f} h expected  " if job.cost else ""
            _print(f"{state}  {cost}{shlex.join(job.command)}")
        return
    waiting = [job for job in planned if not job.is_done]
    for program in sorted({job.command[0] for job in waiting if not shutil.which(job.command[0])}):
        raise ConfigError(f"scale.launcher={program} is not installed: give auto or a command")
    # A reproduction that was killed early leaves only logs, and folders without a record.
    own = [name for job in planned for name in (job.name, f"{job.name}.log")]
    own.append(Path(config.results_dir).name)
    runs_dir, results_dir = (str(ROOT / path) for path in (config.runs_dir, config.results_dir))
    folder = check_output_folder("runs_dir", runs_dir, marks=(f"*/{RUN_FILE}",), own=own)
    check_report_folder("results_dir", results_dir)
    with claim("runs_dir", folder):
        run_all(waiting, processes=config.processes)
    module = "analysis.studies" if config.study_name else "analysis.all"
    analyse = ["-m", module, f"runs={config.runs_dir}", f"out={config.results_dir}"]
    if code := subprocess.run([sys.executable, *analyse], cwd=ROOT, check=False).returncode:
        raise SystemExit(code)


def _duration(config: ReproduceConfig) -> str:
    return "the hours that docs/studies.md gives" if config.study_name else config.scale.duration


def _print(line: str) -> None:
    sys.stderr.write(f"reproduce  {line}\n")

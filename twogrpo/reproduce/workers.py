"""Runs jobs, some at a time, as processes that do not outlive this one."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from twogrpo.config.cli import end_with_parent
from twogrpo.config.script_schemas import EvaluateConfig
from twogrpo.errors import ConfigError
from twogrpo.reproduce.plan import Job
from twogrpo.run_record.files import read_rows
from twogrpo.run_record.provenance import ROOT
from twogrpo.run_record.rows import training_rows

POLL_SECONDS = 0.5
# How long a run that was interrupted with us may take to end by itself.
GRACE_SECONDS = 10.0


def run_all(waiting: Sequence[Job], *, processes: int) -> None:
    """Runs the jobs in their order, `processes` at a time.

    On a terminal a bar counts the rollouts of all, with a line for each running job, whose own
    output goes to `<output_dir>.log`; elsewhere the jobs write to our own output.

    Raises:
        SystemExit: a job failed, after those that ran had ended; or a signal ended this process,
            after the jobs had saved and ended.
    """
    queue, running = list(waiting), dict[Job, subprocess.Popen[bytes]]()
    done, failed = 0, list[Job]()
    with _ended_with_us(running), _Bars(waiting) as bars:
        while (queue and not failed) or running:
            while queue and not failed and len(running) < processes:
                job = queue.pop(0)
                running[job] = _start(job, quiet=bars.are_shown)
            time.sleep(POLL_SECONDS)
            for job in [job for job, process in running.items() if process.poll() is not None]:
                if running.pop(job).returncode:
                    failed.append(job)
                    continue
                done += 1
                bars.finish(job, f"{done}/{len(waiting)} runs done")
            bars.show(list(running))
    if failed:
        raise SystemExit("\n".join(_why(job, was_quiet=bars.are_shown) for job in failed))


def log_file(job: Job) -> Path:
    """The file with the job's output, where that is not shown."""
    folder = ROOT / job.config.output_dir
    return folder.with_name(f"{folder.name}.log")  # with_suffix would cut at a dot in the name


def _start(job: Job, *, quiet: bool) -> subprocess.Popen[bytes]:
    if not quiet:
        return subprocess.Popen(job.command, cwd=ROOT, preexec_fn=end_with_parent)
    log_file(job).parent.mkdir(parents=True, exist_ok=True)
    with log_file(job).open("wb") as log:
        return subprocess.Popen(
            job.command, cwd=ROOT, stdout=log, stderr=log, preexec_fn=end_with_parent
        )


@contextmanager
def _ended_with_us(running: dict[Job, subprocess.Popen[bytes]]) -> Iterator[None]:
    """Ends the running jobs, which save first, when this process is interrupted or told to end."""

    def end(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        deadline = time.monotonic() + GRACE_SECONDS * isinstance(sys.exception(), KeyboardInterrupt)
        for process in running.values():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))  # Ctrl-C went to it too
            except subprocess.TimeoutExpired:
                process.terminate()
        for process in running.values():
            process.wait()
        for number, handler in before.items():
            signal.signal(number, handler)


def _why(job: Job, *, was_quiet: bool) -> str:
    if not was_quiet:
        return f"{job.name} failed: see its message above"
    lines = log_file(job).read_text(errors="replace", encoding="utf-8").strip().splitlines()
    return f"{job.name} failed: {lines[-1] if lines else 'no word'} ({log_file(job)})"


class _Bars:
    """The bars on a terminal, in rollouts; elsewhere a line for each job that ended."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.are_shown = sys.stderr.isatty()
        self._start = time.monotonic()
        self._finished = 0.0
        self._all = self._bar(sum(job.work for job in jobs), "all runs", 0)
        self._of_jobs = dict[Job, "tqdm[None]"]()

    def __enter__(self) -> _Bars:
        return self

    def __exit__(self, *_: object) -> None:
        for bar in [*self._of_jobs.values(), self._all]:
            bar.close()

    def show(self, running: list[Job]) -> None:
        """Moves the bars to where the running jobs are."""
        if not self.are_shown:
            return
        for job in (job for job in running if job not in self._of_jobs):
            taken = {-bar.pos for bar in self._of_jobs.values()}
            # The bar of a job that has just ended may still be there.
            place = next(i for i in itertools.count(1) if i not in taken)
            self._of_jobs[job] = self._bar(job.work, job.name, place)
        for job in running:
            self._move(self._of_jobs[job], _work_done(job))
        self._move(self._all, self._finished + sum(bar.n for bar in self._of_jobs.values()))

    def finish(self, job: Job, text: str) -> None:
        """Takes the job's bar away; `text` counts the jobs."""
        self._finished += job.work
        if job in self._of_jobs:
            self._of_jobs.pop(job).close()
        self._all.set_postfix_str(text)
        if not self.are_shown:
            minutes, seconds = divmod(round(time.monotonic() - self._start), 60)
            sys.stderr.write(f"reproduce  {text}, {minutes}:{seconds:02d} so far\n")

    def _bar(self, total: float, name: str, place: int) -> tqdm[None]:
        # `smoothing=0`: the arms differ in speed, so the mean of all is the better forecast.
        return tqdm(
            total=total, desc=f"{name:20}", position=place, leave=place == 0, smoothing=0,
            unit=" rollouts", unit_scale=True, dynamic_ncols=True, disable=not self.are_shown,
        )  # fmt: skip

    @staticmethod
    def _move(bar: tqdm[None], done: float) -> None:
        bar.update(done - bar.n)


def _work_done(job: Job) -> float:
    """The rollouts that a running job has drawn: its steps' share of its training's."""
    if isinstance(job.config, EvaluateConfig):
        return 0.0
    try:
        steps = len(training_rows(read_rows(ROOT / job.config.output_dir)))
    except ConfigError:  # the job itself says so
        return 0.0
    return job.training_work * steps / job.config.num_steps

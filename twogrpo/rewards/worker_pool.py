"""A pool of grading processes that can be killed: one deadline per task, results in order.

It uses plain subprocesses and pipes, not multiprocessing: they start without importing the caller's
main module (and its torch), work inside threads and under torchrun, and need no signals in the
parent.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import select
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar, Self

from twogrpo.errors import ConfigError
from twogrpo.rewards.protocol import Verifier, checked_num_workers
from twogrpo.types import Verdict

if TYPE_CHECKING:  # scripts/grade.py starts without OmegaConf
    from twogrpo.config.schema import RewardConfig as RewardConfig

TIMEOUT = Verdict(0.0, False, "verifier_timeout")
DIED = Verdict(0.0, False, "verifier_died")
MIN_SELF_CHECK = 0.99
_START_SECONDS = 120.0
_PACKAGE_ROOT = Path(__file__).resolve().parents[2]

Task = dict[str, Any]
"""The keyword arguments of the module's `judge`, all of them JSON."""


class WorkerPool:
    """Runs the function `judge` of a module in worker processes.

    A worker that misses its deadline is killed, and one that died is replaced. Workers start when
    there is work and stay warm until `close`; each judges `warm_up` first, without a deadline, so
    that the module's lazy imports are done. Threads may share a pool.
    """

    def __init__(
        self, module: str, *, warm_up: Task, num_workers: int, deadline_seconds: float
    ) -> None:
        arguments = [str(deadline_seconds), module, json.dumps(warm_up)]
        self._workers = [_Worker(arguments, deadline_seconds) for _ in range(num_workers)]
        self._idle: queue.LifoQueue[_Worker] = queue.LifoQueue()  # the last, warm one goes first
        for worker in self._workers:
            self._idle.put(worker)

    def run(self, tasks: Sequence[Task]) -> list[Verdict]:
        """One verdict per task, in order; raises RuntimeError where no worker can be started."""
        with ThreadPoolExecutor(len(self._workers)) as threads:
            return list(threads.map(self._judge, tasks))

    def close(self) -> None:
        """Ends all workers; the next call starts new ones."""
        for worker in self._workers:
            worker.stop()

    def _judge(self, task: Task) -> Verdict:
        worker = self._idle.get()
        try:
            return worker.judge(task)
        finally:
            self._idle.put(worker)


class _Worker:
    """A process that judges one task at a time; it is started when it is needed."""

    def __init__(self, arguments: list[str], deadline_seconds: float) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self._arguments, self._deadline_seconds = arguments, deadline_seconds

    def judge(self, task: Task) -> Verdict:
        if self.process is None:
            self._start()
        assert self.process and self.process.stdin and self.process.stdout
        with contextlib.suppress(OSError):  # it died: its closed output says so
            self.process.stdin.write(json.dumps(task).encode() + b"\n")
            self.process.stdin.flush()
        reply = _line(self.process.stdout, self._deadline_seconds)
        if reply:
            return Verdict(*json.loads(reply))
        self.stop()
        return TIMEOUT if reply is None else DIED

    def _start(self) -> None:
        paths = [str(_PACKAGE_ROOT), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        environment |= {"OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "twogrpo.rewards.worker_process", *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        ready = _line(self.process.stdout, _START_SECONDS)
        if not ready:
            self.stop()
            how = "ended while starting" if ready == b"" else "started too slowly"
            raise RuntimeError(f"a grading worker {how}: see its error output above")

    def stop(self) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        assert process.stdin and process.stdout
        process.kill()
        process.stdout.close()
        with contextlib.suppress(OSError):  # unsent bytes of a pipe whose reader is gone
            process.stdin.close()
        process.wait()


def _line(pipe: IO[bytes], seconds: float) -> bytes | None:
    """Returns the next line; b"" where the pipe ends before it does, None if it comes too late."""
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    if not poll.poll(1000 * seconds):
        return None
    line = pipe.readline()  # a worker writes a line at once
    return line if line.endswith(b"\n") else b""


class PooledVerifier(Verifier):
    """A verifier whose `judge`, a function of `module`, runs in a worker pool."""

    module: ClassVar[str]
    grades_truncated = True

    def __init__(self, *, num_workers: int = 2, deadline_seconds: float = 5.0) -> None:
        self._pool = WorkerPool(
            self.module,
            warm_up={"reference": self.example.reference, "response": self.example.correct},
            num_workers=num_workers,
            deadline_seconds=deadline_seconds,
        )

    @classmethod
    def from_config(cls, config: RewardConfig) -> Self:
        """Raises ConfigError where a key is missing or out of range."""
        num_workers, deadline_seconds = checked_num_workers(config), config.deadline_seconds
        if deadline_seconds is None or not 0 < deadline_seconds < math.inf:
            raise ConfigError(f"reward.deadline_seconds={deadline_seconds}: use e.g. 5")
        return cls(num_workers=num_workers, deadline_seconds=deadline_seconds)

    def grade(self, responses: Sequence[str], references: Sequence[str]) -> list[Verdict]:
        """One verdict per response, in order; a task beyond the deadline gets reward 0."""
        pairs = zip(references, responses, strict=True)
        return self._pool.run([{"reference": a, "response": b} for a, b in pairs])

    def self_check(self, references: Sequence[str]) -> None:
        """Grades references against themselves; raises ValueError if under 99 % pass."""
        verdicts = self._pool.run([self._self_check_task(reference) for reference in references])
        pairs = zip(references, verdicts, strict=True)
        failed = [reference for reference, verdict in pairs if not verdict.is_correct]
        if len(failed) > (1 - MIN_SELF_CHECK) * len(references):
            raise ValueError(
                f"the verifier recognises {1 - len(failed) / len(references):.1%} of the gold "
                f"answers (at least {MIN_SELF_CHECK:.0%} required), not for instance {failed[:5]}: "
                "drop or rewrite these rows with scripts/prepare_data.py"
            )

    def _self_check_task(self, reference: str) -> Task:
        return {"reference": reference, "response": f"\\boxed{{{reference}}}"}

    def close(self) -> None:
        """Ends the worker processes."""
        self._pool.close()

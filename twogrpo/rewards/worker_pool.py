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
import selectors
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

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


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    started: float
    ready: bool = False
    task: int | None = None
    sent: float = 0.0
    received: bytearray = field(default_factory=bytearray)


class WorkerPool:
    """Runs the function `judge` of a module in worker processes.

    A worker that misses its deadline is killed, and one that died is replaced. Workers start at the
    first call and stay warm until `close`; each judges `warm_up` first, without a deadline, so that
    the module's lazy imports are done. Threads may share a pool: their calls take turns.
    """

    def __init__(
        self, module: str, *, warm_up: Task, num_workers: int, deadline_seconds: float
    ) -> None:
        if num_workers < 1:
            raise ValueError(f"num_workers={num_workers} is not positive: use 1 or more")
        if not 0 < deadline_seconds < math.inf:  # a worker's alarm accepts no infinity
            raise ValueError(
                f"deadline_seconds={deadline_seconds} is not positive and finite: use e.g. 5"
            )
        self.num_workers = num_workers
        self.deadline_seconds = deadline_seconds
        self._arguments = [str(deadline_seconds), module, json.dumps(warm_up)]
        self._workers: list[_Worker] = []
        self._selector = selectors.DefaultSelector()
        self._lock = threading.Lock()

    def run(self, tasks: Sequence[Task]) -> list[Verdict]:
        """Returns one verdict per task, in the order of the tasks."""
        with self._lock:
            results: dict[int, Verdict] = {}
            waiting = deque(range(len(tasks)))
            while len(results) < len(tasks):
                self._fill(len(tasks) - len(results))
                for worker in self._workers:
                    if worker.ready and worker.task is None and waiting:
                        self._send(worker, waiting.popleft(), tasks)
                self._collect(results)
            return [results[index] for index in range(len(tasks))]

    def close(self) -> None:
        """Ends all workers; the next call starts new ones."""
        with self._lock:
            for worker in list(self._workers):
                self._discard(worker)

    # -- one turn of the loop ---------------------------------------------------------------

    def _fill(self, num_open: int) -> None:
        """Keeps as many workers alive as there is work for."""
        while len(self._workers) < min(self.num_workers, num_open):
            worker = _Worker(_start(self._arguments), time.monotonic())
            self._workers.append(worker)
            assert worker.process.stdout is not None
            self._selector.register(worker.process.stdout, selectors.EVENT_READ, worker)

    def _send(self, worker: _Worker, index: int, tasks: Sequence[Task]) -> None:
        worker.task, worker.sent = index, time.monotonic()
        assert worker.process.stdin is not None
        with contextlib.suppress(OSError):  # it died: its closed output says so
            worker.process.stdin.write(json.dumps(tasks[index]).encode() + b"\n")
            worker.process.stdin.flush()

    def _collect(self, results: dict[int, Verdict]) -> None:
        """Waits for the next reply, exit or deadline, and stores its result."""
        for key, _ in self._selector.select(self._next_timeout()):
            worker: _Worker = key.data
            chunk = os.read(key.fd, 65536)
            if not chunk:
                self._on_exit(worker, results)
                continue
            worker.received += chunk
            if worker.received.endswith(b"\n"):
                self._store_result(worker, results)
        now = time.monotonic()
        for worker in list(self._workers):
            if worker.task is not None and now - worker.sent > self.deadline_seconds:
                results[worker.task] = TIMEOUT
                self._discard(worker)
            elif not worker.ready and now - worker.started > _START_SECONDS:
                self._discard(worker)
                raise RuntimeError(f"a grading worker did not start within {_START_SECONDS} s")

    def _store_result(self, worker: _Worker, results: dict[int, Verdict]) -> None:
        line = worker.received.decode().strip()
        worker.received.clear()
        if not worker.ready:
            worker.ready = True
        elif worker.task is not None:
            results[worker.task] = Verdict(*json.loads(line))
            worker.task = None

    def _on_exit(self, worker: _Worker, results: dict[int, Verdict]) -> None:
        """Gives the task of a worker that died reward 0; the next task gets a new worker."""
        task, ready = worker.task, worker.ready
        self._discard(worker)
        if not ready:
            raise RuntimeError("a grading worker ended while starting: see its error output above")
        if task is not None:
            results[task] = DIED

    def _next_timeout(self) -> float:
        """Returns the seconds until the next deadline."""
        now = time.monotonic()
        ends = [
            worker.sent + self.deadline_seconds if worker.task is not None else now + 1.0
            for worker in self._workers
        ]
        return max(0.0, min(ends, default=now) - now) + 0.001

    def _discard(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        process = worker.process
        assert process.stdout is not None and process.stdin is not None
        self._selector.unregister(process.stdout)
        process.kill()
        process.stdout.close()
        with contextlib.suppress(OSError):  # unsent bytes of a pipe whose reader is gone
            process.stdin.close()
        process.wait()


def _start(arguments: list[str]) -> subprocess.Popen[bytes]:
    paths = [str(_PACKAGE_ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
    return subprocess.Popen(
        [sys.executable, "-m", "twogrpo.rewards.worker_process", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )


class PooledVerifier(Verifier):
    """A verifier whose `judge`, a function of `module`, runs in a worker pool."""

    module: ClassVar[str]
    grades_truncated = True

    def __init__(self, *, num_workers: int = 2, deadline_seconds: float = 5.0) -> None:
        warm_up = {"reference": self.example.reference, "response": self.example.correct}
        self._pool = WorkerPool(
            self.module,
            warm_up=warm_up,
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
                f"answers (at least {MIN_SELF_CHECK:.0%} wanted), not for instance {failed[:5]}: "
                "drop or rewrite these rows with scripts/prepare_data.py"
            )

    def _self_check_task(self, reference: str) -> Task:
        return {"reference": reference, "response": f"\\boxed{{{reference}}}"}

    def close(self) -> None:
        """Ends the worker processes."""
        self._pool.close()

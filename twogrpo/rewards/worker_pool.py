"""A pool of grading processes that can be killed: one deadline an item, results in order.

Plain subprocesses and pipes, not multiprocessing: they start without re-importing the caller's main
module (and its torch), work inside threads and under torchrun, and need no signals in the parent.
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

from twogrpo.rewards.math_grading.judge import Judgement

TIMEOUT = Judgement(False, "verifier_timeout")
DIED = Judgement(False, "verifier_died")
_START_SECONDS = 120.0
_PACKAGE_ROOT = Path(__file__).resolve().parents[2]

Task = tuple[str, str, bool]
"""Reference, response, and whether equality to the letter may decide."""


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    started: float
    ready: bool = False
    task: int | None = None
    sent: float = 0.0
    received: bytearray = field(default_factory=bytearray)


class WorkerPool:
    """Judges pairs in worker processes; a hung one is killed, a dead one replaced.

    Workers start at the first call and stay warm until `close`. Safe to call from several threads,
    one after the other. With a `pattern` a response is right where that regular expression is found
    in it, whatever its reference.
    """

    def __init__(
        self, *, num_workers: int, deadline_seconds: float, pattern: str | None = None
    ) -> None:
        if num_workers < 1:
            raise ValueError(f"num_workers={num_workers} is not positive: use 1 or more")
        if not 0 < deadline_seconds < math.inf:  # a worker's alarm takes no infinity
            raise ValueError(
                f"deadline_seconds={deadline_seconds} is not positive and finite: use e.g. 5"
            )
        self.num_workers = num_workers
        self.deadline_seconds = deadline_seconds
        self.pattern = pattern
        self._workers: list[_Worker] = []
        self._selector = selectors.DefaultSelector()
        self._lock = threading.Lock()

    def run(self, tasks: Sequence[Task]) -> list[Judgement]:
        """The judgement of each task, in the tasks' order."""
        with self._lock:
            results: dict[int, Judgement] = {}
            waiting = deque(range(len(tasks)))
            while len(results) < len(tasks):
                self._fill(len(tasks) - len(results))
                for worker in self._workers:
                    if worker.ready and worker.task is None and waiting:
                        self._send(worker, waiting.popleft(), tasks)
                self._collect(results)
            return [results[index] for index in range(len(tasks))]

    def close(self) -> None:
        """Ends all workers; the pool may be used again afterwards."""
        with self._lock:
            for worker in list(self._workers):
                self._discard(worker)

    # -- one turn of the loop ---------------------------------------------------------------

    def _fill(self, num_open: int) -> None:
        """Keeps as many workers alive as there is work for."""
        while len(self._workers) < min(self.num_workers, num_open):
            worker = _Worker(_start(self.deadline_seconds, self.pattern), time.monotonic())
            self._workers.append(worker)
            assert worker.process.stdout is not None
            self._selector.register(worker.process.stdout, selectors.EVENT_READ, worker)

    def _send(self, worker: _Worker, index: int, tasks: Sequence[Task]) -> None:
        worker.task, worker.sent = index, time.monotonic()
        assert worker.process.stdin is not None
        with contextlib.suppress(OSError):  # it died: its closed output will say so
            worker.process.stdin.write(json.dumps(tasks[index]).encode() + b"\n")
            worker.process.stdin.flush()

    def _collect(self, results: dict[int, Judgement]) -> None:
        """Waits for the next reply, death or deadline, and books it."""
        for key, _ in self._selector.select(self._patience()):
            worker: _Worker = key.data
            chunk = os.read(key.fd, 65536)
            if not chunk:
                self._bury(worker, results)
                continue
            worker.received += chunk
            if worker.received.endswith(b"\n"):
                self._book(worker, results)
        now = time.monotonic()
        for worker in list(self._workers):
            if worker.task is not None and now - worker.sent > self.deadline_seconds:
                results[worker.task] = TIMEOUT
                self._discard(worker)
            elif not worker.ready and now - worker.started > _START_SECONDS:
                self._discard(worker)
                raise RuntimeError(f"a grading worker did not start within {_START_SECONDS} s")

    def _book(self, worker: _Worker, results: dict[int, Judgement]) -> None:
        line = worker.received.decode().strip()
        worker.received.clear()
        if not worker.ready:
            worker.ready = True
        elif worker.task is not None:
            equal, reason = json.loads(line)
            results[worker.task] = Judgement(equal, reason)
            worker.task = None

    def _bury(self, worker: _Worker, results: dict[int, Judgement]) -> None:
        """Books the death of a worker; its item scores nothing, the next one gets a new worker."""
        task, ready = worker.task, worker.ready
        self._discard(worker)
        if not ready:
            raise RuntimeError("a grading worker ended while starting: see its error output above")
        if task is not None:
            results[task] = DIED

    def _patience(self) -> float:
        """Seconds until the next deadline."""
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


def _start(deadline_seconds: float, pattern: str | None) -> subprocess.Popen[bytes]:
    paths = [str(_PACKAGE_ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "twogrpo.rewards.worker_process", str(deadline_seconds)),
            *([] if pattern is None else [pattern]),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )

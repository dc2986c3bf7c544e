"""Workers: order, deadlines, deaths; what hangs is an integral that sympy ponders for hours."""

import math
import os
import signal
import threading
import time

import pytest

from twogrpo.rewards.math_grading.judge import CORRECT, WRONG
from twogrpo.rewards.worker_pool import DIED, TIMEOUT, WorkerPool

HANGS = ("5", r"\boxed{\int_0^{\infty} \sin(x^{x}) dx}", True)


@pytest.fixture
def pool():
    made = WorkerPool(num_workers=2, deadline_seconds=2.5)
    yield made
    made.close()


def test_results_keep_the_order_of_the_tasks(pool: WorkerPool) -> None:
    tasks = [(str(n), str(n if n % 3 else n + 1), True) for n in range(60)]
    assert pool.run(tasks) == [CORRECT if n % 3 else WRONG for n in range(60)]
    assert pool.run([]) == []


def test_a_hanging_item_is_killed_and_the_others_are_judged(pool: WorkerPool) -> None:
    start = time.monotonic()
    results = pool.run([("x", "x+0", True), HANGS, ("x", "2x/2", True), ("x", "y", True), HANGS])
    assert results == [CORRECT, TIMEOUT, CORRECT, WRONG, TIMEOUT]
    assert time.monotonic() - start < 30
    assert pool.run([("x", "x+0", True)]) == [CORRECT]  # replaced


def test_a_dead_worker_is_replaced() -> None:
    pool = WorkerPool(num_workers=1, deadline_seconds=60)
    assert pool.run([("x", "x+0", True)]) == [CORRECT]
    victim = pool._workers[0].process.pid
    threading.Timer(1.0, os.kill, (victim, signal.SIGKILL)).start()
    assert pool.run([HANGS, ("x", "2x/2", True)]) == [DIED, CORRECT]
    pool.close()


def test_works_in_a_thread_and_after_close(pool: WorkerPool) -> None:
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.extend(pool.run([("1/2", "0.5", True)])))
    thread.start()
    thread.join()
    pool.close()
    assert found == pool.run([("1/2", "0.5", True)]) == [CORRECT]


def test_close_leaves_no_process(pool: WorkerPool) -> None:
    pool.run([("x", "x+0", True)])
    processes = [worker.process for worker in pool._workers]
    pool.close()
    assert processes
    assert all(process.poll() is not None for process in processes)


def test_unusable_settings_are_named() -> None:
    with pytest.raises(ValueError, match="num_workers=0"):
        WorkerPool(num_workers=0, deadline_seconds=5)
    for deadline_seconds in (0, math.inf, math.nan):
        with pytest.raises(ValueError, match=f"deadline_seconds={deadline_seconds}"):
            WorkerPool(num_workers=1, deadline_seconds=deadline_seconds)

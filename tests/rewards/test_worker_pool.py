"""Worker pools: order, deadlines, deaths. The judge that hangs is tests/rewards/slow_judge.py."""

import math
import os
import signal
import threading
import time

import pytest

from twogrpo.rewards.protocol import CORRECT, WRONG
from twogrpo.rewards.worker_pool import DIED, TIMEOUT, WorkerPool

MODULE = "tests.rewards.slow_judge"


def task(reference: str, response: str) -> dict[str, str]:
    return {"reference": reference, "response": response}


SAME, OTHER, HANGS = task("x", "x+0"), task("x", "y"), task("x", "hang")


def make_pool(**values) -> WorkerPool:
    settings = {"num_workers": 2, "deadline_seconds": 2.5} | values
    return WorkerPool(MODULE, warm_up=SAME, **settings)


@pytest.fixture
def pool():
    made = make_pool()
    yield made
    made.close()


def test_results_keep_the_order_of_the_tasks(pool: WorkerPool) -> None:
    tasks = [task(str(n), str(n if n % 3 else n + 1)) for n in range(60)]
    assert pool.run(tasks) == [CORRECT if n % 3 else WRONG for n in range(60)]
    assert pool.run([]) == []


def test_a_hanging_task_is_killed_and_the_others_are_judged(pool: WorkerPool) -> None:
    start = time.monotonic()
    assert pool.run([SAME, HANGS, SAME, OTHER, HANGS]) == [
        CORRECT,
        TIMEOUT,
        CORRECT,
        WRONG,
        TIMEOUT,
    ]
    assert time.monotonic() - start < 30
    assert pool.run([SAME]) == [CORRECT]  # by a new worker


def test_a_dead_worker_is_replaced() -> None:
    pool = make_pool(num_workers=1, deadline_seconds=60)
    assert pool.run([SAME]) == [CORRECT]
    victim = pool._workers[0].process.pid
    threading.Timer(1.0, os.kill, (victim, signal.SIGKILL)).start()
    assert pool.run([HANGS, SAME]) == [DIED, CORRECT]
    pool.close()


def test_a_pool_works_in_a_thread_and_after_close(pool: WorkerPool) -> None:
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.extend(pool.run([SAME])))
    thread.start()
    thread.join()
    pool.close()
    assert found == pool.run([SAME]) == [CORRECT]


def test_close_leaves_no_process(pool: WorkerPool) -> None:
    pool.run([SAME])
    processes = [worker.process for worker in pool._workers]
    pool.close()
    assert processes
    assert all(process.poll() is not None for process in processes)


def test_unusable_settings_are_named() -> None:
    with pytest.raises(ValueError, match="num_workers=0"):
        make_pool(num_workers=0)
    for deadline_seconds in (0, math.inf, math.nan):
        with pytest.raises(ValueError, match=f"deadline_seconds={deadline_seconds}"):
            make_pool(deadline_seconds=deadline_seconds)

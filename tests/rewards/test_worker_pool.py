"""Worker pools: order, deadlines, deaths. The judge that hangs is tests/rewards/slow_judge.py."""

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


def make_pool(module=MODULE, **values) -> WorkerPool:
    settings = {"num_workers": 2, "deadline_seconds": 2.5} | values
    return WorkerPool(module, warm_up=SAME, **settings)


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
    found = pool.run([SAME, HANGS, SAME, OTHER, HANGS])
    assert found == [CORRECT, TIMEOUT, CORRECT, WRONG, TIMEOUT]
    assert time.monotonic() - start < 30
    assert pool.run([SAME]) == [CORRECT]  # by a new worker


def test_a_dead_worker_is_replaced() -> None:
    pool = make_pool(num_workers=1, deadline_seconds=60)
    assert pool.run([SAME]) == [CORRECT]
    victim = pool._workers[0].process.pid
    threading.Timer(1.0, os.kill, (victim, signal.SIGKILL)).start()
    assert pool.run([HANGS, SAME]) == [DIED, CORRECT]
    pool.close()


def test_a_pool_works_in_a_thread_and_closing_it_leaves_no_process(pool: WorkerPool) -> None:
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.extend(pool.run([SAME])))
    thread.start()
    thread.join()
    [process] = [worker.process for worker in pool._workers if worker.process]  # one for one task
    pool.close()
    assert process.poll() is not None
    assert found == pool.run([SAME]) == [CORRECT]


def test_a_worker_that_cannot_start_ends_the_call(capfd) -> None:
    pool = make_pool("tests.rewards.no_such_module")
    with pytest.raises(RuntimeError, match="ended while starting"):
        pool.run([SAME] * 2000)
    assert capfd.readouterr().err.count("ModuleNotFoundError") < 20
    assert all(worker.process is None for worker in pool._workers)

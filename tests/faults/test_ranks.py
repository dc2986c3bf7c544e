"""A run on two ranks: a death ends all of them, SIGTERM to torchrun saves, one or two continue."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.faults.scripted import SMALL
from tests.outcomes import run_json
from twogrpo.run_record.files import read_rows

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(600)]

ARM = ["algorithm=two_grpo", "tracking=local", "evaluation.benchmarks=[longer]"]


@contextmanager
def launched(
    folder: Path, num_ranks: int, *arguments: str, meeting: list[str] | None = None
) -> Iterator[subprocess.Popen]:
    """`torchrun … scripts/train.py`."""
    # Editing the package while the test runs must not split one run into two.
    program = "from twogrpo.run_record import provenance as p; p.code_hash = lambda: 'one code'; "
    program += "import runpy, sys; sys.argv[0] = 'scripts/train.py'; "
    program += "runpy.run_path('scripts/train.py', run_name='__main__')"
    script = folder.parent / "script.py"
    script.write_text(program)
    meeting = meeting or ["--standalone"]
    launch = ["-m", "torch.distributed.run", *meeting, f"--nproc-per-node={num_ranks}"]
    typed = [*SMALL, *ARM, *arguments, f"output_dir={folder}"]
    log = folder.with_name("log")
    with log.open("a") as words:
        process = subprocess.Popen(
            [sys.executable, *launch, str(script), *typed],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdout=words,
            stderr=words,
        )
        try:
            yield process
        finally:
            kill_all(process, folder)


def ranks_of(folder: Path) -> list[int]:
    """The living processes with the folder in their command, without torchrun itself."""
    found = []
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = cmdline.read_text()
            is_dead = (cmdline.parent / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:  # it has ended
            continue
        if str(folder) in words and "torch.distributed.run" not in words and not is_dead:
            found.append(int(cmdline.parent.name))
    return found


def kill_all(process: subprocess.Popen, folder: Path) -> None:
    """Kills torchrun first, so that it sends no signal to its ranks."""
    process.kill()
    for rank in ranks_of(folder):
        os.kill(rank, signal.SIGKILL)
    process.wait()


def wait_for_rows(folder: Path, count: int, process: subprocess.Popen) -> None:
    end = time.monotonic() + 200
    while not folder.exists() or len(read_rows(folder)) < count:
        words = folder.with_name("log").read_text()
        assert process.poll() is None, words
        assert time.monotonic() < end, words
        time.sleep(0.05)


def test_all_ranks_end_when_one_dies_and_another_number_of_ranks_continues(tmp_path):
    folder = tmp_path / "run"
    with launched(folder, 2) as process:
        wait_for_rows(folder, 3, process)
        ranks = ranks_of(folder)
        assert len(ranks) == 2
        os.kill(max(ranks), signal.SIGKILL)
        assert process.wait(60) != 0  # within a minute
        assert ranks_of(folder) == []
    last = max((folder / "checkpoints").glob("[0-9]*"))
    assert len(list(last.glob("shard-*"))) == 2
    steps = [row["step"] for row in read_rows(folder)]
    with launched(folder, 1) as process:  # one rank continues
        wait_for_rows(folder, len(steps) + 4, process)
        kill_all(process, folder)
    last = max((folder / "checkpoints").glob("[0-9]*"))
    assert len(list(last.glob("shard-*"))) == 1
    with launched(folder, 2) as process:  # and two again, to the end
        assert process.wait(300) == 0, folder.with_name("log").read_text()
    assert [row["step"] for row in read_rows(folder)] == list(range(17))
    assert run_json(folder)["status"] == "finished"


def test_sigterm_to_torchrun_ends_all_ranks_and_the_same_command_continues(tmp_path):
    folder, rare = tmp_path / "run", "checkpointing.every=100"  # SIGTERM's is the only one
    with launched(folder, 2, rare) as process:
        wait_for_rows(folder, 3, process)
        start = time.monotonic()
        process.terminate()
        # torchrun's own code; the record says how the run ended.
        assert process.wait(60) == 1
        assert time.monotonic() - start < 30, "torchrun kills after 30 s"
        assert ranks_of(folder) == []
    words = folder.with_name("log").read_text()
    assert words.count("ended by SIGTERM") == 2
    [saved] = (folder / "checkpoints").iterdir()
    assert len(list(saved.glob("shard-*"))) == 2
    assert [row["step"] for row in read_rows(folder)] == list(range(int(saved.name)))
    about = run_json(folder)
    assert (about["status"], about["ended_by"]) == ("interrupted", "SIGTERM")
    with launched(folder, 2, rare) as process:
        assert process.wait(300) == 0, folder.with_name("log").read_text()
    assert f"resumes at step {int(saved.name)}" in folder.with_name("log").read_text()
    assert [row["step"] for row in read_rows(folder)] == list(range(17))
    assert run_json(folder)["status"] == "finished"


def test_two_nodes_that_meet_by_c10d_train_one_run(tmp_path):
    """The launch of docs/gpus.md, two agents on this machine."""
    folder = tmp_path / "run"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    meeting = ["--nnodes=2", "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}"]
    meeting += ["--rdzv-id=7", "--local-addr=127.0.0.1"]
    on_a_cpu = [
        "hardware=multi_node", "hardware.device=cpu", "hardware.dtype=float32",
        "hardware.num_threads=1", "dataset.num_prompts=16", "training.epochs=1",
    ]  # fmt: skip
    with (
        launched(folder, 1, *on_a_cpu, meeting=meeting) as first,
        launched(folder, 1, *on_a_cpu, meeting=meeting) as second,
    ):
        codes = [node.wait(100) for node in (first, second)]
        assert codes == [0, 0], folder.with_name("log").read_text()
    assert [row["step"] for row in read_rows(folder)] == [0, 1]  # a step, the evaluation
    assert run_json(folder)["status"] == "finished"
    [saved] = (folder / "checkpoints").iterdir()
    assert len(list(saved.glob("shard-*"))) == 2

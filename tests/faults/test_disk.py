"""A disk that is full amid a run: it stops with a code that says so; with room it goes on."""

import json
import resource

import pytest

from tests.faults.scripted import Script, finished
from tests.faults.test_kill import assert_bit_for_bit, outcome

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

ARM = ["algorithm=two_grpo", "tracking=local"]


def limit_files(script: Script, num_bytes: int) -> None:
    """The kernel refuses to let a file grow further, as a full disk does (EFBIG for ENOSPC)."""
    assert script.process.pid is not None
    _, hard = resource.prlimit(script.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(script.process.pid, resource.RLIMIT_FSIZE, (num_bytes, hard))


@pytest.mark.parametrize(
    ("num_bytes", "said"),
    [
        (200_000, "was not written (the disk is full); the earlier ones are intact: make room"),
        (2_000, "the disk is full"),  # not even a row of metrics
    ],
)
def test_a_full_disk_stops_the_run_and_loses_nothing(num_bytes, said, tmp_path):
    finished(tmp_path / "whole", *ARM)
    folder = tmp_path / "full"
    script = Script(folder, *ARM)
    assert script.when(lambda: any(folder.glob("checkpoints/000004")))
    limit_files(script, num_bytes)
    assert script.wait() == 74, script.words()
    assert "Traceback" not in script.words()
    *_, fault, last = script.words().splitlines()
    assert said in (last if num_bytes == 2_000 else fault)
    assert ("To resume: python" in last) == (num_bytes != 2_000)
    assert not list(folder.glob("checkpoints/.*"))
    assert json.loads((folder / "run.json").read_text())["status"] in ("interrupted", "running")
    finished(folder, *ARM)
    assert_bit_for_bit(outcome(folder), outcome(tmp_path / "whole"))

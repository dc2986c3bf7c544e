"""A full disk during a run ends it with code 74; with room the same command continues."""

import resource

import pytest

from tests.faults.scripted import Script, finished
from tests.outcomes import assert_bit_for_bit, outcome, run_json

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

ARM = ["algorithm=two_grpo", "tracking=local"]


def limit_files(script: Script, num_bytes: int) -> None:
    """Limits the size of every file of the process (EFBIG in place of ENOSPC)."""
    assert script.process.pid is not None
    _, hard = resource.prlimit(script.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(script.process.pid, resource.RLIMIT_FSIZE, (num_bytes, hard))


@pytest.mark.parametrize(
    "num_bytes",
    [200_000, 2_000],  # no checkpoint; not even a row of metrics
)
def test_a_full_disk_stops_the_run_and_loses_nothing(num_bytes, tmp_path):
    finished(tmp_path / "uninterrupted", *ARM)
    folder = tmp_path / "full"
    script = Script(folder, *ARM)
    assert script.when(lambda: any(folder.glob("checkpoints/000004")))
    limit_files(script, num_bytes)
    assert script.wait() == 74, script.words()
    assert "Traceback" not in script.words()
    *_, fault, last = script.words().splitlines()
    assert "the disk is full" in fault
    assert "To resume: python" in last
    assert not list(folder.glob("checkpoints/.*"))
    assert run_json(folder)["status"] in ("interrupted", "running")
    finished(folder, *ARM)
    assert_bit_for_bit(outcome(folder), outcome(tmp_path / "uninterrupted"))

"""The real W&B killed or barred during a run: the run ends as usual with a complete record."""

import os
import signal
from pathlib import Path

import pytest

from tests.faults.scripted import Script, finished
from twogrpo.run_record.files import read_rows

pytestmark = [pytest.mark.faults, pytest.mark.timeout(200)]

BRIEF = ["algorithm=two_grpo", "evaluation.at_end=false", "evaluation.validation_every=0"]
LOST = "WARNING: W&B is lost"


def children(parent: int | None) -> list[int]:
    """The processes that it started, by /proc."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[1]) == parent:
            found.append(int(stat.parent.name))
    return found


def assert_complete(folder: Path, said: str) -> None:
    assert [row["step"] for row in read_rows(folder)] == list(range(17))  # and the export
    assert said.count(LOST) == 1
    assert "Traceback" not in said


def test_training_continues_when_the_wandb_process_is_killed(tmp_path):
    folder = tmp_path / "run"
    script = Script(folder, *BRIEF, "tracking=wandb_offline")
    assert script.when(lambda: len(read_rows(folder)) >= 3 if folder.exists() else False)
    killed = children(script.process.pid)
    assert killed, "W&B has no process: the test proves nothing"
    for process in killed:
        os.kill(process, signal.SIGKILL)
    assert script.wait() == 0
    assert_complete(folder, script.words())


def test_training_continues_without_network_and_account(tmp_path):
    """Online without a key is refused, even without a network; the run continues offline."""
    said = finished(tmp_path / "run", *BRIEF, "tracking=wandb_online")
    assert_complete(tmp_path / "run", said)
    assert list((tmp_path / "run/wandb").glob("offline-run-*"))


def test_training_continues_when_wandb_s_folder_is_barred(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/wandb").write_text("")
    said = finished(tmp_path / "run", *BRIEF, "tracking=wandb_offline")
    assert_complete(tmp_path / "run", said)

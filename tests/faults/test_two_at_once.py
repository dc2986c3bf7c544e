"""Two processes and one folder: the second is refused, and a killed first does not block it."""

import pytest

from tests.faults.scripted import Script, finished
from tests.faults.test_kill import ARMS
from twogrpo.run_record.files import read_rows

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(300)]


def test_the_second_of_two_is_refused_and_every_row_is_there_once(tmp_path):
    folder = tmp_path / "run"
    first = Script(folder, *ARMS["two_grpo"])
    assert first.when(lambda: (folder / "metrics.jsonl").exists())
    second = Script(folder, *ARMS["two_grpo"])
    assert second.wait() == 2, second.words()
    assert f"(pid {first.process.pid}) is at work there: wait" in second.words()
    assert first.wait() == 0, first.words()
    assert [row["step"] for row in read_rows(folder)] == list(range(17))


def test_two_at_the_same_moment_make_one_run(tmp_path):
    folder = tmp_path / "run"
    scripts = [Script(folder, *ARMS["two_grpo"]) for _ in range(2)]
    assert sorted(script.wait() for script in scripts) == [0, 2], scripts[0].words()
    assert [row["step"] for row in read_rows(folder)] == list(range(17))


def test_a_killed_process_leaves_the_folder_free(tmp_path):
    folder = tmp_path / "run"
    first = Script(folder, *ARMS["two_grpo"])
    assert first.when(lambda: (folder / "metrics.jsonl").exists())
    assert first.kill() == -9
    finished(folder, *ARMS["two_grpo"])
    assert [row["step"] for row in read_rows(folder)] == list(range(17))

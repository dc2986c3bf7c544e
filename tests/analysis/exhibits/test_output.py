"""No command of the analysis writes into a folder that is somebody else's."""

import sys
from pathlib import Path

import pytest

from analysis import all as everything
from analysis.exhibits.exhibit import command, main
from analysis.paper import table_3
from analysis.studies import __main__ as studies
from analysis.theory import __main__ as theory

COMMANDS = {
    "analysis.all": lambda words: command(everything.main),
    "one exhibit": lambda words: main(table_3.build),
    "a study": studies.main,
    "the theory": theory.main,
    "what_if": theory.what_if_command,
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_foreign_folder_is_refused_and_stays_as_it_is(
    name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "table_1.csv").write_text("mine")
    key = "rollouts" if name == "what_if" else "runs"
    words = [f"{key}={folder}", f"out={tmp_path}"]
    monkeypatch.setattr(sys, "argv", ["command", *words])
    with pytest.raises((SystemExit, ValueError)) as refusal:
        COMMANDS[name](words)
    assert getattr(refusal.value, "code", None) == 2 or "not ours" in str(refusal.value)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_a_report_is_written_again_into_its_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["command", f"runs={folder}", f"out={tmp_path / 'out'}"])
    main(table_3.build)
    (tmp_path / "out/table_3.csv").unlink()  # as if it was interrupted
    main(table_3.build)
    assert (tmp_path / "out/table_3.csv").exists()

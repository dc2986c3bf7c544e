"""The mirror in W&B: however it is lost, the run goes on with a complete record and one warning."""

import json
import sys
from types import SimpleNamespace

import pytest

from twogrpo.run_record import provenance
from twogrpo.run_record.files import read_rows
from twogrpo.run_record.record import RunRecord
from twogrpo.run_record.wandb_mirror import accepted


class FakeRun:
    """Breaks at the calls named in `breaks`, with an error of W&B's own."""

    def __init__(self, breaks: tuple[str, ...]) -> None:
        self.breaks, self.steps, self.exit_code = breaks, [], None
        self.summary = SimpleNamespace(update=lambda _values: self.maybe_break("summary"))

    def maybe_break(self, call: str) -> None:
        if call in self.breaks:
            raise ConnectionResetError("Connection lost")

    def log(self, _values, step):
        self.maybe_break("log" if step < 2 else "later log")
        self.steps.append(step)

    def finish(self, exit_code=0):
        self.maybe_break("finish")
        self.exit_code = exit_code


@pytest.fixture
def open_record(make_config, monkeypatch):
    """`open_record("log", mode="online")`: a record whose mirror breaks there; and its W&B runs."""
    monkeypatch.setattr(provenance, "code_hash", lambda: "one code")

    def make(*breaks: str, mode: str = "offline"):
        runs, torn_down = [], []

        def init(**arguments):
            if f"init {arguments['mode']}" in breaks:
                raise RuntimeError("no such host")
            runs.append(FakeRun(breaks))
            return runs[-1]

        def teardown():
            torn_down.append(1)
            if "teardown" in breaks:
                raise ConnectionResetError

        fake = SimpleNamespace(init=init, teardown=teardown, Settings=dict)
        monkeypatch.setitem(sys.modules, "wandb", fake)
        return RunRecord(make_config(f"tracking=wandb_{mode}")), runs

    return make


@pytest.mark.parametrize("name", ["exp/one", "exp:1#a", "é 한 ?%'", "x" * 300, " a ", "名" * 90])
def test_any_name_is_one_that_wandb_takes(name):
    import wandb

    names = dict.fromkeys(("id", "project", "group", "name"), name)
    taken = accepted(names)
    wandb.Settings(run_id=taken["id"], project=taken["project"], run_group=taken["group"])
    assert max(map(len, taken.values())) <= 128
    assert len(taken["id"].encode()) <= 128  # a file is named by it
    assert accepted(names | {"id": f"{name}."})["id"] != taken["id"]


def test_a_usual_name_is_kept():
    names = {"id": "math-qwen-two_grpo-g2-seed0-0a1b", "project": "twogrpo", "name": "a/b"}
    assert accepted(names) == names


@pytest.mark.parametrize(
    "breaks", [(), ("log",), ("later log",), ("summary",), ("finish",), ("log", "teardown")]
)
def test_wherever_it_is_lost_the_record_is_whole_and_it_is_said_once(
    breaks, open_record, tmp_path, capsys
):
    record, [run] = open_record(*breaks)
    for step in range(4):
        record.log({"step": step, "reward/mean": 0.5})
    record.finish({"evaluation/average": 0.25})
    assert [row["step"] for row in read_rows(tmp_path / "run")] == [0, 1, 2, 3]
    assert json.loads((tmp_path / "run/run.json").read_text())["status"] == "finished"
    said = capsys.readouterr().err.splitlines()
    assert len(said) == bool(breaks)
    assert all(line.startswith("WARNING: W&B is lost (ConnectionResetError") for line in said)
    assert run.steps == ([0, 1, 2, 3] if "log" not in " ".join(breaks) else run.steps[:2])


def test_online_without_a_network_or_an_account_goes_on_offline(open_record, capsys):
    record, [run] = open_record("init online", mode="online")
    record.log({"step": 0})
    record.interrupt(by="SIGTERM")
    assert (run.steps, run.exit_code) == ([0], 1)
    [said] = capsys.readouterr().err.splitlines()
    assert "wandb sync" in said


def test_neither_online_nor_offline_is_no_mirror(open_record, tmp_path, capsys):
    record, runs = open_record("init online", "init offline", mode="online")
    record.log({"step": 0})
    record.finish({})
    assert runs == []
    assert len(read_rows(tmp_path / "run")) == 1
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_a_folder_that_takes_no_files_is_no_mirror(open_record, tmp_path, capsys):
    """W&B would go to /tmp without a word that anyone reads; a file stands for a read-only folder,
    which root could write to."""
    open_record()
    (tmp_path / "run/wandb").rmdir()
    (tmp_path / "run/wandb").write_text("")
    record, runs = open_record()
    record.log({"step": 0})
    assert runs == []
    assert len(read_rows(tmp_path / "run")) == 1
    [said] = capsys.readouterr().err.splitlines()
    assert "FileExistsError" in said

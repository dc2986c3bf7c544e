"""The committed records give every table, are refused if damaged, and name their code."""

import gzip
import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from analysis import all as every_exhibit
from analysis.committed import publish, records, stale, verify
from analysis.exhibits import exhibit
from analysis.records.frames import Runs, load
from tests.conftest import ROOT
from twogrpo.errors import ConfigError
from twogrpo.run_record.files import METRICS_FILE, PACKED, RUN_FILE, run_folders
from twogrpo.run_record.provenance import code_hash

SCALES = sorted(folder.parent for folder in records.RESULTS.glob("*/runs"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Path:
    """The recorded runs, published as `mine`."""
    results = tmp_path_factory.mktemp("results")
    records.pack(folder, results / "mine" / "runs")
    every_exhibit.main(load(str(results / "mine" / "runs")), results / "mine")
    return results


@pytest.fixture
def results(tmp_path: Path, built: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `results/` of its own, with `mine`."""
    results = tmp_path / "results"
    for module in (records, publish, stale, verify):
        monkeypatch.setattr(module, "RESULTS", results)
    shutil.copytree(built, results)
    return results


@pytest.mark.parametrize("scale", SCALES, ids=lambda path: path.name)
def test_the_committed_tables_are_what_their_records_give(scale: Path) -> None:
    assert list(verify.tables(scale)) == []


@pytest.mark.parametrize("scale", SCALES, ids=lambda path: path.name)
def test_the_committed_records_are_small_and_hold_no_weights(scale: Path) -> None:
    files = [path for path in (scale / "runs").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 2_000_000
    names = {str(path.relative_to(scale / "runs")).partition("/")[2] for path in files}
    assert names <= {*records.KEPT, *(name + PACKED for name in ("metrics.jsonl", "pairs.jsonl"))}


def test_packed_records_give_the_same_frames(folder: Path, runs: Runs, tmp_path: Path) -> None:
    records.pack(folder, tmp_path / "packed")
    packed = load(str(tmp_path / "packed"))
    for name in ("runs", "steps", "evaluations", "benchmarks"):
        pd.testing.assert_frame_equal(getattr(packed, name), getattr(runs, name))


@pytest.mark.parametrize("damage", ["cut", "flipped", "text"])
def test_a_damaged_record_is_one_line_and_changes_nothing(
    results: Path, damage: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = next((results / "mine" / "runs").rglob(METRICS_FILE + PACKED))
    content = broken.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]
    broken.write_bytes({"cut": content[:middle], "flipped": flipped, "text": b"rows"}[damage])
    before = {path: path.read_bytes() for path in results.glob("mine/*.csv")}
    monkeypatch.setattr("sys.argv", ["analysis.all"])
    with pytest.raises(SystemExit) as stopped:
        exhibit.command(every_exhibit.main, records.sources, theory="none")
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert len(message.splitlines()) == 1 and broken.parent.name in message
    assert before == {path: path.read_bytes() for path in results.glob("mine/*.csv")}


def test_a_changed_accuracy_is_found(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = results / "mine"
    assert list(verify.tables(mine)) == []
    monkeypatch.setattr(verify, "PAGES", {"mine": "docs/lora.md"})  # which has no such table
    found = list(verify.tables(mine))
    assert found and all("docs/lora.md lacks this line of mine/" in line for line in found)
    table = (mine / "table_1.csv").read_text()
    value = f"{pd.read_csv(mine / 'table_1.csv')['average_mean'][1]:.6g}"
    (mine / "table_1.csv").write_text(table.replace(value, f"{float(value) + 0.1:.6g}", 1))
    assert any("table_1.csv" in line for line in verify.tables(mine))


def test_a_fresh_run_is_held_against_the_committed_one(
    results: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh, committed = (f / "run-two_grpo-0" for f in (folder, results / "mine" / "runs"))
    assert list(verify.runs(fresh, committed)) == []
    packed = committed / (METRICS_FILE + PACKED)
    rows = [json.loads(line) for line in gzip.decompress(packed.read_bytes()).splitlines()]
    rows[-1]["evaluation/easy/num_correct"][0] ^= 1
    packed.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    problems = list(verify.runs(fresh, committed))
    assert [line.split(":")[0] for line in problems] == [
        f"{fresh.name} easy",
        f"{fresh.name} average",
    ]
    # On another machine rounding makes another run: the spread over seeds counts.
    about = json.loads((committed / RUN_FILE).read_text())
    about["versions"]["torch"] = "9.9"
    (committed / RUN_FILE).write_text(json.dumps(about))
    assert list(verify.runs(fresh, committed)) == []
    narrow = {"run-two_grpo-0": 50.0, "run-two_grpo-1": 51.0}
    accuracies = {fresh: {"average": 90.0}} | {
        committed.with_name(name): {"average": value} for name, value in narrow.items()
    }
    monkeypatch.setattr(verify, "_accuracies", lambda run: accuracies[run])
    assert len(list(verify.runs(fresh, committed))) == 1


def test_the_theory_is_held_to_bytes_here_and_to_its_own_intervals_elsewhere(
    tmp_path: Path,
) -> None:
    def measured(name: str, torch: str, value: float) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        about = {"versions": {"torch": torch}, "hardware": {"cpu": "AMD EPYC"}}
        (folder / records.CODE_FILE).write_text(json.dumps(about))
        # The interval of `variance` is that of a ratio, as in gradient_variance.csv.
        text = f"value,low,high,variance,variance_low,variance_high\n{value},1,2,0.2,0.3,0.4\n"
        (folder / "numbers.csv").write_text(text)
        return folder

    committed = measured("committed", "2.13", 1.5)
    assert list(verify.theory(measured("same", "2.13", 1.5), committed)) == []
    assert len(list(verify.theory(measured("changed", "2.13", 1.6), committed))) == 1
    assert list(verify.theory(measured("elsewhere", "9.9", 1.6), committed)) == []
    assert len(list(verify.theory(measured("outside", "9.9", 2.1), committed))) == 1


def test_only_finished_runs_of_this_code_are_published(
    results: Path, folder: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "runs"
    shutil.copytree(folder, mine, ignore=shutil.ignore_patterns("report"))

    def set_all(**values: object) -> None:
        for run in run_folders(mine):
            about = json.loads((run / RUN_FILE).read_text())
            (run / RUN_FILE).write_text(json.dumps(about | values))

    names = {run.name for run in run_folders(mine)}
    before = (results / "mine" / "summary.md").read_bytes()
    for values in ({}, {"code": code_hash(), "status": "running"}):
        set_all(**values)
        with pytest.raises(ConfigError):
            publish.publish(mine, results / "mine", names)
        assert (results / "mine" / "summary.md").read_bytes() == before
    set_all(status="finished")
    for wrong in (names | {"two_grpo-seed9"}, set(sorted(names)[1:])):
        with pytest.raises(ConfigError, match="missing or not planned"):
            publish.publish(mine, results / "mine", wrong)
    publish.publish(mine, results / "mine", names)
    assert code_hash() in (results / "mine" / "summary.md").read_text()
    assert sorted(path.name for path in results.iterdir()) == ["mine"]
    assert stale.state(results / "mine") == "current"


def test_every_committed_scale_holds_its_planned_runs() -> None:
    for runs in (ROOT / "results").glob("*/runs"):
        assert {run.name for run in run_folders(runs)} == publish.planned(runs.parent.name)


def test_no_committed_record_names_a_path_of_one_machine() -> None:
    for file in (ROOT / "results").glob("*/runs/*/run.json"):
        assert not re.search(r'"/\w', file.read_text(encoding="utf-8")), file


def test_a_packed_record_names_no_path_of_this_checkout(folder: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(folder, runs, ignore=shutil.ignore_patterns("report"))
    for run in run_folders(runs):
        about = json.loads((run / RUN_FILE).read_text())
        about["config"]["model"]["path"] = str(ROOT / "assets/tiny")
        (run / RUN_FILE).write_text(json.dumps(about))
    records.pack(runs, tmp_path / "packed")
    for run in run_folders(tmp_path / "packed"):
        assert '"assets/tiny"' in (run / RUN_FILE).read_text()


def test_no_committed_page_prints_a_missing_number() -> None:
    for page in (ROOT / "results").glob("*/*.md"):
        assert not re.search(r"\bnan\b", page.read_text(encoding="utf-8")), page


def test_a_result_of_other_code_is_stale(results: Path) -> None:
    assert stale.state(results / "mine").startswith("stale: 0123456789")
    (results / "none").mkdir()
    assert stale.state(results / "none") == "stale: names no code"


@pytest.mark.parametrize(
    ("about", "changed", "is_current"),
    [
        ({"commit": "abc"}, [], True),
        ({"commit": "abc"}, ["twogrpo/core/dpo.py"], False),
        ({"commit": "abc"}, None, False),  # git does not know it
        ({"commit": "abc", "commit_is_dirty": True}, [], False),
        ({"commit": "abc-dirty"}, [], False),
        ({"commit": "abc", "code": "another"}, [], False),
        ({}, [], False),
    ],
)
def test_a_result_without_a_hash_is_current_if_its_commit_s_code_is(
    about: dict[str, object],
    changed: list[str] | None,
    is_current: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "card.json").write_text(json.dumps({"about": about}))
    monkeypatch.setattr(stale, "changed_files", lambda commit, *folders: changed)
    assert (stale.state(tmp_path) == "current") == is_current


def test_every_result_folder_names_its_code() -> None:
    for result in (ROOT / "results").glob("*/"):
        assert records.made_with(result), result.name

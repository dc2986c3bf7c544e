"""A frozen prompt set reads back as what it was made from."""

import errno
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, compose_config
from twogrpo.config.schema import parse
from twogrpo.config.script_schemas import PrepareDataConfig
from twogrpo.data import snapshot
from twogrpo.data.contamination import load_overlap
from twogrpo.data.snapshot import prepare_data
from twogrpo.data.sources import prepared_dataset
from twogrpo.errors import ConfigError


def config(tmp_path, *overrides):
    return parse(
        compose_config(
            "dataset=math",
            f"dataset.path={tmp_path / 'train.jsonl'}",
            "evaluation.benchmarks=[amc23]",
            f"evaluation.folder={tmp_path}",
            f"output_dir={tmp_path / 'set'}",
            *overrides,
            name="prepare_data",
        ),
        PrepareDataConfig,
    )


def write(path, *rows):
    names = ("id", "problem", "answer")
    path.write_text(
        "".join(json.dumps(dict(zip(names, r, strict=True))) + "\n" for r in rows), encoding="utf-8"
    )


def test_a_set_is_frozen_with_its_manifest(tmp_path):
    rows = [("a", "What is $1+1$?", "2"), ("b", "What is é?", "3"), ("c", "What is é?", "3")]
    write(tmp_path / "train.jsonl", *rows)
    write(tmp_path / "amc23.jsonl", ("x", "what is 1 + 1?", "2"), ("y", "new", "1"))
    told = prepare_data(config(tmp_path))
    assert "math: 3 rows, 2 kept; dropped: 1 repeat (c)" in told
    folder = tmp_path / "set"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["num_dropped"] == {"repeat": 1}
    assert manifest["dropped"] == {"repeat": ["c"]}
    assert len((folder / "ids.txt").read_text().split()) == 2
    assert load_overlap(folder) == {"amc23": ["x"]}
    frozen = prepared_dataset(config(tmp_path, f"dataset.path={folder}").dataset)
    assert frozen.problems == prepared_dataset(config(tmp_path).dataset).problems
    assert frozen.counts == {}


def test_its_content_hash_does_not_depend_on_file_or_order(tmp_path):
    rows, hashes = [("a", "1?", "1"), ("b", "2?", "2")], []
    write(tmp_path / "amc23.jsonl", ("x", "new", "1"))
    for content in (rows, rows[::-1], [*rows, ("c", "3?", "3")]):
        write(tmp_path / "train.jsonl", *content)
        prepare_data(config(tmp_path))
        hashes.append(json.loads((tmp_path / "set/manifest.json").read_text())["content_sha256"])
    assert hashes[0] == hashes[1] != hashes[2]


def test_nothing_is_written_for_bad_input(tmp_path):
    write(tmp_path / "train.jsonl", ("a", "", ""))
    with pytest.raises(ConfigError, match="no usable row"):
        prepare_data(config(tmp_path))
    with pytest.raises(ConfigError, match="is generated: nothing to prepare"):
        prepare_data(config(tmp_path, "dataset.source=generated"))
    for names, why in (("[../amc23]", "is no name"), ("[amc23,amc23]", "twice"), ("[]", "nothing")):
        with pytest.raises(ConfigError, match=why):
            prepare_data(config(tmp_path, f"evaluation.benchmarks={names}"))
    assert not (tmp_path / "set").exists()


def both_files(tmp_path):
    write(tmp_path / "train.jsonl", ("a", "1?", "1"))
    write(tmp_path / "amc23.jsonl", ("x", "new", "1"))


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    both_files(tmp_path)
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file/set", tmp_path / ("x" * 300)):
        with pytest.raises(ConfigError, match=r"output_dir=.* cannot be written .*: give"):
            prepare_data(config(tmp_path, f"output_dir={place}"))
    assert (tmp_path / "file").read_text() == "mine"


def test_a_link_to_itself_is_one_line(tmp_path):
    both_files(tmp_path)
    (tmp_path / "train.jsonl").unlink()
    (tmp_path / "train.jsonl").symlink_to(tmp_path / "train.jsonl")
    with pytest.raises(ConfigError, match=r"dataset\.path=.*train.jsonl"):
        prepare_data(config(tmp_path))


def test_the_old_set_is_there_until_the_new_one_is(tmp_path, monkeypatch):
    """Nothing of it is lost where writing, or the last renaming, fails."""
    both_files(tmp_path)
    prepare_data(config(tmp_path))
    before = files(tmp_path)
    rename = Path.replace

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    def fails_for_the_new(path, target):
        if path.name.endswith(".new"):
            raise OSError(errno.EACCES, "Permission denied")
        return rename(path, target)

    for owner, name, broken, error in (
        (snapshot, "_write_json", full, OSError),
        (Path, "replace", fails_for_the_new, ConfigError),
    ):
        with monkeypatch.context() as patched, pytest.raises(error):
            patched.setattr(owner, name, broken)
            prepare_data(config(tmp_path))
        assert files(tmp_path) == before
        assert {path.name for path in tmp_path.iterdir()} == {"set", "train.jsonl", "amc23.jsonl"}


def test_somebodys_folder_beside_it_is_left_alone(tmp_path):
    both_files(tmp_path)
    for name in (".set.tmp", ".set.new", ".set.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.tex").write_text("three years")
    before = files(tmp_path)
    prepare_data(config(tmp_path))
    assert before.items() <= files(tmp_path).items()


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        ("output_dir=data", "deleted with dataset.path=data/train.jsonl"),
        ("output_dir=.", "deleted with dataset.path=data/train.jsonl"),
        ("output_dir=exams", "deleted with evaluation.folder=exams"),
        ("output_dir=frozen dataset.path=frozen", "deleted with dataset.path=frozen/prompts"),
        ("output_dir=notes", "holds thesis.txt and no manifest.json"),
        ("output_dir=of_another", "is no prompt set (manifest.json"),
        ("output_dir=beside", "is no prompt set (thesis.txt"),
        ("output_dir=data/train.jsonl", "deleted with dataset.path"),
        ("output_dir=exams/amc23.jsonl", "Not a directory"),
    ],
)
def test_what_is_no_prompt_set_is_not_deleted(tmp_path, monkeypatch, overrides, why):
    monkeypatch.chdir(tmp_path)
    for name in ("data", "exams", "notes", "of_another"):
        (tmp_path / name).mkdir()
    write(tmp_path / "data/train.jsonl", ("a", "1?", "1"))
    write(tmp_path / "exams/amc23.jsonl", ("x", "new", "1"))
    paths = ("dataset.path=data/train.jsonl", "evaluation.folder=exams")
    for name in ("frozen", "beside"):
        prepare_data(config(tmp_path, *paths, f"output_dir={name}"))
    (tmp_path / "notes/thesis.txt").write_text("three years")
    (tmp_path / "of_another/manifest.json").write_text("{}")
    (tmp_path / "beside/thesis.txt").write_text("three years")
    before = files(tmp_path)
    with pytest.raises(ConfigError, match=re.escape(why)):
        prepare_data(config(tmp_path, *paths, *overrides.split()))
    assert files(tmp_path) == before


def test_an_empty_folder_is_filled_and_a_prompt_set_replaced(tmp_path):
    write(tmp_path / "train.jsonl", ("a", "1?", "1"))
    write(tmp_path / "amc23.jsonl", ("x", "new", "1"))
    (tmp_path / "set").mkdir()
    prepare_data(config(tmp_path))
    first = (tmp_path / "set/ids.txt").read_text()
    write(tmp_path / "train.jsonl", ("a", "2?", "1"))
    prepare_data(config(tmp_path))
    assert (tmp_path / "set/ids.txt").read_text() != first
    assert {path.name for path in tmp_path.iterdir()} == {"train.jsonl", "amc23.jsonl", "set"}


def test_a_set_that_another_process_prepares_is_refused(tmp_path):
    both_files(tmp_path)
    hold = (
        "import sys, time, pathlib; from twogrpo.config.output_folder import claim; "
        "lock = claim('output_dir', pathlib.Path(sys.argv[1]), beside=True); "
        "print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", hold, str(tmp_path / "set")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(ConfigError, match=rf"set: another process \(pid {other.pid}\)"):
            prepare_data(config(tmp_path))
        other.kill()
    assert not (tmp_path / "set").exists()
    prepare_data(config(tmp_path))

"""A frozen prompt set reads back as what it was made from."""

import json

import pytest

from tests.conftest import compose_config
from twogrpo.config import ConfigError, parse
from twogrpo.data.contamination import known
from twogrpo.data.prompt_set import prepare_data
from twogrpo.data.sources import prepared_dataset
from twogrpo.script_configs import PrepareDataConfig


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
    assert "math: 3 rows, 2 kept; dropped: 1 repeat" in told
    folder = tmp_path / "set"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["num_dropped"] == {"repeat": 1}
    assert manifest["dropped"] == {"repeat": ["c"]}
    assert len((folder / "ids.txt").read_text().split()) == 2
    assert known(folder) == {"amc23": ["x"]}
    frozen = prepared_dataset(config(tmp_path, f"dataset.path={folder}").dataset)
    assert frozen.problems == prepared_dataset(config(tmp_path).dataset).problems
    assert frozen.counts == {}


def test_its_content_hash_does_not_depend_on_file_or_order(tmp_path):
    rows = [("a", "1?", "1"), ("b", "2?", "2")]
    write(tmp_path / "amc23.jsonl", ("x", "new", "1"))
    hashes = set()
    for order in (rows, rows[::-1]):
        write(tmp_path / "train.jsonl", *order)
        prepare_data(config(tmp_path))
        hashes.add(json.loads((tmp_path / "set/manifest.json").read_text())["content_sha256"])
    write(tmp_path / "train.jsonl", *rows, ("c", "3?", "3"))
    prepare_data(config(tmp_path))
    hashes.add(json.loads((tmp_path / "set/manifest.json").read_text())["content_sha256"])
    assert len(hashes) == 2


def test_nothing_is_written_for_bad_input(tmp_path):
    write(tmp_path / "train.jsonl", ("a", "", ""))
    with pytest.raises(ConfigError, match="no usable row"):
        prepare_data(config(tmp_path))
    with pytest.raises(ConfigError, match="is generated: nothing to prepare"):
        prepare_data(config(tmp_path, "dataset.source=generated"))
    assert not (tmp_path / "set").exists()

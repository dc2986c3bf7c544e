"""What a run's files held: edited they are another's, touched or moved in time they are not."""

import os

import pytest

from twogrpo.errors import ConfigError
from twogrpo.run_record import inputs
from twogrpo.run_record.inputs import digests, first_change, read_inputs


def test_a_hash_hangs_on_the_content_alone(tmp_path):
    file = tmp_path / "mine.jsonl"
    file.write_text("one")
    before = read_inputs({"dataset.path": [file]}, {})
    os.utime(file, ns=(1, 1))
    touched = read_inputs({"dataset.path": [file]}, before)
    assert digests(touched) == digests(before) != {}
    assert first_change(before, touched) is None
    times = file.stat()
    file.write_text("two")  # the same size, and the same time of change
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    inputs.sha256.cache_clear()
    edited = read_inputs({"dataset.path": [file]}, touched)
    assert first_change(before, edited) == "dataset.path: mine.jsonl"


def test_a_large_file_is_hashed_again_only_if_size_or_time_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "ALWAYS_HASHED_BYTES", 2)
    file = tmp_path / "model.safetensors"
    file.write_text("one")
    known = read_inputs({"model.path": [file]}, {})
    hashed = []
    monkeypatch.setattr(inputs, "sha256", lambda path, **_: hashed.append(path) or "new")
    assert read_inputs({"model.path": [file]}, known) == known
    assert hashed == []
    os.utime(file, ns=(1, 1))
    assert digests(read_inputs({"model.path": [file]}, known)) != digests(known)
    assert hashed == [file]


def test_a_file_more_or_less_is_a_change_and_none_at_all_is_not():
    def of(**hashes):
        return {"model.path": {name: {"sha256": value} for name, value in hashes.items()}}

    assert first_change(of(a="1"), of(a="1")) is None
    assert first_change(of(a="1"), of(a="1", b="2")) == "model.path: b"
    assert first_change(of(a="1", b="2"), of(a="1")) == "model.path: b"
    assert first_change(of(a="1"), {}) is None  # gone altogether: nothing to compare with


def test_a_file_that_cannot_be_read_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match=r"dataset\.path: .*cannot be read"):
        read_inputs({"dataset.path": [tmp_path / "gone"]}, {})

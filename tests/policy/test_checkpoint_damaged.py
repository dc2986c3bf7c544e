"""Checkpoints that are damaged, crafted, of another model, or that a disk refuses."""

import errno
import json
import os
import pickle
import resource
import struct

import pytest
import torch

from tests.policy.test_checkpoint import SHARD, flip_a_bit, load, names, save, tensors
from twogrpo.errors import CheckpointFault
from twogrpo.policy import checkpoint, checkpoint_manifest


@pytest.mark.parametrize("file", [SHARD, "state.json", "manifest.json"])
@pytest.mark.parametrize("harm", ["truncated", "flipped", "gone", "emptied"])
def test_a_damaged_checkpoint_is_said_aloud_and_the_one_before_is_used(
    file, harm, tmp_path, capsys
):
    save(tmp_path, 1)
    save(tmp_path, 2)
    path = tmp_path / "000002" / file
    if harm == "truncated":
        os.truncate(path, path.stat().st_size - 7)
    elif harm == "flipped":
        flip_a_bit(path, path.stat().st_size // 2)
    elif harm == "gone":
        path.unlink()
    else:
        path.write_bytes(b"")
    into, state = load(tmp_path)
    assert state == {"step": 1, "exact": 1.1}
    assert into["weight"].eq(1).all()
    assert into["moment"].eq(1).all()
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"WARNING: {tmp_path / '000002'} is damaged: ")
    assert "damaged-000002" in second
    assert names(tmp_path) == ["000001", "damaged-000002"]
    save(tmp_path, 2, kept=1)  # the damaged one is not counted among those kept
    assert names(tmp_path) == ["000002", "damaged-000002"]
    assert load(tmp_path)[1] == {"step": 2, "exact": 2.1}


def test_every_bit_counts(tmp_path):
    """A flip anywhere in the file of weights is found: header, padding, data."""
    save(tmp_path, 1)
    path = tmp_path / "000001" / SHARD
    sums = checkpoint_manifest.listed(tmp_path / "000001")
    assert checkpoint_manifest.damage(tmp_path / "000001", sums) == []
    for at in range(path.stat().st_size):
        flip_a_bit(path, at)
        [reason] = checkpoint_manifest.damage(tmp_path / "000001", sums)
        assert reason.startswith(SHARD)
        flip_a_bit(path, at)


def test_none_whole_is_an_error_with_folder_and_remedy(tmp_path):
    for step in (1, 2):
        save(tmp_path, step)
        (tmp_path / f"{step:06d}" / SHARD).unlink()
    with pytest.raises(CheckpointFault, match=r"2 checkpoints and none is intact.*delete the") as e:
        load(tmp_path)
    assert str(tmp_path) in str(e.value)
    assert e.value.exit_code == 74
    assert names(tmp_path) == ["000001", "000002"]  # what can be restored by hand still lies there


def test_a_file_too_many_is_not_read(tmp_path):
    """A shard laid beside the others could put its own rows into a weight."""
    save(tmp_path, 1)
    (tmp_path / "000001/shard-00009-model-00001-of-00001.safetensors").write_bytes(b"x")
    with pytest.raises(CheckpointFault):
        load(tmp_path)


def test_a_checkpoint_crafted_to_run_code_runs_none(tmp_path, monkeypatch):
    """A pickle in the place of each file, under sums that are right: refused, not opened."""
    monkeypatch.chdir(tmp_path)

    class Bomb:
        def __reduce__(self):
            return os.system, ("touch ran",)

    for name in (SHARD, "state.json", "manifest.json"):
        save(tmp_path / "c", 1)
        folder = tmp_path / "c/000001"
        (folder / name).write_bytes(pickle.dumps(Bomb()))
        if name != "manifest.json":
            sums = checkpoint_manifest.sums_of(folder / n for n in (SHARD, "state.json"))
            (folder / "manifest.json").write_text(json.dumps({"files": sums}))
        with pytest.raises((CheckpointFault, ValueError)):
            load(tmp_path / "c")
        assert not (tmp_path / "ran").exists()
    pickle.loads(pickle.dumps(Bomb()))
    assert (tmp_path / "ran").exists(), "the bomb is a dud: the test proves nothing"


def test_a_header_that_lies_about_its_length_is_an_error(tmp_path):
    save(tmp_path, 1)
    folder = tmp_path / "000001"
    (folder / SHARD).write_bytes(struct.pack("<Q", 2**60) + b"{}")
    sums = checkpoint_manifest.sums_of(folder / n for n in (SHARD, "state.json"))
    (folder / "manifest.json").write_text(json.dumps({"files": sums}))
    with pytest.raises(ValueError, match=r"holds no safetensors .*header too large"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("into", "named"),
    [
        ({"weight": torch.zeros(3)}, "moment"),  # the checkpoint has more
        (tensors() | {"extra": torch.zeros(1)}, "extra"),
        (tensors() | {"weight": torch.zeros(4)}, "weight"),
        (tensors() | {"weight": torch.zeros(3, dtype=torch.bfloat16)}, "weight"),
    ],
)
def test_a_checkpoint_of_other_tensors_is_not_loaded_in_part(into, named, tmp_path):
    save(tmp_path, 1)
    with pytest.raises(ValueError, match=rf"another model: {named} is"):
        checkpoint.load_latest(tmp_path, into=into)
    assert all(tensor.eq(0).all() for tensor in into.values())


@pytest.mark.parametrize("place", ["write_shards", "publish"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_disk_that_refuses_leaves_the_earlier_one(place, number, tmp_path, monkeypatch):
    save(tmp_path, 1)

    def refuse(*_args: object) -> None:
        raise OSError(number, os.strerror(number))

    where = "_write_shards" if place == "write_shards" else "checkpoint_manifest.publish"
    with monkeypatch.context() as patch:
        patch.setattr(f"twogrpo.policy.checkpoint.{where}", refuse)
        with pytest.raises(CheckpointFault, match=r"000002 was not written .*the earlier ones"):
            save(tmp_path, 2)
    assert names(tmp_path) == ["000001"]  # the half-written one frees its room
    assert load(tmp_path)[1] == {"step": 1, "exact": 1.1}


def test_a_file_that_may_grow_no_further_is_a_full_disk(tmp_path):
    """The kernel's own refusal, in the midst of the shard."""
    save(tmp_path, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(CheckpointFault, match=r"the disk is full.*make room"):
            save(tmp_path, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == ["000001"]
    assert load(tmp_path)[1] == {"step": 1, "exact": 1.1}

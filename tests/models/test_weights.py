"""A folder whose weights are not those of its config.json is refused by name, before a run."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoTokenizer

from tests.conftest import compose_config, parse_config
from twogrpo.config.schema import parse
from twogrpo.config.script_schemas import EvaluateConfig
from twogrpo.distributed.process_group import SINGLE_PROCESS
from twogrpo.errors import ConfigError
from twogrpo.evaluation.checkpoint import evaluate_checkpoint
from twogrpo.models.load import load_model
from twogrpo.policy.build import build_policy
from twogrpo.training import assemble

Weights = dict[str, Tensor]
NORM, EMBEDDING = "model.norm.weight", "model.embed_tokens.weight"
HEAD = "v_head.summary.weight"


def same(weights: Weights) -> Weights:
    return weights


def renamed(prefix: str, part: str = "") -> Callable[[Weights], Weights]:
    return lambda weights: {(prefix if part in k else "") + k: v for k, v in weights.items()}


def changed(name: str, change: Callable[[Tensor], Tensor]) -> Callable[[Weights], Weights]:
    return lambda weights: {k: change(v) if k == name else v for k, v in weights.items()}


def doubled_head(weights: Weights) -> Weights:
    return weights | {"lm_head.weight": 2 * weights[EMBEDDING]}


def adapter(weights: Weights) -> Weights:
    return weights | {"model.layers.0.self_attn.q_proj.lora_A.weight": torch.ones(2, 64)}


LAYERS_4 = {"num_hidden_layers": 4, "layer_types": ["full_attention"] * 4}
LAYER_1 = {"num_hidden_layers": 1, "layer_types": ["full_attention"]}
REFUSED = {
    "a tensor lost": (lambda w: {k: w[k] for k in w if k != NORM}, {}, rf"missing: {NORM}\)"),
    "a layer lost": (lambda w: {k: w[k] for k in w if ".1." not in k}, {}, "missing: model.*more"),
    "another name": (lambda w: {k.replace(NORM, "model.n"): w[k] for k in w}, {}, NORM),
    "torch.compile": (renamed("_orig_mod."), {}, "take the prefix _orig_mod. off"),
    "DDP": (renamed("module."), {}, "take the prefix module. off"),
    "PEFT": (renamed("base_model.model."), {}, "take the prefix base_model.model. off"),
    "a prefix on one layer": (renamed("_orig_mod.", ".1."), {}, "take the prefix _orig_mod. off"),
    "more layers in config.json": (same, LAYERS_4, "missing: model.layers.2"),
    "fewer layers in config.json": (same, LAYER_1, "unexpected: model.layers.1"),
    "an untied head lost": (same, {"tie_word_embeddings": False}, "missing: lm_head.weight"),
    "a tied head of its own": (doubled_head, {}, "lm_head.weight is another.*tie_word_embeddings"),
    "an adapter not merged": (adapter, {}, "unexpected: .*lora_A"),
    "another vocab_size": (same, {"vocab_size": 24}, r"\[18, 64\] instead of \[24, 64\]"),
    "another hidden_size": (same, {"hidden_size": 128}, r"\[64\] instead of \[128\]"),
    "all integers": (lambda w: {k: v.long() for k, v in w.items()}, {}, "stored as I64"),
    "all of fp8": (lambda w: {k: v.to(torch.float8_e4m3fn) for k, v in w.items()}, {}, "F8_E4M3"),
    "one of fp8": (changed(NORM, lambda t: t.to(torch.float8_e5m2)), {}, "stored as F8_E5M2"),
    "an expert of fp8": (lambda w: w | {"e.up_proj": w[NORM].to(torch.float8_e4m3fn)}, {}, "F8_"),
    "one of integers": (changed(NORM, lambda t: t.to(torch.int8)), {}, "stored as I8"),
    "NaN": (changed(NORM, lambda t: t * torch.nan), {}, "model.path.*not finite"),
    "infinite": (changed(EMBEDDING, lambda t: t * torch.inf), {}, "model.path.*not finite"),
    "quantised": (same, {"quantization_config": {"quant_method": "fp8"}}, "quantised weights"),
    "NaN in config.json": (same, {"rope_parameters": {"rope_theta": float("nan")}}, "theta=NaN"),
    # What transformers raises of itself.
    "KeyError": (same, {"hidden_act": "wild"}, "KeyError: 'wild'"),
    "ZeroDivisionError": (same, {"num_attention_heads": 0}, "ZeroDivisionError"),
    "a validation error": (same, {"num_hidden_layers": 4}, "ValidationError"),
    "a wrong type": (same, {"num_hidden_layers": "two"}, "ValidationError"),
    "no model of transformers": (same, {"model_type": "wild"}, "cannot be loaded"),
}


def folder_of(
    model_folder: Path,
    target: Path,
    change: Callable[[Weights], Weights],
    config: dict[str, object],
) -> Path:
    shutil.copytree(model_folder, target)
    weights = target / "model.safetensors"
    changed = {name: tensor.contiguous() for name, tensor in change(load_file(weights)).items()}
    save_file(changed, weights, metadata={"format": "pt"})
    file = target / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | config))
    return target


@pytest.mark.parametrize("kind", REFUSED)
def test_weights_that_are_not_the_models_are_refused(
    kind, make_config, model_folder, tmp_path, capfd
):
    change, config, words = REFUSED[kind]
    folder = folder_of(model_folder, tmp_path / "model", change, config)
    capfd.readouterr()
    with pytest.raises(ConfigError, match=words) as refusal:
        assemble.assemble(make_config(f"model.path={folder}"))
    assert str(folder) in str(refusal.value) and "\n" not in str(refusal.value)
    assert "LOAD REPORT" not in "".join(capfd.readouterr())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("engine", ["transformers", "vllm"])
def test_an_evaluation_refuses_them_too_whatever_its_sampler(engine, model_folder, tmp_path):
    """vLLM, which need not be here, would draw the head at random."""
    untied = {"tie_word_embeddings": False}
    folder = folder_of(model_folder, tmp_path / "model", same, untied)
    typed = [f"checkpoint={folder}", f"rollout={engine}", f"output_dir={tmp_path / 'run'}"]
    config = parse(compose_config(*typed, "tracking=local", name="evaluate"), EvaluateConfig)
    with pytest.raises(ConfigError, match=r"missing: lm_head\.weight"):
        evaluate_checkpoint(config)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda w: {k: v.bfloat16() for k, v in w.items()},
        lambda w: w | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(16)},
        lambda w: w | {HEAD: torch.ones(1, 64)},
        lambda w: w | {"lm_head.weight": w[EMBEDDING].clone()},
    ],
    ids=["bfloat16", "inv_freq", "value head", "the tied head too"],
)
def test_weights_that_change_nothing_are_taken(change, model_folder, tmp_path, capsys):
    folder = folder_of(model_folder, tmp_path / "model", change, {})
    model = parse_config(f"model.path={folder}").model
    loaded, expected = load_model(model), load_file(model_folder / "model.safetensors")
    torch.testing.assert_close(loaded.get_parameter(NORM), expected[NORM], atol=0, rtol=0)
    load_model(model)
    assert capsys.readouterr().err.count(HEAD) == (HEAD in load_file(folder / "model.safetensors"))


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_an_adapter_in_the_folder_is_refused(name, make_config, model_folder, tmp_path):
    folder = folder_of(model_folder, tmp_path / "model", same, {})
    (folder / name).write_text("{}")
    with pytest.raises(ConfigError, match=r"model\.path=.*adapter.*merge it"):
        assemble.assemble(make_config(f"model.path={folder}"))


def test_a_temperature_that_no_logit_survives_is_refused(make_config, tmp_path):
    for key in ("rollout", "evaluation"):
        with pytest.raises(ConfigError, match=rf"temperature=1e-300.* {key}\.temperature"):
            assemble.assemble(make_config(f"{key}.temperature=1e-300"))
    assert not (tmp_path / "run").exists()


def test_the_export_keeps_the_end_tokens_and_drops_the_sampling_values(model_folder, tmp_path):
    folder = folder_of(model_folder, tmp_path / "model", same, {})
    published = {"bos_token_id": 3, "eos_token_id": [1, 5], "pad_token_id": 0, "top_k": 2}
    (folder / "generation_config.json").write_text(json.dumps(published | {"temperature": 0.1}))
    config = parse_config(f"model.path={folder}")
    policy = build_policy(config, AutoTokenizer.from_pretrained(folder), SINGLE_PROCESS)
    policy.export(tmp_path / "final")
    written = json.loads((tmp_path / "final/generation_config.json").read_text())
    del written["transformers_version"]
    assert written == {key: published[key] for key in published if key.endswith("_id")}

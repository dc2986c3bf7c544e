"""Sizes of models, worked by hand and against a model that is there."""

import json

import pytest
import torch
from safetensors import safe_open
from transformers import Qwen2Config, Qwen2ForCausalLM

from tests.conftest import ROOT, compose_config
from twogrpo.config import Config, ConfigError, Model, parse
from twogrpo.preflight.architectures import PUBLISHED, architecture_of, from_config_file


def test_parameters_of_a_7b_model_by_hand():
    """A layer: q 3584² + 3584, k and v 2 (3584·512 + 512), o 3584², MLP 3·3584·18944, norms 2·3584
    = 233,057,792; 28 of them, the last norm 3584, embedding and head 2·152064·3584."""
    model = PUBLISHED["qwen25_math_7b"]
    assert model.layer_parameters == 233_057_792
    assert model.parameters == 28 * 233_057_792 + 3584 + 1_089_994_752 == 7_615_616_512


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("qwen25_math_1_5b", 1.54e9),
        ("r1_distill_qwen_1_5b", 1.78e9),
        ("qwen25_math_7b", 7.62e9),
        ("qwen25_vl_7b", 8.29e9),
        ("smollm2_135m", 134.5e6),
        ("qwen25_32b", 32.8e9),
    ],
)
def test_parameters_are_those_of_the_model_card(name, published):
    assert PUBLISHED[name].parameters == pytest.approx(published, rel=0.004)


def test_parameters_are_those_of_the_real_class():
    """The formula against `transformers`, on the meta device: no memory is taken."""
    model = PUBLISHED["qwen25_math_1_5b"]
    config = Qwen2Config(
        vocab_size=model.vocabulary,
        hidden_size=model.hidden,
        num_hidden_layers=model.layers,
        num_attention_heads=model.heads,
        num_key_value_heads=model.kv_heads,
        intermediate_size=model.intermediate,
        tie_word_embeddings=model.is_tied,
    )
    with torch.device("meta"):
        real = Qwen2ForCausalLM(config)
    assert model.parameters == sum(p.numel() for p in real.parameters())


def test_cache_of_a_token():
    """7B: 2 · 28 layers · 4 heads · 128 · 2 bytes = 56 KiB; DeepSeek-V3: 61 · 576 · 2 bytes."""
    assert PUBLISHED["qwen25_math_7b"].cache_bytes_per_token(2) == 56 * 1024
    assert PUBLISHED["deepseek_v3_671b"].cache_bytes_per_token(2) == 70_272


def test_forward_flops():
    """Two a parameter but the looked-up embedding, four a head value and position attended to."""
    model = PUBLISHED["qwen25_math_1_5b"]
    products = 28 * model.layer_parameters + 151_936 * 1536
    assert model.forward_flops(1, 0) == 2 * products
    assert model.forward_flops(3, 100) == 3 * (2 * products + 4 * 28 * 12 * 128 * 100)


def test_a_folder_at_hand_wins_and_its_sizes_are_its_file_s(tmp_path):
    folder = ROOT / "assets/tiny"
    model = architecture_of(Model("qwen25_math_7b", str(folder), None, "plain"))
    with safe_open(folder / "model.safetensors", "pt") as file:
        stored = sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118
    assert model.parameters == stored
    assert model.positions == 64


@pytest.mark.parametrize("name", ["qwen25_math_7b", "qwen25_vl_7b", "smollm2_135m", "tiny"])
def test_every_model_of_conf_is_known_without_a_network(name):
    config = parse(compose_config(f"model={name}"), Config)
    assert architecture_of(config.model).parameters > 0


def test_an_unknown_model_and_an_incomplete_file_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"model\.path=a/b .*model\.name=mine"):
        architecture_of(Model("mine", "a/b", None, "plain"))
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"model_type": "llama", "num_attention_heads": 2}))
    with pytest.raises(ConfigError, match="num_hidden_layers"):
        from_config_file(file)

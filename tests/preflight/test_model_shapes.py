"""Sizes of models, worked by hand and against a model that is there."""

import json

import pytest
import torch
from safetensors import safe_open
from transformers import Qwen2Config, Qwen2ForCausalLM

from tests.conftest import ROOT, compose_config
from twogrpo.config.schema import Config, ModelConfig, parse
from twogrpo.errors import ConfigError
from twogrpo.preflight.model_shapes import PUBLISHED, architecture_of, from_config_file


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
    """7B: 2 · 28 layers · 4 heads · 128 · 2 bytes = 56 KiB."""
    assert PUBLISHED["qwen25_math_7b"].cache_bytes_per_token(2) == 56 * 1024


def test_a_folder_at_hand_wins_and_its_sizes_are_its_file_s(tmp_path):
    folder = ROOT / "assets/tiny"
    model = architecture_of(ModelConfig("qwen25_math_7b", str(folder), None, "plain", "auto", None))
    with safe_open(folder / "model.safetensors", "pt") as file:
        stored = sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118
    assert model.parameters == stored
    assert model.positions == 64


@pytest.mark.parametrize("name", ["qwen25_math_7b", "qwen25_vl_7b", "smollm2_135m", "tiny"])
def test_every_model_of_conf_is_known_without_a_network(name):
    config = parse(compose_config(f"model={name}"), Config)
    assert architecture_of(config.model).parameters > 0


SIZES = {
    "model_type": "llama",
    "num_attention_heads": 4,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "intermediate_size": 128,
    "vocab_size": 100,
    "max_position_embeddings": 32,
}


def test_null_is_as_good_as_absent(tmp_path):
    """Without KV heads each head has its own, as for `transformers`; text_config may be null."""
    file = tmp_path / "config.json"
    file.write_text(json.dumps(SIZES))
    plain = from_config_file(file)
    nulls = dict.fromkeys(("num_key_value_heads", "head_dim", "text_config"))
    file.write_text(json.dumps({**SIZES, **nulls}))
    assert from_config_file(file) == plain
    assert (plain.kv_heads, plain.head_dim) == (4, 16)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "no model's config.json"),
        ('{"text_config": 3}', "no model's config.json"),
        (json.dumps({**SIZES, "num_attention_heads": None}), "num_attention_heads=None is no size"),
        (json.dumps({**SIZES, "vocab_size": "100"}), "vocab_size='100' is no size"),
        (json.dumps({**SIZES, "num_attention_heads": 0}), "num_attention_heads=0 is no size"),
        (json.dumps({**SIZES, "hidden_size": 64.5}), "hidden_size=64.5 is no size"),
        # A mixture of experts, and a vision tower that no table has.
        (json.dumps({**SIZES, "model_type": "qwen3_moe"}), "model_type=qwen3_moe .* not known"),
        (json.dumps({**SIZES, "vision_config": {"depth": 1}}), "model_type=llama .* not known"),
    ],
)
def test_a_damaged_file_is_one_line(content, said, tmp_path):
    file = tmp_path / "config.json"
    file.write_text(content)
    with pytest.raises(ConfigError, match=said) as caught:
        from_config_file(file)
    assert "\n" not in str(caught.value)


def test_the_vision_tower_is_that_of_the_table(tmp_path):
    """Patches 3·2·14²·1280; 32 layers of 2·1280 + 4·1280² + 4·1280 + 3·1280·3420 + 2·3420 + 1280;
    the merger 1280 + 5120² + 5120 + 5120·3584 + 3584."""
    tower = 3 * 2 * 14**2 * 1280
    tower += 32 * (2 * 1280 + 4 * 1280**2 + 4 * 1280 + 3 * 1280 * 3420 + 2 * 3420 + 1280)
    tower += 1280 + 5120**2 + 5120 + 5120 * 3584 + 3584
    assert PUBLISHED["qwen25_vl_7b"].other_parameters == tower
    file = tmp_path / "config.json"
    file.write_text(
        json.dumps({**SIZES, "model_type": "qwen2_5_vl", "vision_config": {"depth": 32}})
    )
    found = architecture_of(ModelConfig("qwen25_vl_7b", str(tmp_path), None, "plain", "auto", None))
    assert (found.other_parameters, found.hidden) == (tower, 64)


def test_an_unknown_model_is_named():
    with pytest.raises(ConfigError, match=r"model\.path=a/b .*model\.name=mine"):
        architecture_of(ModelConfig("mine", "a/b", None, "plain", "auto", None))

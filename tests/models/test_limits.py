"""A sequence longer than a model's positions, window or RoPE allow is refused."""

from copy import deepcopy

import pytest
import transformers

from twogrpo.errors import ConfigError
from twogrpo.models.limits import check_context, check_token_ids
from twogrpo.types import Prompt

SHAPE = {"num_hidden_layers": 2, "vocab_size": 18, "max_position_embeddings": 64}
SLIDING, FULL = "sliding_attention", "full_attention"
LONGROPE = {
    "rope_type": "longrope", "rope_theta": 100.0, "short_factor": [1.0] * 48,
    "long_factor": [2.0] * 48, "original_max_position_embeddings": 32,
}  # fmt: skip
DYNAMIC, LINEAR = (
    {"rope_type": kind, "rope_theta": 100.0, "factor": 2.0} for kind in ("dynamic", "linear")
)
PHI3 = {"pad_token_id": 0, "sliding_window": None, "original_max_position_embeddings": 32}


def config(family, **values):
    return getattr(transformers, f"{family}Config")(**deepcopy(SHAPE | values))


WINDOW = {"use_sliding_window": True, "sliding_window": 16}
# Family, values, and the longest sequence that is what we compute.
CASES = [
    ("Qwen2", {}, 64),
    ("Mistral", {"sliding_window": None}, 64),
    ("Mistral", {"sliding_window": 16}, 16),
    ("Mixtral", {"sliding_window": 16}, 16),
    ("Phi3", {"sliding_window": 16, "pad_token_id": 0}, 16),
    ("Starcoder2", {"sliding_window": 16}, 16),
    ("Gemma3Text", {"sliding_window": 16}, 16),
    ("Olmo3", {"sliding_window": 16}, 16),
    ("Ministral", {"sliding_window": 16}, 16),
    ("GPTNeo", {"window_size": 16, "num_layers": 2, "attention_types": [[["local"], 2]]}, 16),
    # Qwen's three keys: the window is off, on from a layer, on for named layers, on for none.
    ("Qwen2", {"use_sliding_window": False, "sliding_window": 16}, 64),
    ("Qwen2", WINDOW | {"max_window_layers": 1}, 16),
    ("Qwen3", WINDOW | {"max_window_layers": 0}, 16),
    ("Qwen2", WINDOW | {"layer_types": [SLIDING, FULL]}, 16),
    ("Qwen2", WINDOW | {"max_window_layers": 2}, 64),
    # Frequencies that change with the longest sequence of a batch.
    ("Phi3", PHI3 | {"rope_parameters": LONGROPE}, 32),
    ("Llama", {"rope_parameters": DYNAMIC | {"original_max_position_embeddings": 32}}, 32),
    ("Llama", {"rope_parameters": DYNAMIC}, 64),
    ("Llama", {"rope_parameters": LINEAR}, 64),
]  # fmt: skip


@pytest.mark.parametrize(("family", "values", "longest"), CASES)
def test_the_longest_sequence_fits_and_one_more_token_does_not(family, values, longest):
    check_context(config(family, **values), "some/model", longest)
    with pytest.raises(ConfigError, match=rf"some/model.* {longest + 1}: lower dataset") as refusal:
        check_context(config(family, **values), "some/model", longest + 1)
    assert "\n" not in str(refusal.value)


def test_the_text_model_of_a_multimodal_configuration_counts():
    text = SHAPE | {"sliding_window": 16}
    gemma = transformers.Gemma3Config(text_config=text)
    with pytest.raises(ConfigError, match="sliding_window=16"):
        check_context(gemma, "some/model", 17)
    text |= {"use_sliding_window": True, "max_window_layers": 0}
    qwen = transformers.Qwen2_5_VLConfig(text_config=text)
    with pytest.raises(ConfigError, match="sliding_window=16"):
        check_context(qwen, "some/model", 17)


def test_each_kind_of_layer_has_its_own_rope():
    each = {FULL: LONGROPE, SLIDING: {"rope_type": "default", "rope_theta": 100.0}}
    subject = config("Llama")
    subject.rope_parameters = each
    with pytest.raises(ConfigError, match=r"beyond 32 tokens .*longrope"):
        check_context(subject, "some/model", 33)


def test_a_token_beyond_the_vocabulary_is_refused():
    check_token_ids(config("Qwen2"), "some/model", [Prompt("a", "", "", (0, 17))])
    with pytest.raises(ConfigError, match=r"some/model.* prompt b the token 18, beyond its vocab"):
        check_token_ids(config("Qwen2"), "some/model", [Prompt("b", "", "", (18, 0))])

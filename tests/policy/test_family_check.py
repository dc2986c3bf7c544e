"""A model that does more to its logits or its attention than we compute is refused, not trained."""

import pytest
import torch
import transformers

from tests.conftest import parse_config, tiny_model
from twogrpo.errors import ConfigError
from twogrpo.policy.logprob_model import LogprobModel
from twogrpo.policy.packed_attention import packed_attention
from twogrpo.types import TrainingSample

SMALL = {
    "vocab_size": 18,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "intermediate_size": 128,
    "max_position_embeddings": 64,
    "initializer_range": 0.15,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
}


def model(family, **values):
    config = getattr(transformers, f"{family}Config")(**SMALL | values)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return getattr(transformers, f"{family}ForCausalLM")(config).eval()


def logprob_model(subject):
    return LogprobModel(subject, hardware=parse_config().hardware, temperature=0.7)


@pytest.mark.parametrize(
    ("family", "values", "why"),
    [
        ("Gemma2", {"attn_logit_softcapping": None}, "final_logit_softcapping=30.0"),
        ("Gemma2", {"final_logit_softcapping": None}, "attn_logit_softcapping=50.0"),
        ("Granite", {"logits_scaling": 4.0}, "logits_scaling=4.0"),
        ("Cohere", {}, "logit_scale=0.0625"),
        ("Phi", {}, "its head has a bias"),
        # Nothing in the configuration says it: attention that cannot be replaced, a state, sinks.
        ("StableLm", {}, r"off by \d\.?\d* nats"),
        ("Bloom", {"n_layer": 2, "n_head": 2}, r"off by \d\.?\d* nats"),
        ("GptOss", {"num_local_experts": 2, "num_experts_per_tok": 1, "rope_parameters": None},
         "s_aux"),
    ],
)  # fmt: skip
def test_a_family_that_cannot_be_scored_is_refused(family, values, why):
    with pytest.raises(ConfigError, match=why) as refusal:
        logprob_model(model(family, **values))
    assert "\n" not in str(refusal.value)
    assert "model.path" in str(refusal.value)


@pytest.mark.parametrize(
    ("family", "values"),
    [
        ("Qwen2", {}),
        ("Qwen3", {}),
        ("Llama", {}),
        ("Gemma2", {"attn_logit_softcapping": None, "final_logit_softcapping": None}),
        ("Granite", {"logits_scaling": 1.0}),
    ],
)
def test_the_log_probabilities_of_others_are_their_own(family, values):
    rows = [(2, 3, 4, 5, 6, 7), (7, 8, 9, 10)]
    subject = model(family, **values)
    with torch.no_grad():
        logits = [subject(torch.tensor([row])).logits[0] / 0.7 for row in rows]
    found = logprob_model(subject).token_logps(
        [TrainingSample(row[:2], row[2:], 1.0, 1.0, torch.zeros(len(row) - 2)) for row in rows]
    )
    for row, logits_TV, logps_R in zip(rows, logits, found, strict=True):
        expected_T = logits_TV.log_softmax(dim=-1)[range(len(row) - 1), row[1:]]
        assert torch.allclose(logps_R, expected_T[1:], atol=1e-5)


@pytest.mark.parametrize(
    "values", [{"softcap": 50.0}, {"s_aux": torch.zeros(2)}, {"sliding_window": 2}]
)
def test_attention_swallows_no_cap_no_sinks_and_no_window(values):
    heads_1HTD = torch.randn(1, 2, 3, 32, generator=torch.Generator().manual_seed(0))
    layer = torch.nn.Module()
    harmless = {"softcap": None, "s_aux": None, "sliding_window": 3}
    packed_attention(layer, heads_1HTD, heads_1HTD, heads_1HTD, None, **harmless)
    with pytest.raises(ValueError, match="not supported"):
        packed_attention(layer, heads_1HTD, heads_1HTD, heads_1HTD, None, **values)


def test_a_model_that_is_broken_by_itself_is_not_called_another_family():
    broken = tiny_model()
    with torch.no_grad():
        broken.model.norm.weight.fill_(torch.nan)
    with pytest.raises(ConfigError, match="not finite") as refusal:
        logprob_model(broken)
    assert "another family" not in str(refusal.value)

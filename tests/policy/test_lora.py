"""Adapters are exact: merged against unmerged, by hand, without them, saved, resumed, refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM

from tests.conftest import parse_config, tiny_model
from tests.policy.test_policy import (
    CONFIG,
    HARDWARE,
    MOVING,
    STILL,
    gradient,
    gradient_by_hand,
    logps_by_hand,
    minibatch,
    policy,
)
from twogrpo.config.schema import LoraConfig
from twogrpo.errors import ConfigError
from twogrpo.policy import checkpoint
from twogrpo.policy.lora import BasePolicy, add_adapters, full_weights
from twogrpo.policy.policy import TransformersPolicy

LORA = LoraConfig(rank=4, alpha=8, target_modules="all-linear", learning_rate_scale=10.0)
# So that the base's log-probabilities are some tenths of a nat away after three updates.
TRAINED = replace(MOVING, learning_rate=1e-4)


def trained(num_updates: int = 3, **changes) -> TransformersPolicy:
    subject = policy(training=TRAINED, lora=LORA, **changes)
    for _ in range(num_updates):
        subject.update(minibatch())
    return subject


def merged(subject: TransformersPolicy) -> torch.nn.Module:
    model = tiny_model()
    model.load_state_dict(dict(subject.weights()), strict=True)
    return model


def all_logps(model: torch.nn.Module) -> Tensor:
    with torch.no_grad():
        return torch.cat([logps_by_hand(model, sequence) for sequence in minibatch()])


def test_the_first_policy_is_the_base_and_only_adapters_are_trained():
    subject = policy(training=TRAINED, lora=LORA)
    torch.testing.assert_close(
        torch.cat(subject.token_logps(minibatch())), all_logps(tiny_model()), atol=1e-6, rtol=0
    )
    subject.update(minibatch())
    base = dict(tiny_model().named_parameters())
    names = [name for name in subject.state() if name.startswith("weight/")]
    assert len(names) == 2 * 7 * 2  # A and B of seven layers in two blocks
    assert all(".lora_" in name for name in subject.state())
    for name, parameter in subject.logprob_model.model.named_parameters():
        if ".lora_" not in name:
            assert torch.equal(parameter, base[name.replace(".base_layer.", ".")])


def test_merged_and_unmerged_log_probabilities_agree():
    """To 1e-6 of the largest, as float32 itself agrees with float64."""
    subject = trained()
    logps = torch.cat(subject.token_logps(minibatch()))
    assert (logps - all_logps(tiny_model())).abs().max() > 0.1
    scale = float(logps.abs().max())
    torch.testing.assert_close(logps, all_logps(merged(subject)), atol=1e-6 * scale, rtol=0)


def test_the_adapters_gradient_is_the_full_gradient_projected():
    """W' = W + s B A: ∂L/∂B = s (∂L/∂W') Aᵀ and ∂L/∂A = s Bᵀ (∂L/∂W'), s = alpha / rank = 2."""
    subject = trained()
    subject.training = STILL
    subject.update(minibatch())
    model = merged(subject)
    full = gradient_by_hand(minibatch(), model=model)
    layers = dict(subject.logprob_model.model.named_modules())
    found = gradient(subject)
    assert len(found) == 28
    for name, actual in found.items():
        layer = name.partition(".lora_")[0]
        pair = layers[layer].lora_A.default, layers[layer].lora_B.default
        a, b = (half.weight.detach().double() for half in pair)
        whole = full[f"{layer}.weight"]
        expected = 2 * b.T @ whole if ".lora_A." in name else 2 * whole @ a.T
        scale = float(expected.abs().max())
        torch.testing.assert_close(actual.double(), expected, atol=2e-5 * scale, rtol=0, msg=name)


def test_the_reference_policy_is_the_base_whatever_was_trained():
    subject = trained()
    reference = BasePolicy(subject, subject.logprob_model.model)
    before = torch.cat(subject.token_logps(minibatch()))
    assert torch.equal(
        torch.cat(reference.token_logps(minibatch())), torch.cat(policy().token_logps(minibatch()))
    )
    assert torch.equal(torch.cat(subject.token_logps(minibatch())), before)
    subject.update(minibatch())
    assert not torch.equal(torch.cat(subject.token_logps(minibatch())), before)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("is_checkpointed", [False, True])
def test_hardware_settings_change_rounding_alone(dtype, is_checkpointed):
    hardware = replace(HARDWARE, dtype=dtype, activation_checkpointing=is_checkpointed)
    subject = trained(hardware=hardware)
    expected = trained()
    for name, parameter in subject.logprob_model.model.named_parameters():
        is_adapter = ".lora_" in name
        assert parameter.dtype == (torch.float32 if is_adapter else getattr(torch, dtype))
    bound = 1e-6 if dtype == "float32" else 0.05
    for name, tensor in expected.weights():
        assert (dict(subject.weights())[name].float() - tensor).abs().max() < bound


def test_bfloat16_keeps_what_is_under_half_a_unit_in_the_last_place():
    """Adapters of a tenth of a unit move the outputs, and merged weights, by as much on average.

    Added to rounded outputs (as in peft), or rounded to the nearest weight, it is a tenth of that.
    """
    model = policy(lora=LORA, hardware=replace(HARDWARE, dtype="bfloat16")).logprob_model.model
    layer = model.model.layers[0].mlp.down_proj
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(4096, 128, generator=draw).bfloat16()
    a, b = layer.lora_A.default.weight, layer.lora_B.default.weight
    weights = layer.base_layer.weight.float()

    @torch.no_grad()
    def outputs() -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return layer(x).float()

    before = outputs()
    with torch.no_grad():
        b.normal_(generator=draw).mul_(1e-4)
        change = 2 * b @ a  # alpha / rank = 2
        true = x.float() @ change.T
    moved = outputs() - before
    assert true.abs().mean() < 0.1 * 2**-8 * before.abs().mean()
    assert float((moved * true).sum() / (true * true).sum()) == pytest.approx(1.0, abs=0.1)
    name = "model.layers.0.mlp.down_proj.weight"
    merged_weights, again = (dict(full_weights(model))[name] for _ in range(2))
    assert merged_weights.dtype == torch.bfloat16
    assert torch.equal(merged_weights, again)
    moved = merged_weights.float() - weights
    assert change.abs().mean() < 0.1 * 2**-8 * weights.abs().mean()
    assert float((moved * change).sum() / (change * change).sum()) == pytest.approx(1.0, abs=0.1)


def test_the_learning_rate_is_scaled():
    assert policy(training=MOVING, lora=LORA).update(minibatch()).learning_rate == 1e-2
    config = parse_config("lora=rank_32", "algorithm=two_grpo", "training.learning_rate=1e-6")
    assert config.learning_rate == pytest.approx(1e-6 * 8 * 10)


def test_a_checkpoint_holds_adapters_alone_and_continues_to_the_bit(tmp_path):
    subject = trained()
    state = subject.state()
    checkpoint.save(tmp_path, step=3, tensors=state, state={"num_updates": 3}, kept=1)
    resumed = policy(training=TRAINED, lora=LORA)
    tensors = resumed.state()
    checkpoint.load_latest(tmp_path, into=tensors)
    resumed.load_state(tensors, 3)
    for one in (subject, resumed):
        one.update(minibatch())
    for name, tensor in subject.state().items():
        assert torch.equal(tensor, resumed.state()[name]), name


@pytest.mark.parametrize("other", [None, replace(LORA, rank=2)], ids=["full", "rank"])
def test_a_checkpoint_of_other_tensors_is_refused(other, tmp_path):
    checkpoint.save(tmp_path, step=3, tensors=trained(1).state(), state={}, kept=1)
    with pytest.raises(ValueError, match="is of another model: "):
        checkpoint.load_latest(tmp_path, into=policy(lora=other).state())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_export_is_merged_and_the_adapter_beside_it_loads_in_peft(dtype, tmp_path):
    subject = trained(hardware=replace(HARDWARE, dtype=dtype))
    subject.export(tmp_path / "final")
    subject.export(tmp_path / "final")  # again, as after a kill
    assert sorted(p.name for p in tmp_path.iterdir()) == ["final", "final_adapter"]
    expected = all_logps(merged(subject))
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "final")
    assert whole.dtype == getattr(torch, dtype)  # that of the frozen weights
    assert (all_logps(whole.float()) - expected).abs().max() < 1e-5
    base = tiny_model().to(whole.dtype).float()
    with_adapter = PeftModel.from_pretrained(base, tmp_path / "final_adapter")
    bound = 1e-5 if dtype == "float32" else 0.1  # merged weights are rounded
    assert (all_logps(with_adapter) - expected).abs().max() < bound
    saved = json.loads((tmp_path / "final_adapter" / "adapter_config.json").read_text())
    assert (saved["r"], saved["lora_alpha"], saved["peft_type"]) == (4, 8, "LORA")
    assert saved["base_model_name_or_path"] == CONFIG.model.path


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["q_porj", "v_proj"], "q_porj is no linear layer of this model, did you mean q_proj?"),
        (["lm_head"], "lm_head is no linear layer"),  # the head is multiplied without adapters
        ("all_linear", "did you mean all-linear?"),
        ([], "[] is no linear layer"),
        ([["q_proj"]], "is no linear layer"),
        (3, "3 is no linear layer"),
    ],
)
def test_unknown_target_modules_are_refused_with_the_nearest_names(given, said):
    model = tiny_model()
    with pytest.raises(ConfigError) as refused:
        add_adapters(model, replace(CONFIG.model, lora=replace(LORA, target_modules=given)), seed=0)
    assert said in str(refused.value)
    assert "down_proj, gate_proj, k_proj" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert {name for name, _ in model.named_parameters()} == {
        name for name, _ in tiny_model().named_parameters()
    }


def test_chosen_modules_alone_get_adapters_and_the_seed_draws_them():
    def drawn(seed: int) -> dict[str, Tensor]:
        model = tiny_model()
        chosen = replace(LORA, target_modules=["v_proj"])
        add_adapters(model, replace(CONFIG.model, lora=chosen), seed=seed)
        return {n: p for n, p in model.named_parameters() if p.requires_grad}

    assert {name.split(".")[4] for name in drawn(0)} == {"v_proj"}
    first, again, other = drawn(0), drawn(0), drawn(1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_a_folder_without_lora_gets_no_adapter(tmp_path: Path):
    policy().export(tmp_path / "final")
    assert [path.name for path in tmp_path.iterdir()] == ["final"]

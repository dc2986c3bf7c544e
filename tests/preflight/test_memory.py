"""Bytes of a device, worked by hand; what grows with what."""

from dataclasses import replace

import pytest

from tests.conftest import compose_config
from twogrpo.config import Config, parse
from twogrpo.preflight.architectures import PUBLISHED
from twogrpo.preflight.devices import load_device
from twogrpo.preflight.memory import activation_bytes, logits_bytes, memory, verdict

MODEL = PUBLISHED["qwen25_math_7b"]
H200 = load_device("h200_141")


def config(*overrides: str) -> Config:
    experiment = "experiment=table1/math_qwen25_math_7b_two_grpo"
    given = ("rollout=vllm", "hardware=eight_gpus", *overrides)
    return parse(compose_config(experiment, *given), Config)


def needed(*overrides: str):
    return memory(config(*overrides), MODEL, H200)


def test_state_of_the_policy_by_hand():
    """float32 over 8 ranks: weights 7,615,616,512 · 4 / 8, gradients as much, two Adam moments."""
    found = needed()
    assert found.weights == found.gradients == 3_807_808_256
    assert found.optimiser == 2 * 3_807_808_256
    assert found.state == 16 * MODEL.parameters / 8


def test_the_sampler_gets_its_share_of_the_device():
    """Half of 139.8 GiB: bf16 weights, 4 GiB of its own, the rest is cache."""
    found = needed()
    assert found.sampler_weights == 2 * MODEL.parameters
    assert found.sampler == pytest.approx(0.5 * 139.8 * 2**30)
    assert needed("hardware.tensor_parallel_size=2").sampler_weights == MODEL.parameters


def test_peaks():
    found = needed()
    assert found.sampling_peak == found.state + found.sampler + found.overhead
    assert found.peak == found.sampling_peak > found.update_peak
    awake = needed("hardware.sleep_level=0")
    assert awake.update_peak == pytest.approx(found.update_peak + found.sampler)


def test_offloading_and_checkpointing_pay():
    found = needed()
    assert needed("hardware.cpu_offload=true").state == 0
    whole = needed("hardware.activation_checkpointing=false")
    assert whole.activations > 5 * found.activations


def test_activations_by_hand():
    """One layer, bf16: 8·3584 + 3·3584 + 4·512 + 4·18944 = 117,248 values a token."""
    layer = 8 * 3584 + 3 * 3584 + 4 * 512 + 4 * 18_944
    one = activation_bytes(MODEL, 1, bytes_per_value=2, is_checkpointed=True)
    assert one == 2 * (28 * 3584 + 2 * layer)
    assert activation_bytes(MODEL, 10, bytes_per_value=2, is_checkpointed=False) == 20 * 29 * layer


def test_logits_by_hand():
    """2,048 tokens: logits and their gradient, 2 + 4 bytes each."""
    assert logits_bytes(MODEL, 2048, bytes_per_value=2) == 2 * 2048 * 152_064 * 6


def test_verdicts():
    found = needed()
    fitting = replace(H200, memory_gib=found.peak / 2**30 / 0.9)
    assert verdict(found, fitting) == "fits"
    assert verdict(found, replace(H200, memory_gib=found.peak / 2**30 / 0.95)) == "tight"
    assert verdict(found, replace(H200, memory_gib=found.peak / 2**30 / 1.01)) == "does not fit"
    assert verdict(replace(found, cache=-1.0), H200) == "does not fit"


def test_a_7b_policy_does_not_fit_one_small_device():
    """16 bytes a parameter are 113 GiB before anything else."""
    alone = config("hardware=one_gpu")
    for name in ("a100_40", "a100_80", "h100_80"):
        device = load_device(name)
        assert verdict(memory(alone, MODEL, device), device) == "does not fit"


def test_the_plain_sampler_s_cache_by_hand():
    """1,024 rollouts over 8 ranks, of 1,024 + 3,072 tokens, 56 KiB each."""
    plain = needed("rollout=transformers")
    assert plain.cache == 128 * 4096 * 56 * 1024
    assert plain.is_awake_in_updates

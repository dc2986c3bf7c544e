"""Bytes of a device, worked by hand; what grows with what."""

from dataclasses import replace

import pytest

from tests.conftest import compose_config
from twogrpo.config.schema import Config, parse
from twogrpo.errors import ConfigError
from twogrpo.preflight.devices import load_device
from twogrpo.preflight.memory.activations import Lengths
from twogrpo.preflight.memory.estimate import memory, verdict
from twogrpo.preflight.model_shapes import PUBLISHED

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
    assert found.state == 16 * MODEL.parameters / 8 + found.reference_policy


def test_the_start_policy_is_one_more_copy_where_it_is_asked():
    """In the passes' bfloat16 over 8 ranks, with the KL, the cosine or a preference."""
    assert needed().reference_policy == 2 * MODEL.parameters / 8
    assert needed("tracking.kl_rollouts=0").reference_policy == 0
    assert needed("tracking.kl_rollouts=0", "algorithm=dpo").reference_policy > 0
    without = needed("tracking.kl_rollouts=0")
    assert needed().peak - without.peak == pytest.approx(2 * MODEL.parameters / 8)


def test_weights_on_their_way_to_the_sampler():
    """vLLM takes one after another, the embedding of 152,064 · 3,584 in float32 at most; the plain
    sampler all together; on a CPU alone nothing is gathered."""
    assert needed().sync == 4 * 152_064 * 3584
    plain = needed("rollout=transformers")
    assert plain.sync == 4 * MODEL.parameters
    assert plain.sync_peak == plain.state + plain.sampler_weights + plain.sync + plain.overhead
    assert needed("hardware=cpu", "rollout=transformers").sync == 0


def test_autocast_keeps_copies_of_the_weights_in_one_process_on_a_cpu():
    alone = ("hardware=cpu", "rollout=transformers", "hardware.tokens_per_microbatch=4096")
    assert needed(*alone, "hardware.dtype=bfloat16").casts == 2 * MODEL.active_parameters
    assert needed(*alone).casts == 0  # float32
    assert needed().casts == 0  # sharded


def test_the_sampler_gets_its_share_of_the_device():
    """Half of 139.8 GiB: bf16 weights, 4 GiB of its own, the rest is cache."""
    found = needed()
    assert found.sampler_weights == 2 * MODEL.parameters
    sampler = found.sampler_weights + found.cache + found.sampler_overhead
    assert sampler == pytest.approx(0.5 * 139.8 * 2**30)
    assert needed("hardware.tensor_parallel_size=2").sampler_weights == MODEL.parameters


def test_peaks():
    found = needed()
    sampler = found.sampler_weights + found.cache + found.sampler_overhead
    beyond_its_share = 2 * 2**30  # float32 copies of logits
    assert found.sampling_peak == found.state + sampler + beyond_its_share + found.overhead
    assert found.peak == found.sampling_peak > max(found.update_peak, found.sync_peak)
    awake = needed("hardware.sleep_level=0")
    assert found.sampler_in_updates == 2**30  # CUDA graphs do not sleep
    assert awake.update_peak == pytest.approx(found.update_peak - 2**30 + sampler)


def test_verdicts():
    found = needed()
    fitting = replace(H200, memory_gib=found.peak / 2**30 / 0.9)
    assert verdict(found, fitting) == "fits"
    assert verdict(found, replace(H200, memory_gib=found.peak / 2**30 / 0.95)) == "tight"
    assert verdict(found, replace(H200, memory_gib=found.peak / 2**30 / 1.01)) == "does not fit"
    assert verdict(replace(found, cache=-1.0), H200) == "does not fit"


def test_the_plain_sampler_s_cache_by_hand():
    """1,024 rollouts over 8 ranks, of 1,024 + 3,072 tokens, 56 KiB each."""
    plain = needed("rollout=transformers")
    assert plain.cache == 128 * 4096 * 56 * 1024
    assert plain.sampler_in_updates == plain.sampler_weights  # the cache goes with the call


def test_a_group_is_sampled_by_one_rank_however_many_there_are():
    """One prompt of 4 rollouts for 8 ranks: the busiest has all 4; of 9 prompts it has two."""
    one = ("rollout=transformers", "algorithm.group_size=4", "training.prompts_per_minibatch=1")
    few = needed(*one, "training.prompts_per_step=1")
    assert few.cache == 4 * 4096 * 56 * 1024
    assert verdict(few, H200) == "fits"
    assert needed(*one, "training.prompts_per_step=9").cache == 2 * few.cache


SHAPE = ("algorithm=grpo", "training=smollm2", "model=smollm2_135m", "dataset=digit_arithmetic",
         "hardware=cpu", "tracking.kl_rollouts=0")  # fmt: skip
LONG = (*SHAPE, "algorithm.group_size=2", "training.prompts_per_minibatch=32",
        "dataset.max_response_tokens=512")  # fmt: skip
STEP = (*SHAPE, "dataset.max_response_tokens=24", "hardware.dtype=bfloat16",
        "hardware.tokens_per_microbatch=1024", "hardware.logits_chunk_tokens=256")  # fmt: skip
STEPS = {
    16: (*STEP, "algorithm.group_size=16", "training.prompts_per_minibatch=2"),
    2: (*STEP, "algorithm.group_size=2", "training.prompts_per_minibatch=16"),
}


def peak_gib(overrides: tuple[str, ...], lengths: Lengths | None = None, *, alone: bool = False):
    """The peak of SmolLM2's update on a CPU; `alone`: without process and sampler."""
    planned = parse(compose_config(*overrides), Config)
    found = memory(planned, PUBLISHED["smollm2_135m"], load_device("cpu"), lengths)
    beside = found.overhead + found.sampler_in_updates if alone else 0.0
    return (found.update_peak - beside) / 2**30


@pytest.mark.parametrize(
    ("measured", "tokens", "chunk", "checkpointing"),
    [(4.31, 1024, 1024, False), (5.59, 2048, 512, False), (2.64, 1024, 256, True)],
)
def test_peaks_of_the_policy_alone_are_met_within_4_percent(measured, tokens, chunk, checkpointing):
    """2026-11-22: float32, micro-batches as full as they may be, no prompt shared."""
    given = (
        f"hardware.tokens_per_microbatch={tokens}",
        f"hardware.logits_chunk_tokens={chunk}",
        f"hardware.activation_checkpointing={checkpointing}",
    )
    found = peak_gib((*LONG, *given), Lengths(1, 512), alone=True)
    assert found == pytest.approx(measured, rel=0.04)


@pytest.mark.parametrize(("group_size", "measured"), [(16, 4.73), (2, 4.32)])
def test_peaks_of_whole_steps_are_met_within_10_percent(group_size, measured):
    """2026-11-23: scripts/benchmark.py workload=max_length, its process and sampler too. All 32
    rollouts have 24 tokens and an advantage, prompts 44. (Found: 2 and 9 % above.)"""
    found = peak_gib(STEPS[group_size], Lengths(44, 24))
    assert found == pytest.approx(measured, rel=0.10)


@pytest.mark.parametrize(("group_size", "measured", "over"), [(16, 3.98, 0.16), (2, 3.50, 0.35)])
def test_where_rows_are_skipped_limits_promise_too_much(group_size, measured, over):
    """2026-11-23: the same with workload=resampled: short rows, most of them without an advantage.
    The estimate from the limits is this much above."""
    found = peak_gib(STEPS[group_size])
    assert found / measured - 1 == pytest.approx(over, abs=0.02)


def test_adapters_by_hand():
    """Rank 32 on all layers of the 7B: 28 · 32 · (q 7,168, k and v 4,096 each, o 7,168, and three
    of 22,528), over 8 ranks; the frozen weights once, in bfloat16, and no copy for the KL."""
    adapters = 28 * 32 * (2 * 7168 + 2 * 4096 + 3 * 22_528)
    assert MODEL.trained_parameters(config("lora=rank_32").model.lora) == adapters == 80_740_352
    found, full = needed("lora=rank_32"), needed()
    assert found.weights == (2 * MODEL.parameters + 4 * adapters) / 8
    assert (found.gradients, found.optimiser) == (4 * adapters / 8, 8 * adapters / 8)
    assert (found.reference_policy, found.head_gradient) == (0, 0)
    assert found.state < 0.2 * full.state
    assert found.activations < full.activations
    # Only the frozen weights and the adapters are on a CPU alone; casts are of the adapters.
    alone = ("hardware=cpu", "rollout=transformers", "hardware.tokens_per_microbatch=4096")
    alone = needed(*alone, "hardware.dtype=bfloat16", "lora=rank_32")
    assert (alone.casts, alone.sync) == (2 * adapters, 4 * MODEL.parameters)


def test_an_unknown_target_of_adapters_is_refused():
    with pytest.raises(ConfigError, match=r"model\.lora\.target_modules=q_porj .*q_proj"):
        needed("lora=rank_32", "model.lora.target_modules=[q_porj]")

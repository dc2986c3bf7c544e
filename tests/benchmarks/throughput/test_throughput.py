"""The arithmetic of a benchmark, worked by hand."""

from dataclasses import replace

import pytest

from benchmarks.throughput.fixed_workload import Call
from benchmarks.throughput.flops import forward_flops, prompt_flops
from benchmarks.throughput.report import report
from benchmarks.throughput.step_timing import Measured, Step
from benchmarks.throughput.throughput import (
    Ceilings,
    Sampler,
    Spread,
    attended,
    decoding_bytes,
    summarise,
    trained_prompts,
)
from twogrpo.preflight.model_shapes import PUBLISHED

MODEL = PUBLISHED["smollm2_135m"]
# Two groups of two to prompts of 7 and 9: 4 + 6 + 10 + 2 tokens, of which the second group was
# trained on.
BOTH = Call((7, 9), ((4, 6), (10, 2)))
STEP = Step(
    seconds=4.0,
    phases={"generate": 2.0, "old_logps": 0.5, "update": 1.0, "other": 0.5},
    calls=(BOTH,),
    rollouts_trained=2,
    tokens_trained=12,
)
APART = replace(STEP, calls=(Call((7,), ((4, 6),)), Call((9,), ((10, 2),))))
MEASURED = Measured([STEP], memory_at_start=1, memory_of_steps=2, peak_memory=9, num_ranks=1)
CEILINGS = Ceilings(matmul_flops=1e11, sampler_matmul_flops=4e11, copy_bytes_per_second=1e10)
PLAIN = Sampler(bytes_per_value=2, rollouts_per_call=100)


def summary(measured: Measured = MEASURED, sampler: Sampler = PLAIN, *, scoring_passes: int = 0):
    return summarise(measured, MODEL, CEILINGS, sampler, scoring_passes=scoring_passes)


def test_rates_of_a_step_by_hand():
    """4 rollouts, 22 tokens drawn and 12 trained on in 4 seconds; half of the rollouts are."""
    found = summary()
    assert found.rollouts_per_second == 1.0
    assert found.tokens_generated_per_second == 5.5
    assert found.tokens_trained_per_second == 3.0
    assert found.trained_share == 0.5
    assert trained_prompts(STEP) == 1  # both rollouts are of one group
    assert (found.rollouts_a_step, found.tokens_per_rollout) == (4, 5.5)
    assert (found.memory_at_start, found.memory_of_steps, found.peak_memory) == (1, 2, 9)


def test_steps_and_phases_have_medians_of_their_own():
    slow = replace(STEP, seconds=10.0, phases=STEP.phases | {"update": 7.0})
    slower = replace(STEP, seconds=12.0, phases=STEP.phases | {"generate": 10.0})
    found = summary(replace(MEASURED, steps=[STEP, slow, slower]))
    assert found.seconds == Spread(10.0, 4.0, 12.0)
    assert found.seconds_of == {"generate": 2.0, "old_logps": 0.5, "update": 1.0, "other": 0.5}
    assert found.rollouts_per_second == pytest.approx(0.4)


BODY = MODEL.active_parameters - 49_152 * 576  # without the output head, that no prompt meets
ATTENTION = 4 * 30 * 9 * 64  # FLOPs a token and position


def test_updating_is_three_forward_passes_a_second():
    """Over the second of updates, π_old's half apart: the 8 tokens of a mean prompt without the
    head, that see 4 on the mean, and 12 of responses, that see 8 and half of the response they are
    in: (4² + 6² + 10² + 2²) / 2 / 22 on the mean over all tokens."""
    products = 2 * (8 * BODY + 12 * MODEL.active_parameters)
    once = products + ATTENTION * (8 * 4 + 12 * (8 + 156 / 44))
    assert summary().updating.flops == pytest.approx(3 * once)
    assert summary().updating.share_of_matmul == pytest.approx(3 * once / 1e11)
    two = summary(replace(MEASURED, num_ranks=2))  # and the ceilings of two
    assert two.updating.flops == summary().updating.flops
    assert two.updating.share_of_matmul == summary().updating.share_of_matmul / 2
    # DPO's pairs are scored twice before.
    assert summary(scoring_passes=2).updating.flops == pytest.approx(5 * once)


def test_generating_prefills_each_prompt_once():
    """Prompts of 7 and 9 tokens, with the head for the last of each, that see 7²/2 and 9²/2; the
    first of 4, 6, 10 and 2 response tokens comes with the prompt, 18 have a pass of their own. The
    3, 5, 9 and 1 of them see, from 7 + 1 to 7 + 3 and so on, 27 + 50 + 126 + 10 positions."""
    head = MODEL.active_parameters - BODY
    assert attended(STEP) == attended(APART) == 27 + 50 + 126 + 10 == 213
    products = 2 * (16 * BODY + 2 * head + 18 * MODEL.active_parameters)
    flops = products + ATTENTION * (49 / 2 + 81 / 2 + 213)
    assert summary().generating.flops == pytest.approx(flops / 2.0)
    assert summary().generating.share_of_matmul == pytest.approx(flops / 2.0 / 4e11)


@pytest.mark.parametrize(("per_call", "passes"), [(100, 10), (4, 10), (2, 16), (1, 16)])
def test_weights_are_read_once_a_pass_of_those_drawn_together(per_call, passes):
    """Both groups together end with their longest response, 10; one after the other 6 + 10."""
    found = decoding_bytes(STEP, MODEL, replace(PLAIN, rollouts_per_call=per_call))
    weights = passes * MODEL.active_parameters * 2
    assert found == pytest.approx(weights + 213 * MODEL.cache_bytes_per_token(2))
    # Resampling's calls come one after the other, however many rollouts are drawn at a time.
    apart = 16 * MODEL.active_parameters * 2 + 213 * MODEL.cache_bytes_per_token(2)
    assert decoding_bytes(APART, MODEL, PLAIN) == pytest.approx(apart)


def test_the_bytes_of_a_refilling_sampler_are_known_where_it_need_not_refill(benchmark_config):
    """Four rollouts in a call, of two copies two each; else the page names no bytes."""
    fits = replace(PLAIN, rollouts_per_call=4, refills=True)
    assert decoding_bytes(STEP, MODEL, fits) == decoding_bytes(STEP, MODEL, PLAIN)
    full = replace(fits, rollouts_per_call=3)
    assert decoding_bytes(STEP, MODEL, full) is None
    assert decoding_bytes(STEP, MODEL, replace(full, copies=2)) is not None
    for sampler, is_known in ((fits, True), (full, False)):
        found = summary(sampler=sampler)
        assert (found.generating.share_of_copy is not None) is is_known
        assert ("GB/s" in report(benchmark_config(), CEILINGS, found)) is is_known


def test_each_copy_reads_its_own_weights():
    """Two copies have a group each: 6 + 10 passes of weights, the cache as before."""
    weights, cache = MODEL.active_parameters * 2, 213 * MODEL.cache_bytes_per_token(2)
    two = replace(MEASURED, num_ranks=2)
    for copies, passes in ((2, 16), (1, 10)):
        generating = summary(two, replace(PLAIN, copies=copies)).generating
        assert generating.bytes_per_second == pytest.approx((passes * weights + cache) / 2)
        assert generating.share_of_copy == pytest.approx(generating.bytes_per_second / 2e10)


def test_other_lengths_are_other_work():
    assert summary(replace(MEASURED, steps=[STEP, STEP])).is_same_work
    other = replace(STEP, calls=(Call((7, 9), ((4, 6), (2, 10))),))
    assert not summary(replace(MEASURED, steps=[STEP, other])).is_same_work


def test_forward_flops():
    """Two for a parameter outside the embedding, four for a head value and attended position."""
    model = PUBLISHED["qwen25_math_1_5b"]
    products = 28 * model.layer_parameters + 151_936 * 1536
    assert forward_flops(model, 1, 0) == 2 * products
    assert forward_flops(model, 3, 100) == 3 * (2 * products + 4 * 28 * 12 * 128 * 100)
    assert prompt_flops(model, 1, 0) == 2 * 28 * model.layer_parameters

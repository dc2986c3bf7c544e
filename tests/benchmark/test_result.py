"""The arithmetic of a benchmark on numbers worked by hand."""

from dataclasses import replace

import pytest

from twogrpo.benchmark.calibrate import workload
from twogrpo.benchmark.result import (
    Ceilings,
    Spread,
    decoding_bytes,
    spread,
    summarise,
    trained_prompts,
)
from twogrpo.benchmark.steps import Measured, Step
from twogrpo.preflight.architectures import PUBLISHED
from twogrpo.preflight.cost import Workload

MODEL = PUBLISHED["smollm2_135m"]
# Two groups of two: 4 + 6 + 10 + 2 tokens, of which the second group was trained on.
STEP = Step(
    seconds=4.0,
    phases={"generate": 2.0, "old_logps": 0.5, "update": 1.0, "other": 0.5},
    lengths_PG=((4, 6), (10, 2)),
    rollouts_trained=2,
    tokens_trained=12,
)
MEASURED = Measured([STEP], prompt_lengths=[7, 9], memory_at_start=1, peak_memory=2, num_ranks=1)
CEILINGS = Ceilings(matmul_flops=1e11, copy_bytes_per_second=1e10)


def summary(measured: Measured = MEASURED, per_call: int = 100):
    return summarise(measured, MODEL, CEILINGS, sampler_bytes=2, rollouts_per_call=per_call)


def test_spread_is_of_the_middle_and_the_ends():
    assert spread([5.0, 1.0, 2.0, 3.0]) == Spread(2.5, 1.0, 5.0)


def test_rates_of_a_step_by_hand():
    """4 rollouts, 22 tokens drawn and 12 trained on in 4 seconds; half of the rollouts are."""
    found = summary()
    assert found.rollouts_per_second == 1.0
    assert found.tokens_generated_per_second == 5.5
    assert found.tokens_trained_per_second == 3.0
    assert found.trained_share == 0.5
    assert (found.rollouts_a_step, found.tokens_per_rollout) == (4, 5.5)
    assert (found.memory_at_start, found.peak_memory) == (1, 2)


def test_medians_are_of_the_steps_and_the_phases_apart():
    slow = replace(STEP, seconds=10.0, phases=STEP.phases | {"update": 7.0})
    slower = replace(STEP, seconds=12.0, phases=STEP.phases | {"generate": 10.0})
    found = summary(replace(MEASURED, steps=[STEP, slow, slower]))
    assert found.seconds == Spread(10.0, 4.0, 12.0)
    assert found.seconds_of == {"generate": 2.0, "old_logps": 0.5, "update": 1.0, "other": 0.5}
    assert found.rollouts_per_second == pytest.approx(0.4)


def test_a_prompt_is_trained_on_once_for_its_group():
    """The 8 tokens of one prompt: both rollouts are of one group."""
    assert trained_prompts(STEP, prompt_tokens=8.0) == 8.0


BODY = MODEL.active_parameters - 49_152 * 576  # without the output head, that no prompt meets
ATTENTION = 4 * 30 * 9 * 64  # FLOPs a token and position


def test_updating_is_three_forward_passes_a_second():
    """Over the second of updates, π_old's half apart: 8 tokens of one prompt without the head, that
    see 4 on the mean, and 12 of responses, that see 8 + 5.5 / 2."""
    products = 2 * (8 * BODY + 12 * MODEL.active_parameters)
    flops = 3 * (products + ATTENTION * (8 * 4 + 12 * (8 + 5.5 / 2)))
    assert summary().updating.flops == pytest.approx(flops)
    assert summary().updating.share_of_matmul == pytest.approx(flops / 1e11)


def test_generating_prefills_each_prompt_once():
    """Two prompts of 8 tokens without the head and 22 response tokens with it, in 2 seconds."""
    products = 2 * (2 * 8 * BODY + 22 * MODEL.active_parameters)
    flops = products + ATTENTION * (2 * 8 * 4 + 22 * (8 + 5.5 / 2))
    assert summary().generating.flops == pytest.approx(flops / 2.0)


@pytest.mark.parametrize(("per_call", "steps"), [(100, 10), (4, 10), (2, 16), (1, 16)])
def test_weights_are_read_once_a_decoding_step_of_a_call(per_call, steps):
    """Both groups together end with their longest response, 10; one after the other 6 + 10.

    Of the cache, n tokens after a prompt of 8 read 8·n + n(n−1)/2 positions:
    38 + 63 + 125 + 17 for 4, 6, 10 and 2.
    """
    found = decoding_bytes(STEP, MODEL, 8.0, sampler_bytes=2, per_call=per_call)
    weights = steps * MODEL.active_parameters * 2
    assert found == pytest.approx(weights + 243 * MODEL.cache_bytes_per_token(2))


def test_each_copy_reads_its_own_weights():
    """Two ranks have a group each: 6 + 10 steps of weights, the cache as before; two that share one
    copy read it once, for 10 steps."""
    weights, cache = MODEL.active_parameters * 2, 243 * MODEL.cache_bytes_per_token(2)
    found = decoding_bytes(STEP, MODEL, 8.0, sampler_bytes=2, per_call=100, copies=2)
    assert found == pytest.approx(16 * weights + cache)
    two = replace(MEASURED, num_ranks=2)
    for tensor_parallel, steps in ((1, 16), (2, 10)):
        generating = summarise(
            two,
            MODEL,
            CEILINGS,
            sampler_bytes=2,
            rollouts_per_call=100,
            tensor_parallel=tensor_parallel,
        ).generating
        assert generating.bytes_per_second == pytest.approx((steps * weights + cache) / 2)


def test_several_ranks_have_several_ceilings():
    two = summary(replace(MEASURED, num_ranks=2))
    assert two.updating.flops == summary().updating.flops
    assert two.updating.share_of_matmul == summary().updating.share_of_matmul / 2


def test_other_lengths_are_other_work():
    assert summary(replace(MEASURED, steps=[STEP, STEP])).is_same_work
    other = replace(STEP, lengths_PG=((4, 6), (2, 10)))
    assert not summary(replace(MEASURED, steps=[STEP, other])).is_same_work


def test_the_planner_sees_what_was_measured(benchmark_config):
    """Two prompts of 8 tokens and two rollouts of 5.5 tokens each; half of them trained on."""
    config = benchmark_config(
        "algorithm=grpo",
        "algorithm.group_size=2",
        "training.prompts_per_generation=2",
        "training.prompts_per_minibatch=1",
    )
    longest = config.dataset.max_response_tokens
    assert workload(config, MEASURED) == Workload(2, 2, 1, 2, 8.0, 5.5, longest, 0.5, 0.5, (1.0,))

"""The roofline: a value by hand, what it scales with, and that calibration is its inverse."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.conftest import compose_config
from tests.training.test_resampling import World, new_prompts
from twogrpo.config.schema import Config, parse
from twogrpo.errors import ConfigError
from twogrpo.preflight.model_shapes import PUBLISHED
from twogrpo.preflight.time.calibration_fit import LEAST_SECONDS, efficiencies, fitted
from twogrpo.preflight.time.devices import Calibration, load_device, read_calibration
from twogrpo.preflight.time.roofline import (
    Placement,
    Workload,
    concurrency,
    cost,
    generation_seconds,
    prompt_flops,
    update_seconds,
    whole_rounds,
)
from twogrpo.training.resampling import Counters
from twogrpo.types import Group

MODEL = PUBLISHED["qwen25_math_7b"]
H200 = load_device("h200_141")
WORK = Workload(512, 16, 146, 16, 150.0, 800.0, 4096)
PLACE = Placement(8, 1, 2, 2, True, 16_384, 1024, 50e9)


def test_concurrency_by_hand():
    """50e9 bytes / 57,344 a token = 871,931 tokens; where nothing is cut off a running sequence
    holds 150 + 800 · (1 + 0.8²)/2 = 806 of them and not 150 + 400: long ones run longer."""
    unbounded, uncut = replace(PLACE, rollouts_per_call=10**6), replace(WORK, longest_tokens=10**6)
    assert uncut.context == pytest.approx(806)
    assert concurrency(MODEL, uncut, unbounded) == pytest.approx(50e9 / 57_344 / 806)
    assert concurrency(MODEL, WORK, unbounded) > concurrency(MODEL, uncut, unbounded)
    assert concurrency(MODEL, WORK, PLACE) == 1024


def test_decoding_one_sequence_is_reading_the_weights():
    """7.07e9 parameters of 2 bytes at half of 4.8 TB/s are 5.9 ms a step; 100 steps on the mean.

    The cache of a sequence, some 57 kB a token, is small beside them; there is no overhead here.
    """
    device = replace(H200, decode_step_seconds=1e-12)
    work = Workload(1, 1, 1, 1, 1e-6, 100.0, 10_000)
    seconds = generation_seconds(MODEL, device, work, replace(PLACE, devices=1))
    assert seconds == pytest.approx(100 * 2 * MODEL.active_parameters / 2.4e12, rel=0.01)


def test_update_by_hand():
    """512 prompts of 150 tokens and 8,192 responses of 800, all as long as they may be, over 8
    GPUs: 4 · 2 · 7.07e9 FLOPs a token, less the head's 0.54e9 for prompts, and attention to 75 and
    to 150 + 400 positions, at 35 % of 989 TFLOP/s; 16 steps of Adam reading 28 bytes a parameter,
    and 0.1 s each."""
    prompts, responses = 512 * 150, 8192 * 800
    products = (prompts + responses) * MODEL.active_parameters - prompts * 152_064 * 3584
    positions = prompts * 75 + responses * 550
    flops = 4 / 8 * (2 * products + 4 * 28 * 3584 * positions)
    adam = 16 * (28 * MODEL.parameters / 8 / 4.8e12 + 0.1)
    expected = flops / (989e12 * 0.35) + adam
    work = replace(WORK, longest_tokens=800)
    assert update_seconds(MODEL, H200, work, PLACE) == pytest.approx(expected)


def test_a_prompt_is_charged_once_for_its_group_unless_it_is_not_shared():
    """Half of 8,192 rollouts are trained on: 256 prompts, or 4,096 of them."""
    half = replace(WORK, trained_share=0.5)
    assert half.trained_tokens == 4096 * 800 + 256 * 150
    alone = replace(half, shares_prompts=False)
    assert alone.trained_tokens == 4096 * 950
    shared, unshared = (update_seconds(MODEL, H200, work, PLACE) for work in (half, alone))
    steps = 16 * (28 * MODEL.parameters / 8 / 4.8e12 + 0.1)
    # Prompts have no head, so they are a little less of the work than of the tokens.
    assert 810 / 950 < (shared - steps) / (unshared - steps) < 825 / 950


def test_skipped_rows_cost_nothing():
    half = replace(WORK, trained_share=0.5)
    full, less = (cost(MODEL, H200, work, PLACE) for work in (WORK, half))
    assert less.generate == full.generate
    assert less.old_logps == pytest.approx(full.old_logps / 2)
    steps = update_seconds(MODEL, H200, replace(WORK, trained_share=0.0), PLACE)
    # Without a token the weights are gathered all the same, behind nothing.
    assert less.update < full.update
    assert steps < less.update


def test_a_pair_s_saving_in_sampling_is_bounded_by_the_longest_response():
    """An eighth of the rollouts takes more than an eighth of the time, for the tail is as long."""
    pairs = replace(WORK, group_size=2)
    sixteen, two = (generation_seconds(MODEL, H200, work, PLACE) for work in (WORK, pairs))
    assert 1 / 8 < two / sixteen < 1
    floor = H200.decode_step_seconds * 0.9 * WORK.longest_tokens
    assert two > floor


def test_blocks_are_shared_whole():
    """Of prompts of 150 tokens each rollout computes what blocks of 16 leave, 6: 144 +
    16 · 6 tokens a group for 150; of blocks of 128, 22, and of larger ones everything."""

    def prefill(block: float) -> float:
        place = replace(PLACE, prefix_block=block)
        return generation_seconds(MODEL, H200, WORK, place) - rest

    rest = generation_seconds(MODEL, H200, WORK, PLACE)
    flops = 64 * prompt_flops(MODEL, 1.0, 75.0) / (989e12 * 0.5)
    assert prefill(16) == pytest.approx((240 - 150) * flops)
    assert prefill(128) == pytest.approx((128 + 16 * 22 - 150) * flops)
    assert prefill(256) == pytest.approx((16 * 150 - 150) * flops)


def test_resampling_waits_for_one_longest_response_a_round():
    """3.25 draws are three rounds of the batch and one of a quarter, each as long as a generation
    of that many prompts takes: a quarter of the work is more than a quarter of the time."""

    def seconds(work: Workload) -> float:
        return generation_seconds(MODEL, H200, work, PLACE)

    quarter = replace(WORK, prompts=WORK.prompts // 4)
    assert seconds(replace(WORK, rounds=whole_rounds(3.0))) == pytest.approx(3 * seconds(WORK))
    mixed = seconds(replace(WORK, rounds=whole_rounds(3.25)))
    assert mixed == pytest.approx(3 * seconds(WORK) + seconds(quarter))
    assert mixed > 3.25 * seconds(WORK)


def test_rounds_are_those_that_the_loop_draws():
    """512 prompts, pairs mixed with probability 0.3, the budget far away: twenty generations of
    twogrpo/training/resampling.py, each round timed as a generation of its prompts."""
    counters = Counters()
    world, resampling = World(2, counters), new_prompts(512, budget_group_size=1000)
    world.mixed_rate, rounds = 0.3, list[int]()
    pairs = replace(WORK, group_size=2)

    def draw(count: int, *, again: Sequence[Group] = ()) -> list[Group]:
        rounds.append(count)
        return world.draw(count, again=again)

    for generation in range(20):
        resampling.collect(draw, step=generation, counters=counters)
    drawn = [
        generation_seconds(MODEL, H200, replace(pairs, prompts=count), PLACE) for count in rounds
    ]
    expected = generation_seconds(
        MODEL, H200, replace(pairs, rounds=whole_rounds(sum(rounds) / (20 * 512))), PLACE
    )
    # The loop takes a last handful of pairs in rounds of their own, which are left out.
    assert 0.85 * sum(drawn) / 20 < expected < sum(drawn) / 20


def test_dpo_s_scoring_is_two_more_passes():
    """Recomputing, an update is four forward passes' work; DPO's is six."""
    steps = 16 * (28 * MODEL.parameters / 8 / 4.8e12 + 0.1)
    plain, dpo = (
        update_seconds(MODEL, H200, replace(WORK, reweighing_passes=n), PLACE) - steps
        for n in (0, 2)
    )
    assert dpo / plain == pytest.approx(6 / 4)


def test_offloading_is_not_free():
    """Over a link of 25 GB/s: 12 bytes a parameter and micro-batch and 28 an update, of an eighth
    of the parameters; Adam's own 28 at 4.8 TB/s are gone."""
    full = update_seconds(MODEL, H200, WORK, PLACE)
    offloaded = update_seconds(MODEL, H200, WORK, replace(PLACE, offloads=True))
    microbatches = (512 * 150 + 8192 * 800) / 8 / 16_384
    share = MODEL.parameters / 8
    extra = (12 * microbatches + 28 * 16) * share / 25e9 - 28 * 16 * share / 4.8e12
    assert offloaded - full == pytest.approx(extra)


def test_time_falls_with_devices():
    seconds = [
        cost(MODEL, H200, WORK, replace(PLACE, devices=n)).step_seconds for n in (1, 2, 4, 8)
    ]
    assert seconds == sorted(seconds, reverse=True)


def test_hours():
    found = cost(MODEL, H200, WORK, PLACE)
    parts = found.generate + found.old_logps + found.update + found.sync + H200.overhead_seconds
    assert found.hours == pytest.approx(146 * parts / 3600)


def test_calibration_finds_the_efficiencies_again():
    true = replace(H200, generation_efficiency=0.3, update_efficiency=0.5)
    seconds = cost(MODEL, true, WORK, PLACE)
    found = efficiencies(
        MODEL,
        H200,
        WORK,
        PLACE,
        generate_seconds=seconds.generate,
        train_seconds=seconds.old_logps + seconds.update,
    )
    assert found == pytest.approx((0.3, 0.5), rel=1e-6)


def test_what_is_beside_the_phases_is_the_generation_s_overhead():
    """Fitting finds the whole device again; less than the way of the weights leaves nothing."""
    true = replace(H200, generation_efficiency=0.3, update_efficiency=0.5, overhead_seconds=7.0)
    seconds = cost(MODEL, true, WORK, PLACE)
    assert seconds.step_seconds == pytest.approx(
        seconds.generate + seconds.old_logps + seconds.update + seconds.sync + 7.0
    )

    def fit(other_seconds: float):
        return fitted(
            MODEL,
            H200,
            WORK,
            PLACE,
            generate_seconds=seconds.generate,
            train_seconds=seconds.old_logps + seconds.update,
            other_seconds=other_seconds,
        )

    found = fit(seconds.sync + 7.0)
    assert found.overhead_seconds == pytest.approx(7.0)
    assert cost(MODEL, found, WORK, PLACE).hours == pytest.approx(seconds.hours)
    assert fit(seconds.sync / 2).overhead_seconds == LEAST_SECONDS


CALIBRATION = Calibration(
    "NVIDIA H200", "qwen25_math_7b", "bfloat16", "2026-11-22", 1e14, 1e12, 0.4, 0.3, 1e-3, 1e-2, 0.5
)


def test_a_calibration_of_something_else_is_doubted():
    config = parse(compose_config("experiment=table1/math_qwen25_math_7b_two_grpo"), Config)
    assert CALIBRATION.doubts(config, H200) == []
    assert CALIBRATION.doubts(config, replace(H200, name="mine")) == []
    cpu = replace(CALIBRATION, device="cpu, 1 threads")
    others = [
        (replace(CALIBRATION, model="tiny"), H200, "model tiny, planned for qwen25_math_7b"),
        (replace(CALIBRATION, dtype="float32"), H200, "dtype float32, planned for bfloat16"),
        (CALIBRATION, load_device("a100_80"), "device NVIDIA H200, planned for a100_80"),
        (cpu, replace(H200, name="mine"), "device cpu, 1 threads, planned for mine"),
        (replace(CALIBRATION, update_efficiency=10.0), H200, "update_efficiency=10 lies at the"),
        (replace(CALIBRATION, generation_efficiency=1e-6), H200, "generation_efficiency=1e-06"),
    ]
    for calibration, device, words in others:
        [doubt] = calibration.doubts(config, device)
        assert words in doubt
    tiny = parse(compose_config("experiment=cpu/two_grpo", "hardware.num_threads=2"), Config)
    own = replace(CALIBRATION, device="cpu, 2 threads", model="tiny", dtype="float32")
    assert own.doubts(tiny, load_device("cpu")) == []
    [doubt] = replace(own, device="cpu, 1 threads").doubts(tiny, load_device("cpu"))
    assert "device cpu, 1 threads, planned for cpu, 2 threads" in doubt


def test_calibration_is_written_read_and_applied(tmp_path):
    CALIBRATION.write(tmp_path / "mine.json")
    found = read_calibration(tmp_path / "mine.json")
    assert found == CALIBRATION
    device = found.apply(H200)
    assert (device.matmul_flops, device.generation_efficiency) == (1e14, 0.4)
    assert (device.name, device.memory_gib) == (H200.name, H200.memory_gib)


@pytest.mark.parametrize("broken", ["{", '{"device": "x"}', None])
def test_a_bad_calibration_is_named(broken, tmp_path):
    file = tmp_path / "bad.json"
    if broken is None:
        replace(CALIBRATION, update_efficiency=0.0).write(file)
    else:
        file.write_text(broken)
    with pytest.raises(ConfigError, match=r"calibration=.*bad\.json"):
        read_calibration(file)

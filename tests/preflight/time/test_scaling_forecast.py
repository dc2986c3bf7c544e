"""The prediction for larger policies: what a copy of the sampler holds, what the page may say."""

import pytest

from twogrpo.preflight.model_shapes import PUBLISHED
from twogrpo.preflight.time.devices import load_device
from twogrpo.preflight.time.scaling_forecast import predict


def test_the_room_for_latents_by_hand():
    """Four fifths of each of 16 GPUs, less a sixteenth of 671 B parameters of two bytes; a token
    takes 61 · 576 · 2 bytes of every GPU, or of one. Sequences that run have more than 200 + 3,000
    tokens on the mean."""
    whole, apart = (predict(is_latent_on_all=latent)[-1] for latent in (True, False))
    cache = 0.8 * load_device("h200_141").memory_bytes - PUBLISHED[whole.policy].parameters / 8
    tokens = cache / (61 * 576 * 2)
    assert 0.6 * tokens / 3200 < whole.together < tokens / 3200
    assert apart.together == pytest.approx(min(16 * whole.together, 1024))
    assert whole.waiting == 512 * 16 / (1024 / 16)


def test_dense_policies_have_no_latents():
    assert predict()[:5] == predict(is_latent_on_all=False)[:5]


def test_no_row_comes_down_to_an_eighth_and_updates_do():
    """What docs/scaling.md says of its best row: sampling keeps more of its time than the rest."""
    best = min(predict(), key=lambda row: row.time_share)
    assert best.rest_share < 1 / 8 < best.time_share < best.sampling_share


def test_the_tail_is_that_of_one_sequence():
    """At a token a step: 7.1e9 parameters of two bytes at half of 4.8e12 bytes a second, 4 ms, and
    the cache of a sequence of up to 32,768 tokens beside it."""
    row, device = predict()[1], load_device("h200_141")
    read = 2 * PUBLISHED["qwen25_math_7b"].active_parameters
    step = read / device.copy_bytes_per_second / device.generation_efficiency
    alone = 32_768 * (step + device.decode_step_seconds)
    assert alone < row.tail_share * row.two.generate < 1.15 * alone

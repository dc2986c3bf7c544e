"""FLOPs of forward passes by hand."""

from benchmarks.throughput.flops import forward_flops, prompt_flops
from twogrpo.preflight.model_shapes import PUBLISHED


def test_forward_flops():
    """Two a parameter but the looked-up embedding, four a head value and position attended to."""
    model = PUBLISHED["qwen25_math_1_5b"]
    products = 28 * model.layer_parameters + 151_936 * 1536
    assert forward_flops(model, 1, 0) == 2 * products
    assert forward_flops(model, 3, 100) == 3 * (2 * products + 4 * 28 * 12 * 128 * 100)
    assert prompt_flops(model, 1, 0) == 2 * 28 * model.layer_parameters

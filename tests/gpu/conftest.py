"""The devices: a GPU, marked `gpu`, and the CPU, which tests these tests; the reference is the CPU
in float32."""

import pytest
import torch

NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=[pytest.mark.gpu, NEEDS_CUDA]),
]


@pytest.fixture(scope="module", params=DEVICES)
def device(request) -> str:
    return request.param

"""Where these tests run: on a GPU, marked `gpu`, and on the CPU, which proves their own code.

Whatever the device, the reference is the CPU in float32.
"""

import pytest
import torch

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
        ],
    ),
]


@pytest.fixture(scope="module", params=DEVICES)
def device(request) -> str:
    return request.param

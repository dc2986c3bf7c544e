"""From a configuration's hardware to what the policy takes of it."""

from dataclasses import fields, replace

import pytest
import torch

from benchmarks import gpu_update
from benchmarks.gpu_models import TINY, configured
from twogrpo.distributed import process_group
from twogrpo.policy.build import knobs
from twogrpo.policy.logprob_model import Knobs

CHANGED = {
    "device": "cuda",
    "dtype": "bfloat16",
    "tokens_per_microbatch": 7,
    "logits_chunk_tokens": 5,
    "activation_checkpointing": True,
    "cpu_offload": True,
    "compile": True,
}


@pytest.mark.parametrize("name", [field.name for field in fields(Knobs)])
def test_every_knob_comes_from_the_hardware(name, make_config):
    hardware = make_config().hardware
    plain = knobs(hardware)
    turned = knobs(replace(hardware, **{name: CHANGED[name]}))
    value = torch.bfloat16 if name == "dtype" else CHANGED[name]
    assert getattr(plain, name) != value
    assert turned == replace(plain, **{name: value})


def test_the_gpu_benchmark_measures_with_the_same():
    config = configured("hardware=cpu", "hardware.cpu_offload=true")
    policy = gpu_update.build(config, TINY, process_group.SINGLE_PROCESS)
    assert policy.scoring.knobs == knobs(config.hardware)

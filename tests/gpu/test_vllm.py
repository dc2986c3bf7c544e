"""vLLM in bfloat16 against a plain pass in float32 on the CPU: loads, sleeps, batch sizes, seeds.

One process a case, since vLLM's memory pool permits one engine in each. A CPU runs what it has of
it: it neither sleeps nor has CUDA graphs.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import pytest

from tests.conftest import ROOT, parse_config
from tests.gpu.conftest import NEEDS_CUDA
from tests.gpu.one_sampler import HARDWARE, MANY, cap_graphs
from tests.gpu.test_one_rank import TORCHRUN
from twogrpo.rollout import vllm_setup

GPU = [
    pytest.mark.gpu,
    NEEDS_CUDA,
    pytest.mark.skipif(find_spec("vllm") is None, reason="needs vLLM: make setup-vllm"),
]
pytestmark = pytest.mark.timeout(420)  # on a GPU graphs are captured and kernels compiled first
# Nats. On a CPU in bfloat16 0.057 is the largest of 1,300 errors, 0.01 the median. With the
# key-value cache of the weights before, the long prompt's tokens are up to 4.5 off.
BOUND = 0.1


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(("cpu", 2, TORCHRUN[1:]), marks=pytest.mark.vllm, id="cpu-torchrun"),
        pytest.param(("cuda", 1, []), marks=GPU, id="cuda-level-1"),
        pytest.param(("cuda", 2, []), marks=GPU, id="cuda-level-2"),
        pytest.param(("cuda", 2, TORCHRUN[1:]), marks=GPU, id="cuda-level-2-torchrun"),
    ],
)
def found(request, tmp_path_factory) -> dict[str, Any]:
    device, level, launcher = request.param
    file = tmp_path_factory.mktemp("sampler") / "found.json"
    command = [sys.executable, *launcher, "-m", "tests.gpu.one_sampler", str(file), device]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    done = subprocess.run(
        [*command, str(level)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return {"device": device, **json.loads(file.read_text())}


def test_log_probabilities_are_those_of_the_weights_after_every_load_and_sleep(found):
    for visit, by_name in found["errors"].items():
        for name, errors in by_name.items():
            # Near the edge of a cut, rounding lets another token in or keeps one out.
            share = 0.95 if name == "top-k, top-p" else 1
            assert sorted(errors)[int(share * (len(errors) - 1))] < BOUND, (visit, name)


def test_other_weights_are_beyond_the_bound(found):
    assert max(found["other weights"]) > 10 * BOUND


def test_a_seed_repeats_its_tokens_and_another_draws_others(found):
    assert found["same seed"] and not found["other seed"]


def test_it_sleeps_between_the_loads_where_there_is_memory_to_free(found):
    assert found["asleep"] == [found["device"] == "cuda"] * 2


@pytest.mark.parametrize(("level", "has_graph"), [(1, False), (2, True)])
def test_many_sequences_are_beyond_the_graphs_in_one_case(
    level, has_graph, model_folder, monkeypatch
):
    monkeypatch.setattr(vllm_setup, "_graphs", vllm_setup._graphs)  # put back at the end
    cap_graphs(level)
    config = parse_config(*HARDWARE["cuda"], f"model.path={model_folder}")
    given = vllm_setup.arguments(config.model, config.hardware, context_tokens=64)
    assert (given["compilation_config"]["max_cudagraph_capture_size"] >= MANY) == has_graph

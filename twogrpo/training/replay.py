"""Takes apart a step that was not finite: each sequence's part of objective and gradient."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from twogrpo.config.schema import Config, parse
from twogrpo.config.script_schemas import ReplayConfig
from twogrpo.config.validation import check_hardware
from twogrpo.core.surrogates import truncated_importance_weights
from twogrpo.distributed.process_group import SINGLE_PROCESS
from twogrpo.distributed.process_setup import prepare_process
from twogrpo.models import load
from twogrpo.policy.build import build_policy
from twogrpo.policy.policy import TransformersPolicy
from twogrpo.training import nonfinite_step
from twogrpo.types import TrainingSample


@dataclass(frozen=True)
class Part:
    """What one sequence adds to the step; a dead one adds nothing."""

    place: int
    prompt_id: str
    reward: float
    advantage: float
    num_tokens: int
    objective: float
    lowest_logp: float
    gradient_norm: float

    @property
    def is_finite(self) -> bool:
        """Whether the step could have been taken with it."""
        return all(map(math.isfinite, (self.objective, self.lowest_logp, self.gradient_norm)))


def replay(config: ReplayConfig) -> list[Part]:
    """The parts of the batch in `config.batch`, recomputed from the policy kept beside it.

    Raises:
        ConfigError: the folder holds no such batch.
    """
    folder = Path(config.batch)
    content = nonfinite_step.read(folder)
    values = {**content["config"], "hardware": _hardware(config, content["config"]["hardware"])}
    values["model"] = {**values["model"], "path": str((folder / nonfinite_step.POLICY).resolve())}
    run = parse(OmegaConf.create(values), Config)
    check_hardware(run.hardware)
    prepare_process(run.hardware)
    image_processor = load.load_image_processor(run.model)
    policy = build_policy(run, load.load_tokenizer(run.model), SINGLE_PROCESS, image_processor)
    return [_part(place, values, policy) for place, values in enumerate(content["sequences"])]


def _hardware(config: ReplayConfig, of_the_run: dict[str, Any]) -> dict[str, Any]:
    """What is typed or else the run's, whose dtype and chunks may be why; on the CPU if need be."""
    if config.hardware is not None:
        return asdict(config.hardware)
    if of_the_run["device"] == "cuda" and not torch.cuda.is_available():
        sys.stderr.write(
            f"WARNING: the run's hardware.device=cuda is not here: recomputed on the CPU, in the "
            f"run's {of_the_run['dtype']}; its kernels round otherwise\n"
        )
        return {**of_the_run, "device": "cpu"}
    return of_the_run


def report(parts: Iterable[Part]) -> str:
    """A line a sequence, the sum, and the first that is not finite."""
    parts = list(parts)
    lines = ["place  reward  advantage  tokens    objective  lowest logp  gradient  prompt"]
    lines += [
        f"{p.place:5d}  {p.reward:6.2f}  {p.advantage:9.4f}  {p.num_tokens:6d}  {p.objective:11.4e}"
        f"  {p.lowest_logp:11.3f}  {p.gradient_norm:8.2e}  {p.prompt_id!r}"
        for p in parts
    ]
    lines.append(f"loss {-sum(p.objective for p in parts):.6e} over {len(parts)} sequences")
    bad = [p for p in parts if not p.is_finite]
    if bad:
        where = f"place {bad[0].place}, prompt {bad[0].prompt_id!r}"
        lines.append(f"{len(bad)} sequences are not finite, the first at {where}")
    else:
        lines.append(
            "every sequence is finite here: the sum overflows, or it was this machine, this dtype "
            "or these kernels (hardware=one_gpu hardware.dtype=… sets others than the run's)"
        )
    return "\n".join(lines)


def _part(place: int, values: dict[str, Any], policy: TransformersPolicy) -> Part:
    sequence: TrainingSample = values["sequence"]
    objective, lowest, norm = 0.0, 0.0, 0.0
    if sequence.advantage != 0:
        (logps_T,) = policy.token_logps([sequence])
        objective, lowest = _objective(sequence, logps_T, policy), logps_T.min().item()
        gradient = policy.gradient([sequence], surrogate=policy.objective.surrogate)
        norm = gradient.norm().item()
    return Part(
        place=place,
        prompt_id=values["prompt_id"],
        reward=values["reward"],
        advantage=sequence.advantage,
        num_tokens=len(sequence.response_token_ids),
        objective=objective,
        lowest_logp=lowest,
        gradient_norm=norm,
    )


def _objective(
    sequence: TrainingSample, logps_T: torch.Tensor, policy: TransformersPolicy
) -> float:
    """The sequence's part of what the step maximises."""
    mask_1T = torch.ones(1, len(logps_T), dtype=torch.bool)
    old_1T = (logps_T if sequence.old_logps is None else sequence.old_logps)[None]
    surrogate_1T = policy.objective.surrogate(
        logps_T[None],
        old_1T,
        advantages_N=torch.tensor([sequence.advantage]),
        response_mask_NT=mask_1T,
        clip_low=policy.objective.clip_low,
        clip_high=policy.objective.clip_high,
    )
    weights_1T = mask_1T * sequence.token_weight
    cap = policy.objective.importance_sampling_cap
    if cap is not None and sequence.sampler_logps is not None:
        weights_1T = weights_1T * truncated_importance_weights(
            old_1T, sequence.sampler_logps[None], response_mask_NT=mask_1T, cap=cap
        )
    return float((surrogate_1T * weights_1T).sum().item())

"""Saves an optimizer step that was not taken because its loss or gradient was not finite.

`bad_batch-000012-1/` beside the record is mini-batch 1 of step 12:

    batch.json    the config, the reason, and for each rollout its prompt's id, reward, tokens,
                  advantage, weight and π_old's log-probabilities
    policy/       the policy as it was, as `transformers` loads it
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from twogrpo.config.schema import Config
from twogrpo.policy.protocol import Policy
from twogrpo.types import Group, TrainingSample

FILE, POLICY = "batch.json", "policy"


@dataclass(frozen=True)
class OptimizerStep:
    """Mini-batch `minibatch` of `step`; `groups` are those its sequences came from."""

    step: int
    minibatch: int
    groups: Sequence[Group]
    sequences: Sequence[TrainingSample]

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"bad_batch-{self.step:06d}-{self.minibatch}"


def save(
    optimizer_step: OptimizerStep, policy: Policy, config: Config, *, reason: str, is_writer: bool
) -> Path:
    """Writes the step's folder into the run's and returns it; every rank calls, one writes."""
    folder = Path(config.output_dir) / optimizer_step.name
    if is_writer:
        folder.mkdir(parents=True, exist_ok=True)
        rollouts = [(g, verdict) for g in optimizer_step.groups for verdict in g.verdicts]
        content = {
            "reason": reason,
            "step": optimizer_step.step,
            "minibatch": optimizer_step.minibatch,
            "config": asdict(config),
            "sequences": [
                {
                    "prompt_id": group.prompt.prompt_id,
                    "draw": group.draw,
                    "reward": verdict.reward,
                    "verdict": verdict.reason,
                    **_to_json(sequence),
                }
                for (group, verdict), sequence in zip(
                    rollouts, optimizer_step.sequences, strict=True
                )
            ],
        }
        (folder / FILE).write_text(json.dumps(content) + "\n")
    policy.export(folder / POLICY)
    return folder


def _to_json(sequence: TrainingSample) -> dict[str, Any]:
    values = dict(vars(sequence))
    values["images"] = [base64.b64encode(image).decode() for image in sequence.images]
    return {k: v.tolist() if isinstance(v, torch.Tensor) else v for k, v in values.items()}

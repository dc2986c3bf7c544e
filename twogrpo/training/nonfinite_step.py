"""Saves an optimizer step that was skipped because its loss or gradient was not finite.

`bad_batch-000012-1/` in the run's folder is mini-batch 1 of step 12:

    batch.json    the config, the reason, and for each rollout its prompt's id, reward, tokens,
                  advantage, weight and π_old's log-probabilities
    policy/       the policy before the step, in `transformers` format
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from twogrpo.config.schema import Config
from twogrpo.policy.protocol import Policy
from twogrpo.training.minibatches import Minibatch
from twogrpo.types import TrainingSample

FILE, POLICY = "batch.json", "policy"


def save(
    minibatch: Minibatch, policy: Policy, config: Config, *, reason: str, is_writer: bool
) -> Path:
    """Writes the mini-batch's folder and returns it; all ranks call it, one writes."""
    folder = Path(config.output_dir) / f"bad_batch-{minibatch.step:06d}-{minibatch.index}"
    if is_writer:
        folder.mkdir(parents=True, exist_ok=True)
        verdicts = [(group, verdict) for group in minibatch.groups for verdict in group.verdicts]
        content = {
            "reason": reason,
            "step": minibatch.step,
            "minibatch": minibatch.index,
            "config": asdict(config),
            "sequences": [
                {
                    "prompt_id": group.prompt.prompt_id,
                    "draw": group.draw,
                    "reward": verdict.reward,
                    "verdict": verdict.reason,
                    **_to_json(sample),
                }
                for (group, verdict), sample in zip(verdicts, minibatch.samples, strict=True)
            ],
        }
        (folder / FILE).write_text(json.dumps(content) + "\n", encoding="utf-8")
    policy.export(folder / POLICY)
    return folder


def _to_json(sequence: TrainingSample) -> dict[str, Any]:
    values = dict(vars(sequence))
    values["images"] = [base64.b64encode(image).decode() for image in sequence.images]
    return {k: v.tolist() if isinstance(v, torch.Tensor) else v for k, v in values.items()}

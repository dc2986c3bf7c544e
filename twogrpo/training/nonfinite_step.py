"""An optimiser step that was not taken since its loss or gradient is not finite, kept to look at.

`bad_batch-000012-1/` beside the record is mini-batch 1 of step 12:

    batch.json    config, why, and for each rollout its prompt's id, reward, tokens, advantage,
                  weight and π_old's log-probabilities
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
from twogrpo.errors import ConfigError
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
        """Of its folder."""
        return f"bad_batch-{self.step:06d}-{self.minibatch}"


def save(
    optimizer_step: OptimizerStep, policy: Policy, config: Config, *, reason: str, is_writer: bool
) -> Path:
    """Writes the step's folder into the run's; every rank calls it, one writes. The folder."""
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


def read(folder: Path) -> dict[str, Any]:
    """What `keep` wrote, with `types.Sequence` objects under "sequence" of each of "sequences".

    Raises:
        ConfigError: the folder holds no such batch.
    """
    try:
        content: dict[str, Any] = json.loads((folder / FILE).read_text())
        for values in content["sequences"]:
            values["sequence"] = _from_json(values)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"batch={folder} holds no batch of a run that stopped at a number that was not finite "
            f"({type(error).__name__}): give the bad_batch-… folder that the run named"
        ) from error
    return content


def _to_json(sequence: TrainingSample) -> dict[str, Any]:
    values = dict(vars(sequence))
    values["images"] = [base64.b64encode(image).decode() for image in sequence.images]
    return {k: v.tolist() if isinstance(v, torch.Tensor) else v for k, v in values.items()}


def _from_json(values: dict[str, Any]) -> TrainingSample:
    def tensor(name: str) -> torch.Tensor | None:
        return None if values[name] is None else torch.tensor(values[name])

    return TrainingSample(
        prompt_token_ids=tuple(values["prompt_token_ids"]),
        response_token_ids=tuple(values["response_token_ids"]),
        advantage=values["advantage"],
        token_weight=values["token_weight"],
        old_logps=tensor("old_logps"),
        pair_weights=tuple(values["pair_weights"]),
        images=tuple(base64.b64decode(image) for image in values["images"]),
        sampler_logps=tensor("sampler_logps"),
    )

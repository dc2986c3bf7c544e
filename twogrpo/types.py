"""The data types passed between dataset, sampler, reward and policy. All are frozen."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # grading processes and scripts/grade.py start without torch
    import torch


@dataclass(frozen=True)
class Prompt:
    """A question q with its reference answer; `token_ids` is the templated text.

    `images` are encoded images (PNG, JPEG); in `token_ids` each is a run of the model's image
    token, one per vector from the vision tower.
    """

    prompt_id: str
    text: str
    reference: str
    token_ids: tuple[int, ...]
    images: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """A reward r, whether the answer is correct, and why: "wrong", "verifier_timeout", …"""

    reward: float
    is_correct: bool
    reason: str

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Verdict:
        """Reads a stored verdict; records without `is_correct` derive it from their reason."""
        return cls(**{"is_correct": values["reason"] == "correct"} | values)


@dataclass(frozen=True)
class Completion:
    """One sampled response o_i, including its end token if it was sampled.

    `sampler_logps` are the sampler's log-probabilities of the tokens (nats, at the sampling
    temperature); `finish_reason` is "stop" (the end token) or "length" (truncated).
    """

    token_ids: tuple[int, ...]
    sampler_logps: tuple[float, ...]
    text: str
    finish_reason: str


def has_signal(rewards: Sequence[float]) -> bool:
    """Whether the rewards of a group differ: only then does it carry a gradient."""
    return len(set(rewards)) > 1


@dataclass(frozen=True)
class Draw:
    """A prompt to sample, its number within the run, and how often it was sampled before."""

    number: int
    prompt: Prompt
    attempt: int = 0


@dataclass(frozen=True)
class Group:
    """The G rollouts of one prompt.

    `draw` numbers the prompts drawn in a run, and `attempt` counts how often this one was sampled
    before; both seed its sampling. `step` is the loop step whose policy sampled the group: an
    earlier one for a group that resampling carried over.
    """

    prompt: Prompt
    draw: int
    step: int
    rollouts: tuple[Completion, ...]
    verdicts: tuple[Verdict, ...] = ()
    attempt: int = 0

    def with_verdicts(self, verdicts: tuple[Verdict, ...]) -> Group:
        """The graded group; one verdict per rollout."""
        assert len(verdicts) == len(self.rollouts)
        return replace(self, verdicts=verdicts)

    @property
    def rewards(self) -> tuple[float, ...]:
        """r_1 … r_G."""
        return tuple(verdict.reward for verdict in self.verdicts)

    @property
    def has_signal(self) -> bool:
        """Whether the rewards differ: only then does the group carry a gradient."""
        return has_signal(self.rewards)

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values, floats exact to the last bit, images in base64."""
        values = asdict(self)
        images = [base64.b64encode(image).decode() for image in values["prompt"].pop("images")]
        if images:
            values["prompt"]["images"] = images
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Group:
        """The inverse of `to_json` after a round trip through JSON text."""
        prompt = dict(values["prompt"])
        prompt["token_ids"] = tuple(prompt["token_ids"])
        prompt["images"] = tuple(base64.b64decode(image) for image in prompt.get("images", ()))
        return cls(
            prompt=Prompt(**prompt),
            draw=values["draw"],
            step=values["step"],
            rollouts=tuple(
                Completion(
                    tuple(r["token_ids"]), tuple(r["sampler_logps"]), r["text"], r["finish_reason"]
                )
                for r in values["rollouts"]
            ),
            verdicts=tuple(map(Verdict.from_json, values["verdicts"])),
            attempt=values["attempt"],
        )


@dataclass(frozen=True)
class TrainingSample:
    """One rollout as the policy sees it: prompt and response tokens, advantage, weight, π_old.

    `token_weight` is the weight of each of its response tokens in the optimizer step's objective.
    `sampler_logps` are the sampler's log-probabilities of the response tokens, `old_logps` are
    π_old's; None where π_old is the policy itself (the first mini-batch of a step). `pair_weights`
    says how much the preference for this rollout over each of its group counts
    (twogrpo/core/dpo.py); empty where no pairs are formed. `images` are its prompt's.
    """

    prompt_token_ids: tuple[int, ...]
    response_token_ids: tuple[int, ...]
    advantage: float
    token_weight: float
    sampler_logps: torch.Tensor
    old_logps: torch.Tensor | None = None
    pair_weights: tuple[float, ...] = ()
    images: tuple[bytes, ...] = ()

    @classmethod
    def of(
        cls,
        prompt: Prompt,
        rollout: Completion,
        *,
        advantage: float = 0.0,
        token_weight: float = 0.0,
        old_logps: torch.Tensor | None = None,
        pair_weights: tuple[float, ...] = (),
    ) -> TrainingSample:
        """The sample of a prompt and its completion; with advantage 0 it serves for scoring."""
        import torch

        return cls(
            prompt.token_ids,
            rollout.token_ids,
            advantage=advantage,
            token_weight=token_weight,
            sampler_logps=torch.tensor(rollout.sampler_logps),
            old_logps=old_logps,
            pair_weights=pair_weights,
            images=prompt.images,
        )

    @property
    def num_tokens(self) -> int:
        """The number of prompt and response tokens."""
        return len(self.prompt_token_ids) + len(self.response_token_ids)


@dataclass(frozen=True)
class MicroBatch:
    """Sequences packed for one forward pass, without padding, each shared prompt only once.

    N sequences of `lengths_N` tokens (on the CPU). Their T distinct tokens are concatenated.
    `unpack_index_F` gives, for each of the F tokens of all sequences in order, its index in T;
    `pack_index_T` gives, for each of the T tokens, one of its indices in F. R response tokens in
    all, L in the longest. `logit_index_R` are the indices in T that *predict* a response
    token: the last token of the prompt and every response token but the last; `target_ids_R` are
    the tokens predicted. Token t of response n stands at [n, t] of the grids, true in
    `response_mask_NL`. `sampler_logps_NL` is NaN off the mask, `old_logps_NL` also where π_old is
    the policy itself.
    """

    lengths_N: torch.Tensor
    token_ids_T: torch.Tensor
    position_ids_T: torch.Tensor
    unpack_index_F: torch.Tensor
    pack_index_T: torch.Tensor
    logit_index_R: torch.Tensor
    target_ids_R: torch.Tensor
    response_mask_NL: torch.Tensor
    advantages_N: torch.Tensor
    token_weights_N: torch.Tensor
    old_logps_NL: torch.Tensor
    sampler_logps_NL: torch.Tensor
    images_N: tuple[tuple[bytes, ...], ...] = ()

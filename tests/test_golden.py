"""One step of every algorithm, number by number, against recorded values.

Two mini-batches from a seeded random model, so that ratio and clipping matter in the second. The
record holds, for each update, the gradient's norm and its dot product with a fixed direction: a
flipped sign, a lost factor or another normaliser moves one of them by far more than the tolerance,
as the mutations at the end prove.

`python -m tests.test_golden` records new values; say in the commit why the numbers moved.
"""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.conftest import CONF, compose_config, tiny_model
from twogrpo.config.schema import Config, parse
from twogrpo.core import surrogates
from twogrpo.core.advantages import ADVANTAGES, standardised_population
from twogrpo.core.aggregation import AGGREGATIONS
from twogrpo.core.dpo import preference_advantages
from twogrpo.data.tasks import tiny_tokenizer
from twogrpo.distributed.process_group import SINGLE_PROCESS
from twogrpo.policy.build import build_policy
from twogrpo.training.dpo import refresh_advantages
from twogrpo.training.minibatches import minibatches
from twogrpo.types import Completion, Group, Prompt, TrainingSample, Verdict

GOLDEN = Path(__file__).parent / "golden/one_generation.json"
ALGORITHMS = sorted(p.stem for p in (CONF / "algorithm").glob("*.yaml"))
LORA = "two_grpo lora=rank_32"  # the same step with adapters
TOLERANCE = 1e-3  # relative; other processors and kernels differ by about 1e-5


class Reference:
    """DPO's reference policy: the n-th of the 18 tokens always has probability n / (1 + … + 18)."""

    def token_logps(self, sequences: Sequence[TrainingSample]) -> list[Tensor]:
        return [((torch.tensor(s.response_token_ids) + 1) / 171).log() for s in sequences]


REFERENCE = Reference()


def small_config(algorithm: str, model_folder: Path) -> Config:
    typed = [
        *f"algorithm={algorithm}".split(),
        "algorithm.group_size=4",
        "algorithm.minibatch_scale=1",
        "algorithm.learning_rate_scale=1",
        "algorithm.clip_low=0.02",  # narrow, so that some tokens are clipped
        "algorithm.clip_high=0.03",
        "training.prompts_per_minibatch=3",
        "training.prompts_per_step=6",
        "training.learning_rate=1e-3",
        "training.warmup_updates=0",
        "training.gradient_clip_norm=null",
        f"model.path={model_folder}",
        "dataset.max_response_tokens=8",
    ]
    return parse(compose_config(*typed), Config)


def made_up_groups() -> list[Group]:
    """Six groups of four with one to four correct answers; tokens and lengths come from a seed."""
    generator = torch.Generator().manual_seed(7)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(2, 18, (count,), generator=generator).tolist())

    def completion(count: int) -> Completion:
        return Completion(tokens(count), (0.0,) * count, "", "stop")

    return [
        Group(
            prompt=Prompt(str(draw), "", "", tokens(3 + draw)),
            draw=draw,
            step=0,
            rollouts=tuple(completion(1 + (3 * draw + 5 * i) % 8) for i in range(4)),
            verdicts=tuple(Verdict(float(i <= draw % 4), i <= draw % 4, "") for i in range(4)),
        )
        for draw in range(6)
    ]


def numbers(algorithm: str, model_folder: Path) -> dict[str, list[float]]:
    """The gradient norm, the gradient along a direction and the clip fractions of both updates, and
    how far the weights moved along that direction."""
    config = small_config(algorithm, model_folder)
    policy = build_policy(config, tiny_tokenizer.build(), SINGLE_PROCESS)
    generator = torch.Generator().manual_seed(11)
    parameters = [p for p in policy.logprob_model.model.parameters() if p.requires_grad]
    direction = [torch.randn(p.shape, generator=generator) for p in parameters]

    def along(tensors: list[Tensor]) -> float:
        pairs = zip(tensors, direction, strict=True)
        return sum(float((tensor.double() * way.double()).sum()) for tensor, way in pairs)

    start = [parameter.detach().clone() for parameter in parameters]
    found: dict[str, list[float]] = {"norm": [], "along": [], "clip_low": [], "clip_high": []}
    for batch in minibatches(made_up_groups(), policy, config, step=0):
        metrics = policy.update(refresh_advantages(batch, policy, REFERENCE, config.algorithm))
        found["norm"].append(metrics.gradient_norm)
        found["along"].append(along([p.grad for p in parameters if p.grad is not None]))
        found["clip_low"].append(metrics.clip_fraction_low)
        found["clip_high"].append(metrics.clip_fraction_high)
    moved = [p.detach() - before for p, before in zip(parameters, start, strict=True)]
    return found | {"moved": [along(moved)]}


def assert_golden(algorithm: str, model_folder: Path) -> None:
    recorded = json.loads(GOLDEN.read_text())[algorithm]
    actual = numbers(algorithm, model_folder)
    assert actual.keys() == recorded.keys()
    for name, values in recorded.items():
        assert actual[name] == pytest.approx(values, rel=TOLERANCE, abs=1e-6), name


@pytest.mark.parametrize("algorithm", [*ALGORITHMS, LORA])
def test_one_generation_is_as_recorded(algorithm, model_folder):
    assert_golden(algorithm, model_folder)


def test_the_second_update_is_off_policy_and_clips_on_both_sides():
    recorded = json.loads(GOLDEN.read_text())["grpo"]
    assert recorded["clip_low"][0] == recorded["clip_high"][0] == 0
    assert recorded["clip_low"][1] > 0.05
    assert recorded["clip_high"][1] > 0.05


@pytest.mark.parametrize(
    "change",
    [
        lambda a: -a,  # a flipped sign
        lambda a: a * 2,  # a lost or doubled factor
        lambda a: a * (3 / 4) ** 0.5,  # the sample deviation in place of the population's
        lambda a: a * 1.01,
    ],
    ids=["sign", "factor", "sample deviation", "one per cent"],
)
def test_a_changed_advantage_fails(change, model_folder, monkeypatch):
    def mutated(rewards_PG: Tensor, *, epsilon: float) -> Tensor:
        return change(standardised_population(rewards_PG, epsilon=epsilon))

    entry = replace(ADVANTAGES["standardised_population"], from_rewards=mutated)
    monkeypatch.setitem(ADVANTAGES, "standardised_population", entry)
    with pytest.raises(AssertionError):
        assert_golden("grpo", model_folder)


def test_exchanged_clip_bounds_fail(model_folder, monkeypatch):
    pessimistic = surrogates._pessimistic

    def exchanged(ratios, advantage, *, clip_low, clip_high):
        return pessimistic(ratios, advantage, clip_low=clip_high, clip_high=clip_low)

    monkeypatch.setattr(surrogates, "_pessimistic", exchanged)
    with pytest.raises(AssertionError):
        assert_golden("grpo", model_folder)


def test_a_mean_over_tokens_in_place_of_the_mean_of_means_fails(model_folder, monkeypatch):
    monkeypatch.setitem(AGGREGATIONS, "sequence_mean_of_token_means", AGGREGATIONS["token_mean"])
    with pytest.raises(AssertionError):
        assert_golden("grpo", model_folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda log_ratios, weights, beta: -preference_advantages(log_ratios, weights, beta=beta),
        lambda log_ratios, weights, beta: preference_advantages(log_ratios, weights, beta=1.0),
        lambda log_ratios, weights, beta: (
            preference_advantages(log_ratios, weights, beta=1.0) * beta
        ),  # β is lost inside the sigmoid but not in front of it
        lambda log_ratios, weights, beta: preference_advantages(-log_ratios, weights, beta=beta),
        lambda log_ratios, weights, beta: preference_advantages(0 * log_ratios, weights, beta=beta),
    ],
    ids=["sign", "no beta", "beta outside alone", "reference for policy", "no reference"],
)
def test_a_changed_preference_fails(change, model_folder, monkeypatch):
    name = "preference_over_all_pairs"
    entry = replace(ADVANTAGES[name], refresh=lambda *args, beta: change(*args, beta))
    monkeypatch.setitem(ADVANTAGES, name, entry)
    with pytest.raises(AssertionError, match=r"norm|along"):
        assert_golden("dpo", model_folder)


def record() -> None:
    """Writes the golden file."""
    with tempfile.TemporaryDirectory() as folder:
        tiny_model().save_pretrained(folder)
        tiny_tokenizer.build().save_pretrained(folder)
        found = {name: numbers(name, Path(folder)) for name in (*ALGORITHMS, LORA)}
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    record()

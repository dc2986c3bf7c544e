"""Our gradients beside those of TRL's own trainers: `make test-parity`.

TRL samples one generation of 32 rollouts from the tiny model and takes four optimizer steps on it.
At TRL's weights of each step the same rows go through our update, and the gradients of all
parameters together are compared. The first step has ratio 1; later many tokens are clipped.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.conftest import ROOT, parse_config
from twogrpo.core.advantages import ADVANTAGES
from twogrpo.core.aggregation import AGGREGATIONS
from twogrpo.core.dpo import dpo_loss, preference_advantages, preference_over_all_pairs
from twogrpo.policy.policy import TransformersPolicy
from twogrpo.types import TrainingSample

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
MODEL = str(ROOT / "assets/tiny")
TOKENIZER = AutoTokenizer.from_pretrained(MODEL)
CONFIG = parse_config()
PROMPTS = [f"{a}{sign}{b}{other}{(a * b) % 10}=" for a, b, sign, other in (
    (3, 4, "+", "*"), (7, 2, "*", "+"), (5, 9, "+", "+"), (8, 6, "-", "*"),
    (1, 1, "*", "*"), (2, 7, "-", "+"), (9, 3, "+", "*"), (6, 5, "*", "-"),
)] + ["1+2=", "3*4=", "5+6+7=", "8*9=", "2*2*2=", "4+4=", "9*1=", "7+7*7="]  # fmt: skip
NUM_ROLLOUTS, NUM_STEPS, TOKENS, CAP = 32, 4, 12, 2.0
FLOAT32 = 5e-5  # relative; the largest measured is 3.2e-5


@dataclass(frozen=True)
class Case:
    """What TRL is told, and what we are; `scale` is our gradient over TRL's where they differ."""

    trl: dict[str, Any] = field(default_factory=dict)
    group_size: int = 4
    advantage: str = "standardised_sample"
    epsilon: float = 1e-4
    aggregation: str = "sequence_mean_of_token_means"
    surrogate: str = "token_ratio_clipped"
    cap: float | None = None
    temperature: float = 1.0
    partial_rewards: bool = False
    scale: float = 1.0


GSPO = {"importance_sampling_level": "sequence"}
EQUAL = {
    "grpo": Case(),
    "grpo, pairs": Case(group_size=2),
    "grpo, temperature": Case({"temperature": 0.7}, temperature=0.7),
    "grpo, partial rewards": Case(partial_rewards=True),
    "bnpo": Case({"loss_type": "bnpo"}, aggregation="token_mean"),
    "dr_grpo": Case(
        {"loss_type": "dr_grpo", "scale_rewards": "none"},
        advantage="centred",
        aggregation="sequence_mean_of_fixed_length",
    ),
    "gspo": Case(GSPO, surrogate="sequence_ratio_clipped"),
    "token importance sampling": Case(cap=CAP),
    "gspo, token importance sampling": Case(GSPO, surrogate="sequence_ratio_clipped", cap=CAP),
}
# The paper's population deviation: √(G/(G − 1)) times TRL's, and its ε is smaller.
POPULATION = {"advantage": "standardised_population", "epsilon": 1e-6}
SCALED = {
    "our default": Case(**POPULATION, scale=(4 / 3) ** 0.5),
    "our default, pairs": Case(group_size=2, **POPULATION, scale=2**0.5),
}


def reward(completion_ids: list[list[int]], *, partial: bool) -> list[float]:
    return [sum(ids) % 2 + 0.1 * partial * (ids[0] % 2) for ids in completion_ids]


@dataclass
class Step:
    """What TRL had at a step."""

    weights: dict[str, Tensor]
    inputs: dict[str, Tensor]
    gradient: dict[str, Tensor]


def clones(named: Any) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in named}


def train(case: Case, folder: str) -> tuple[list[Step], Tensor, Tensor]:
    """TRL's steps, and the rewards and advantages of the generation, in the order of its rows."""
    trl = pytest.importorskip("trl")
    steps, rewards, advantages = list[Step](), list[float](), list[Tensor]()

    class Recording(trl.GRPOTrainer):
        def _generate_and_score_completions(self, inputs):
            output = super()._generate_and_score_completions(inputs)
            advantages.append(output["advantages"])
            if case.cap is not None:  # as if another sampler had drawn them
                noise = torch.randn(output["old_per_token_logps"].shape)
                output["sampler_logps"] = output["old_per_token_logps"] + 0.5 * noise
            return output

        def _compute_loss(self, model, inputs):
            steps.append(Step(clones(model.named_parameters()), inputs, {}))
            if case.cap is not None:
                ratios = (inputs["old_per_token_logps"] - inputs["sampler_logps"]).exp()
                inputs["importance_sampling_ratio"] = ratios.clamp(max=case.cap)
            self.use_vllm = case.cap is not None
            try:
                return super()._compute_loss(model, inputs)
            finally:
                self.use_vllm = False

        def training_step(self, model, *args, **kwargs):
            loss = super().training_step(model, *args, **kwargs)
            steps[-1].gradient = clones((n, p.grad) for n, p in model.named_parameters())
            return loss

    def graded(completion_ids, **_):
        rewards.extend(reward(completion_ids, partial=case.partial_rewards))
        return rewards[-len(completion_ids) :]

    values = {
        "output_dir": folder, "max_steps": NUM_STEPS, "steps_per_generation": NUM_STEPS,
        "per_device_train_batch_size": NUM_ROLLOUTS // NUM_STEPS, "gradient_accumulation_steps": 1,
        "num_generations": case.group_size, "max_completion_length": TOKENS,
        "temperature": 1.0, "beta": 0.0, "loss_type": "grpo", "scale_rewards": "group",
        "epsilon": 0.2, "epsilon_high": 0.28, "learning_rate": 5e-3, "weight_decay": 0.0,
        "lr_scheduler_type": "constant", "model_init_kwargs": {"dtype": "float32"}, "bf16": False,
        "gradient_checkpointing": False, "use_cpu": True, "report_to": "none", "seed": 0,
        "save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }  # fmt: skip
    trainer = Recording(
        model=MODEL,
        args=trl.GRPOConfig(**(values | case.trl)),
        train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in PROMPTS]),
        reward_funcs=graded,
        processing_class=TOKENIZER,
    )
    trainer.train()
    return steps, torch.tensor(rewards), advantages[0]


def our_gradient(case: Case, step: Step) -> dict[str, Tensor]:
    """Our update on TRL's rows at TRL's weights, with learning rate zero and no clipping."""
    samples = [_sample(step.inputs, row) for row in range(len(step.inputs["advantages"]))]
    weights_B = AGGREGATIONS[case.aggregation](
        torch.tensor([len(s.response_token_ids) for s in samples]), max_response_tokens=TOKENS
    )
    samples = [replace(s, token_weight=w) for s, w in zip(samples, weights_B.tolist(), strict=True)]
    subject = policy(case.temperature, surrogate=case.surrogate, importance_sampling_cap=case.cap)
    subject.logprob_model.model.load_state_dict(step.weights, strict=False)
    return gradient_of_update(subject, samples)


def policy(temperature: float = 1.0, **algorithm: Any) -> TransformersPolicy:
    return TransformersPolicy(
        AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32),
        TOKENIZER,
        algorithm=replace(CONFIG.algorithm, **algorithm),
        training=replace(CONFIG.training, learning_rate=0.0, gradient_clip_norm=None),
        hardware=CONFIG.hardware,
        temperature=temperature,
    )


def gradient_of_update(
    subject: TransformersPolicy, samples: list[TrainingSample]
) -> dict[str, Tensor]:
    subject.update(samples)
    return clones((n, p.grad) for n, p in subject.logprob_model.model.named_parameters())


def _sample(inputs: dict[str, Tensor], row: int) -> TrainingSample:
    on = inputs["completion_mask"][row].bool()
    prompt = inputs["prompt_ids"][row][inputs["prompt_mask"][row].bool()]
    old_logps = inputs["old_per_token_logps"][row][on]
    return TrainingSample(
        tuple(prompt.tolist()),
        tuple(inputs["completion_ids"][row][on].tolist()),
        advantage=float(inputs["advantages"][row]),
        token_weight=0.0,
        sampler_logps=inputs["sampler_logps"][row][on] if "sampler_logps" in inputs else old_logps,
        old_logps=old_logps,
    )


def compared(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> tuple[float, float]:
    """The scale of ours that fits theirs best, and the relative distance of what is left."""
    assert ours.keys() == theirs.keys()
    one, other = (torch.cat([g[n].flatten() for n in theirs]).double() for g in (ours, theirs))
    scale = float(one @ other / (other @ other))
    return scale, float((one / scale - other).norm() / other.norm())


@pytest.mark.parametrize("name", [*EQUAL, *SCALED])
def test_grpo_trainer_has_our_advantages_and_gradients(name: str, tmp_path):
    case = EQUAL.get(name) or SCALED[name]
    steps, rewards, advantages = train(case, str(tmp_path))
    ours = ADVANTAGES[case.advantage].from_rewards(
        rewards.view(-1, case.group_size), epsilon=case.epsilon
    )
    assert len(steps) == NUM_STEPS and advantages.abs().max() > 0
    torch.testing.assert_close(ours.flatten(), case.scale * advantages, rtol=5e-4, atol=1e-6)
    if name in EQUAL:
        torch.testing.assert_close(ours.flatten(), advantages, rtol=0, atol=5e-7)
    for step in steps:
        # TRL shuffles its rows after the advantages; ours is TRL's times the scale.
        step.inputs["advantages"] = step.inputs["advantages"] * case.scale
        scale, distance = compared(our_gradient(case, step), step.gradient)
        print(f"{name}: scale {scale:.6f}, distance {distance:.1e}")
        assert scale == pytest.approx(case.scale, rel=FLOAT32)
        assert distance < FLOAT32


def test_another_surrogate_is_far_away_once_the_policy_has_moved(tmp_path):
    first, *moved = train(Case(), str(tmp_path))[0]
    other = Case(surrogate="sequence_ratio_clipped")
    assert compared(our_gradient(other, first), first.gradient)[1] < FLOAT32
    for step in moved:
        assert compared(our_gradient(other, step), step.gradient)[1] > 100 * FLOAT32


def test_dapo_trainer_divides_by_the_generation_and_we_by_the_mini_batch(tmp_path):
    case = Case({"loss_type": "dapo"}, aggregation="token_mean")
    steps, *_ = train(case, str(tmp_path))
    tokens = [int(step.inputs["completion_mask"].sum()) for step in steps]
    for step, count in zip(steps, tokens, strict=True):
        scale, distance = compared(our_gradient(case, step), step.gradient)
        assert scale == pytest.approx(sum(tokens) / NUM_STEPS / count, rel=FLOAT32)
        assert distance < FLOAT32


@pytest.mark.parametrize(
    ("num_prompts", "group_size", "beta", "shift"),
    [(8, 2, 0.1, 0.0), (8, 2, 0.1, 0.05), (5, 4, 0.1, 0.05), (4, 3, 0.1, 0.3), (8, 2, 0.5, 0.3)],
)
def test_dpo_trainer_has_our_loss_and_gradient(
    num_prompts: int, group_size: int, beta: float, shift: float, tmp_path
):
    """TRL's mean over the pairs of each group; their sum over the groups by all prompts is ours."""
    trl = pytest.importorskip("trl")
    generator = torch.Generator().manual_seed(1)
    rewards_PG = torch.randint(0, 2, (num_prompts, group_size), generator=generator).float()
    rewards_PG[0, :2] = torch.tensor([1.0, 0.0])  # one pair at least
    lengths = torch.randint(1, TOKENS, rewards_PG.shape, generator=generator)
    texts = [
        ["".join(str(int(d)) for d in torch.randint(10, (int(n),), generator=generator)) for n in r]
        for r in lengths
    ]
    reference, subject = policy(), policy(surrogate="log_likelihood")
    for parameter in subject.logprob_model.model.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data += shift * parameter.data.std(correction=0) * noise
    samples = [
        TrainingSample(
            tuple(TOKENIZER(PROMPTS[p])["input_ids"]),
            (*TOKENIZER(texts[p][g])["input_ids"], TOKENIZER.eos_token_id),
            advantage=0.0,
            token_weight=1 / rewards_PG.numel(),
            sampler_logps=torch.zeros(int(lengths[p, g]) + 1),
        )
        for p in range(num_prompts)
        for g in range(group_size)
    ]
    sums = [
        torch.stack([logps.sum() for logps in each.token_logps(samples)]).view_as(rewards_PG)
        for each in (subject, reference)
    ]
    log_ratios_PG, weights_PGG = sums[0] - sums[1], preference_over_all_pairs(rewards_PG)
    advantages = preference_advantages(log_ratios_PG, weights_PGG, beta=beta).flatten().tolist()
    pairs = [
        [
            {"prompt": PROMPTS[p], "chosen": texts[p][i], "rejected": texts[p][j]}
            for i in range(group_size)
            for j in range(group_size)
            if weights_PGG[p, i, j]
        ]
        for p in range(num_prompts)
    ]
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    model.load_state_dict(subject.logprob_model.model.state_dict())
    total = torch.zeros(())
    for of_prompt in filter(None, pairs):
        trainer = trl.DPOTrainer(
            model=model,
            ref_model=AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32),
            args=trl.DPOConfig(
                output_dir=str(tmp_path), beta=beta, per_device_train_batch_size=len(of_prompt),
                bf16=False, use_cpu=True, report_to="none", gradient_checkpointing=False,
                dataloader_pin_memory=False, disable_tqdm=True,
            ),
            train_dataset=Dataset.from_list(of_prompt),
            processing_class=TOKENIZER,
        )  # fmt: skip
        batch = next(iter(trainer.get_train_dataloader()))
        total = total + trainer.compute_loss(model, batch) / num_prompts
    total.backward()
    ours = gradient_of_update(
        subject, [replace(s, advantage=a) for s, a in zip(samples, advantages, strict=True)]
    )
    loss = dpo_loss(log_ratios_PG, weights_PGG, beta=beta)
    scale, distance = compared(ours, clones((n, p.grad) for n, p in model.named_parameters()))
    print(
        f"dpo {num_prompts, group_size, beta, shift}: loss {float(loss - total):.1e}, "
        f"distance {distance:.1e}, log ratios from {float(log_ratios_PG.min()):.0f}"
    )
    assert float(loss) == pytest.approx(float(total), abs=5e-6)
    assert scale == pytest.approx(1, rel=FLOAT32) and distance < FLOAT32

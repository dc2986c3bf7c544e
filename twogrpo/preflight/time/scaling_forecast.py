"""A prediction, not a measurement: what 2-GRPO saves for larger policies on up to 1,024 GPUs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from twogrpo.preflight.model_shapes import PUBLISHED
from twogrpo.preflight.time.devices import load_device
from twogrpo.preflight.time.roofline import Cost, Placement, Workload, concurrency, cost
from twogrpo.preflight.zero_variance import ASSUMED

DEVICE = "h200_141"
MIXTURE = "deepseek_v3_671b"
# Policy, GPUs that hold one copy of the sampler, and the sizes of the cluster.
POLICIES = (
    ("qwen25_math_7b", 1, (8, 64)),
    ("qwen25_32b", 2, (64, 256, 1024)),
    (MIXTURE, 16, (256, 512, 1024)),
)
PROMPT_TOKENS, RESPONSE_TOKENS, LONGEST_TOKENS = 200.0, 6000.0, 32_768
PROMPTS, GENERATIONS = 512, 146
SAMPLER_SHARE = 0.8  # of a device's memory, while the policy rests in the CPU's


@dataclass(frozen=True)
class Predicted:
    """One policy on one cluster: a generation of 16-GRPO and of 2-GRPO.

    `together`: sequences that a copy of the sampler has room for. `waiting`: 16-GRPO's for a copy.
    `tail_share`: of 2-GRPO's sampling, what a single response of the longest length alone takes.
    """

    policy: str
    gpus: int
    sixteen: Cost
    two: Cost
    together: float
    waiting: float
    tail_share: float

    @property
    def time_share(self) -> float:
        """2-GRPO's time over 16-GRPO's."""
        return self.two.step_seconds / self.sixteen.step_seconds

    @property
    def sampling_share(self) -> float:
        """The same of sampling."""
        return self.two.generate / self.sixteen.generate

    @property
    def rest_share(self) -> float:
        """The same of all but sampling."""
        two, sixteen = (cost.step_seconds - cost.generate for cost in (self.two, self.sixteen))
        return two / sixteen


def predict(*, is_latent_on_all: bool = True) -> list[Predicted]:
    """For every policy and cluster.

    `is_latent_on_all`: the cache of multi-head latent attention lies whole on every GPU of a copy
    of the sampler, as tensor parallelism leaves it: a latent has no heads to divide. Else each
    sequence's is on one GPU (attention in data parallel; that its weights are then on all of them
    is not counted).
    """
    return [_predict(*row, is_latent_on_all=is_latent_on_all) for row in _rows()]


def _rows() -> list[tuple[str, int, int]]:
    return [(name, copy, gpus) for name, copy, sizes in POLICIES for gpus in sizes]


def _predict(name: str, gpus_per_copy: int, gpus: int, *, is_latent_on_all: bool) -> Predicted:
    model, device = PUBLISHED[name], load_device(DEVICE)
    if model.cache_values is not None and is_latent_on_all:
        # `cost` divides the cache among a copy's GPUs.
        model = replace(model, cache_values=gpus_per_copy * model.cache_values)
    weights = 2 * model.parameters / gpus_per_copy
    place = Placement(
        devices=gpus,
        tensor_parallel=gpus_per_copy,
        policy_bytes=2,
        sampler_bytes=2,
        recomputes=True,
        tokens_per_microbatch=32_768,
        rollouts_per_call=1024,
        cache_bytes=SAMPLER_SHARE * device.memory_bytes - weights,
        sleeps=True,
        hides_communication=True,
    )
    together = concurrency(model, _work(16), place)
    sixteen, two = (cost(model, device, _work(size), place) for size in (16, 2))
    alone = replace(_work(2), prompts=1, group_size=1, response_tokens=LONGEST_TOKENS)
    one = cost(model, device, alone, place).generate
    waiting = _work(16).rollouts / place.replicas
    tail_share = min(1.0, one / two.generate)
    return Predicted(name, gpus, sixteen, two, together, waiting, tail_share)


def _work(group_size: int) -> Workload:
    return Workload(
        prompts=PROMPTS,
        group_size=group_size,
        generations=GENERATIONS,
        updates=2 if group_size == 2 else 16,
        prompt_tokens=PROMPT_TOKENS,
        response_tokens=RESPONSE_TOKENS,
        longest_tokens=LONGEST_TOKENS,
        trained_share=1 - ASSUMED.dead_share(group_size),
        old_logps_share=0.5 if group_size == 2 else 15 / 16,
    )


def scaling_report() -> str:
    """The page docs/scaling.md, which a test holds against this function."""
    predicted = predict()
    lines = [
        "| policy | GPUs | 16-GRPO: sampling, all | 2-GRPO: sampling, all | 2 of 16 | tail "
        "| GPU-hours saved |",
        "|---|---:|---:|---:|---:|---:|---:|",
        *map(_line, predicted),
    ]
    best = min(predicted, key=lambda row: row.time_share)
    dense = [row for row in predicted if row.policy == "qwen25_32b"]
    first, last = dense[0], dense[-1]
    mixture, read = _mixture(predicted), PUBLISHED[MIXTURE].parameters_read
    return PAGE.format(
        table="\n".join(lines),
        prompts=PROMPTS,
        generations=GENERATIONS,
        response=f"{RESPONSE_TOKENS:,.0f}",
        longest=f"{LONGEST_TOKENS:,}",
        best=f"{best.policy} on {best.gpus} GPUs",
        best_share=f"{best.time_share:.0%}",
        best_sampling=f"{best.sampling_share:.0%}",
        best_rest=f"{best.rest_share:.0%}",
        first=f"{first.time_share:.0%}",
        few=f"{first.gpus}",
        last=f"{last.time_share:.0%}",
        many=f"{last.gpus:,}",
        tail=f"{last.tail_share:.0%}",
        mixture=_range(mixture),
        one=f"{read(1) / 1e9:.0f}",
        eight=f"{read(8) / 1e9:.0f}",
        hundreds=f"{read(512) / 1e9:.0f}",
        together=f"{mixture[0].together:,.0f}",
        waiting=f"{mixture[0].waiting:,.0f}",
        fewest=f"{mixture[0].gpus}",
        apart=_range(_mixture(predict(is_latent_on_all=False))),
    )


def _mixture(rows: list[Predicted]) -> list[Predicted]:
    return [row for row in rows if row.policy == MIXTURE]


def _range(rows: list[Predicted]) -> str:
    shares = [row.time_share for row in rows]
    return f"{min(shares):.0%} to {max(shares):.0%}"


def _line(row: Predicted) -> str:
    sixteen, two = row.sixteen, row.two
    saved = (sixteen.hours - two.hours) * row.gpus
    return (
        f"| {row.policy} | {row.gpus:,} | {sixteen.generate:,.0f} s, {sixteen.step_seconds:,.0f} s "
        f"| {two.generate:,.0f} s, {two.step_seconds:,.0f} s | {row.time_share:.0%} "
        f"| {row.tail_share:.0%} | {saved:,.0f} |"
    )


PAGE = """# 2-GRPO at larger scale: a prediction

Nothing on this page was measured. It is what the cost model of `twogrpo/preflight/` says, printed
by `python scripts/preflight.py check=scaling`; what that model is worth where hours are known is
told by `check=paper` and `check=cpu`.

{table}

Seconds are of one generation of {prompts} prompts with its updates, GPU-hours saved of a run of
{generations} generations. *Tail*: the part of 2-GRPO's sampling that the longest responses would
take even alone.

2-GRPO draws an eighth of the rollouts, but a generation ends with its *longest* response, and that
one is decoded a token at a time however few others there are. No row comes down to an eighth of the
time. The best, {best}, takes {best_share} of 16-GRPO's: {best_sampling} of its
sampling, and {best_rest} of all the rest, where rows of advantage zero are skipped. With more GPUs
each holds fewer sequences, the weights are read for ever fewer of them, and what remains is the
tail: for the 32B policy 2-GRPO takes {first} of 16-GRPO's time on {few} GPUs but {last} on {many},
where {tail} of its sampling is tail.

Of the mixture of experts 2-GRPO takes {mixture}. A step for few sequences reads few experts
({one} B parameters for one sequence, {eight} B for eight, {hundreds} B for 512), so the tail is
cheaper; and a copy has room for {together} sequences, where 16-GRPO has {waiting} for each copy on
{fewest} GPUs, most of which wait. That room hangs on how the sampler divides attention: under
tensor parallelism every GPU of a copy keeps the latents of all its sequences, as is assumed here.
Were each latent on one GPU only (attention in data parallel), 2-GRPO would take {apart}.

What a pair saves at that size is better spent than waited for: the same time has room for several
times the prompts (up to 16-GRPO's rollouts), for fewer GPUs, or for sampling that does not wait for
the last response (which makes the rollouts off-policy, another experiment than the paper's).

Assumptions: NVIDIA H200 (`conf/device/h200_141.yaml`, not calibrated); responses of {response}
tokens on the mean, log-normal, cut at {longest}; 512 rollouts in a mini-batch for both arms, rows
of advantage zero skipped, success rates Beta(2, 0.5); one copy of the sampler on 1 (7B), 2 (32B) or
16 GPUs (671B) by tensor parallelism, which divides its time evenly (no cost of its collectives);
every token chooses its experts at random; weights and gradients never wait for a link; a decoding
step costs 4 ms beside the roofline, a generation a second beside its phases. Sizes of the policies:
`twogrpo/preflight/model_shapes.py`.
"""

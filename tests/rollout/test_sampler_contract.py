"""The contract of a rollout engine, asked of every engine there is.

To add an engine, add a row to `ENGINES`: how it is made with the weights of a seed, those weights,
and what they say the next token's logits are. Mark the row where it needs an installation
(`pytest.param("vllm", marks=pytest.mark.vllm)`).
"""

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.conftest import parse_config, tiny_model
from tests.rollout.fake_sampler import FakeRollout
from twogrpo.data.tasks import tiny_tokenizer
from twogrpo.errors import NotFiniteFault
from twogrpo.rollout.protocol import Sampler, SamplingParams
from twogrpo.rollout.transformers_sampler import TransformersSampler
from twogrpo.rollout.vllm_sampler import LOWEST_TEMPERATURE, VllmSampler
from twogrpo.types import Completion, Prompt

TOKENIZER = tiny_tokenizer.build()
EOS = TOKENIZER.eos_token_id
PLAIN = SamplingParams(temperature=1.0, top_p=1.0, top_k=0, max_response_tokens=12)
TEST = SamplingParams(temperature=0.7, top_p=0.8, top_k=5, max_response_tokens=12)


def prompt(text: str) -> Prompt:
    return Prompt(text, text, "0", tuple(TOKENIZER(text)["input_ids"]))


PROMPTS = [prompt(text) for text in ("3*8=", "(3*8)+5*7*9=", "=", "2-5+4=", "7=")]
# More than two blocks of 128 tokens, which vLLM keeps for the next prompt that begins so.
LONG = prompt("3*8+(5-2)*7=" * 25)
SEEDS_PG = [[100 * row + column for column in range(4)] for row in range(len(PROMPTS))]


@dataclass
class Subject:
    """An engine under test, its weights, and the logits [V] that they give to the next token."""

    engine: Sampler
    weights: Callable[[int], Iterable[tuple[str, Tensor]]]
    next_logits: Callable[[int, tuple[int, ...]], Tensor]
    coldest: float = 1e-4  # temperature that it draws at


@torch.no_grad()
def next_logits(seed: int, token_ids: tuple[int, ...]) -> Tensor:
    """Without a cache, a mask or a batch: nothing that the engine could have got wrong."""
    return tiny_model(seed)(torch.tensor([token_ids])).logits[0, -1]


def tiny_weights(seed: int) -> Iterable[tuple[str, Tensor]]:
    return tiny_model(seed).state_dict().items()


def transformers_subject() -> Subject:
    engine = TransformersSampler(
        tiny_model(0),
        TOKENIZER,
        end_token_ids=[1],
        device="cpu",
        dtype=torch.float32,
        rollouts_per_call=64,
    )
    return Subject(engine, tiny_weights, next_logits)


def vllm_subject() -> Subject:
    engine = vllm_engine()
    if engine.llm is None:  # a test has closed it
        vllm_engine.cache_clear()
        engine = vllm_engine()
    engine.load(tiny_weights(0))
    return Subject(engine, tiny_weights, next_logits, coldest=LOWEST_TEMPERATURE)


@cache
def vllm_engine(*overrides: str) -> VllmSampler:
    """One a process: it takes ten seconds, a minute on a GPU (tests/gpu/one_sampler.py)."""
    with tempfile.TemporaryDirectory() as folder:
        model = tiny_model(2)  # not the weights that any test asks for
        model.config.max_position_embeddings = 512  # more than two blocks of its cache
        model.save_pretrained(folder)
        TOKENIZER.save_pretrained(folder)
        # Its sampling values never matter; its end tokens do not beside model.end_tokens.
        (Path(folder) / "generation_config.json").write_text(
            '{"temperature": 0.2, "top_k": 2, "repetition_penalty": 3.0, "eos_token_id": [1, 5, 7]}'
        )
        config = parse_config(
            *overrides or ("hardware.rollouts_per_call=64",),
            f"model.path={folder}",
            f"model.end_tokens=[{EOS}]",
            "hardware.kv_cache_gib=0.25",
        )
        return VllmSampler(TOKENIZER, config.model, config.hardware, context_tokens=512)


def fake_subject() -> Subject:
    def table(seed: int) -> Tensor:
        return torch.randn(18, 18, generator=torch.Generator().manual_seed(seed)) * 1.5

    return Subject(
        FakeRollout(table(0), TOKENIZER),
        lambda seed: [("table", table(seed))],
        lambda seed, token_ids: table(seed)[token_ids[-1]],
    )


ENGINES = {"fake": fake_subject, "transformers": transformers_subject, "vllm": vllm_subject}


@pytest.fixture(params=["fake", "transformers", pytest.param("vllm", marks=pytest.mark.vllm)])
def subject(request: pytest.FixtureRequest) -> Subject:
    return ENGINES[request.param]()


def sample(subject: Subject, sampling: SamplingParams = PLAIN) -> list[tuple[Completion, ...]]:
    return subject.engine.sample(PROMPTS, SEEDS_PG, sampling)


def tokens(groups: list[tuple[Completion, ...]]) -> list[list[tuple[int, ...]]]:
    return [[rollout.token_ids for rollout in group] for group in groups]


def all_rollouts(groups: list[tuple[Completion, ...]]) -> list[Completion]:
    return [rollout for group in groups for rollout in group]


def test_one_response_a_seed_in_order(subject):
    ragged = [[1, 2, 3], [4], [5, 6]]
    groups = subject.engine.sample(PROMPTS[:3], ragged, PLAIN)
    assert [len(group) for group in groups] == [3, 1, 2]
    for one_prompt, seeds, group in zip(PROMPTS, ragged, groups, strict=False):
        for seed, rollout in zip(seeds, group, strict=True):
            [[alone]] = subject.engine.sample([one_prompt], [[seed]], PLAIN)
            assert alone.token_ids == rollout.token_ids


def test_a_response_ends_with_the_end_token_or_at_the_limit_and_its_text_is_decoded(subject):
    rollouts = all_rollouts(sample(subject))
    for rollout in rollouts:
        assert 1 <= len(rollout.token_ids) <= PLAIN.max_response_tokens
        assert len(rollout.token_ids) == len(rollout.sampler_logps)
        assert EOS not in rollout.token_ids[:-1]
        assert rollout.text == TOKENIZER.decode(rollout.token_ids, skip_special_tokens=True)
        assert "<eos>" not in rollout.text
        if rollout.token_ids[-1] == EOS:
            assert rollout.finish_reason == "stop"
        else:
            assert rollout.finish_reason == "length"
            assert len(rollout.token_ids) == PLAIN.max_response_tokens
    assert {rollout.finish_reason for rollout in rollouts} == {"stop", "length"}


def test_any_of_several_end_tokens_ends_a_response_and_is_not_in_its_text(subject, monkeypatch):
    """Even one that is no special token, here the digit 3; with the end token alone it goes on."""
    digit = TOKENIZER.convert_tokens_to_ids("3")
    assert any(digit in rollout.token_ids[:-1] for rollout in all_rollouts(sample(subject)))
    monkeypatch.setattr(subject.engine, "end_token_ids", (EOS, digit))
    rollouts = all_rollouts(sample(subject))
    assert {EOS, digit} <= {rollout.token_ids[-1] for rollout in rollouts}
    for rollout in rollouts:
        assert not {EOS, digit} & {*rollout.token_ids[:-1]}
        assert (rollout.finish_reason == "stop") == (rollout.token_ids[-1] in (EOS, digit))
        assert "3" not in rollout.text


def test_without_an_end_token_a_response_goes_to_its_limit(subject, monkeypatch):
    monkeypatch.setattr(subject.engine, "end_token_ids", ())
    rollouts = all_rollouts(sample(subject))
    assert {len(rollout.token_ids) for rollout in rollouts} == {PLAIN.max_response_tokens}
    assert {rollout.finish_reason for rollout in rollouts} == {"length"}


def test_an_end_token_at_the_very_limit_is_a_stop(subject):
    one_token = replace(PLAIN, max_response_tokens=1)
    groups = subject.engine.sample(PROMPTS[:1], [list(range(400))], one_token)
    for rollout in all_rollouts(groups):
        assert len(rollout.token_ids) == 1
        assert rollout.finish_reason == ("stop" if rollout.token_ids == (EOS,) else "length")
    assert any(rollout.finish_reason == "stop" for rollout in all_rollouts(groups))


def test_the_same_seeds_give_the_same_tokens(subject):
    assert sample(subject) == sample(subject)


def test_global_random_state_neither_matters_nor_changes(subject):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = tokens(sample(subject))
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(2)
    assert tokens(sample(subject)) == first


def test_both_members_of_a_pair_are_drawn_for_themselves(subject):
    """Several tokens drawn twice are seldom the same; with one seed they would always be."""
    pairs = subject.engine.sample(
        PROMPTS[:1] * 200, [[2 * i, 2 * i + 1] for i in range(200)], PLAIN
    )
    num_equal = sum(one.token_ids == other.token_ids for one, other in pairs)
    assert num_equal < 100
    assert len({pair[0].token_ids for pair in pairs}) > 50


def test_a_response_does_not_depend_on_what_else_is_in_the_batch(subject):
    """Alone, in another order, beside longer prompts: the same tokens and log-probabilities."""
    together = sample(subject)
    order = [3, 0, 4, 2, 1]
    permuted = subject.engine.sample(
        [PROMPTS[i] for i in order], [SEEDS_PG[i][::-1] for i in order], PLAIN
    )
    for place, i in enumerate(order):
        alone = subject.engine.sample([PROMPTS[i]], [SEEDS_PG[i]], PLAIN)[0]
        for others in (permuted[place][::-1], alone):
            for rollout, other in zip(together[i], others, strict=True):
                assert rollout.token_ids == other.token_ids
                assert rollout.sampler_logps == pytest.approx(other.sampler_logps, abs=2e-5)


@pytest.mark.parametrize("sampling", [PLAIN, TEST], ids=["training", "test"])
def test_log_probabilities_are_those_of_the_weights(subject, sampling):
    """Softmax at the temperature, cut to top-k then top-p, worked out token by token."""
    groups = [group[:2] for group in sample(subject, sampling)]
    next_logits = partial(subject.next_logits, 0)
    assert max(logp_errors(next_logits, PROMPTS, groups, sampling)) < 5e-5


def logp_errors(
    next_logits: Callable[[tuple[int, ...]], Tensor],
    prompts: Sequence[Prompt],
    groups: Sequence[Sequence[Completion]],
    sampling: SamplingParams,
) -> list[float]:
    """|Δ log-probability| of each sampled token; infinite where the weights exclude the token."""
    return [
        abs(
            probabilities(next_logits(prompt.token_ids + rollout.token_ids[:place]), sampling)[
                token
            ].log()
            - logp
        ).item()
        for prompt, group in zip(prompts, groups, strict=True)
        for rollout in group
        for place, (token, logp) in enumerate(
            zip(rollout.token_ids, rollout.sampler_logps, strict=True)
        )
    ]


def probabilities(logits: Tensor, sampling: SamplingParams) -> Tensor:
    """Of the next token, in float64, by sorting: independent of twogrpo.core.token_sampling."""
    probs = (logits.double() / sampling.temperature).softmax(-1)
    order = probs.argsort(descending=True)[: sampling.top_k or None]
    kept = probs[order] / probs[order].sum()
    num_kept = int((kept.cumsum(0) - kept < sampling.top_p).sum())
    cut = torch.zeros_like(probs)
    cut[order[:num_kept]] = kept[:num_kept] / kept[:num_kept].sum()
    return cut


@pytest.mark.parametrize("sampling", [PLAIN, TEST], ids=["training", "test"])
def test_frequencies_are_the_probabilities(subject, sampling):
    """4,000 first tokens; the standard deviation of a frequency is under sqrt(.25/4000) = 0.008."""
    one_token = replace(sampling, max_response_tokens=1)
    [group] = subject.engine.sample(PROMPTS[:1], [list(range(4000))], one_token)
    drawn = torch.tensor([rollout.token_ids[0] for rollout in group])
    frequencies = torch.bincount(drawn, minlength=18) / 4000
    expected = probabilities(subject.next_logits(0, PROMPTS[0].token_ids), sampling).float()
    torch.testing.assert_close(frequencies, expected, atol=0.032, rtol=0)
    assert (frequencies[expected == 0] == 0).all()


def test_near_temperature_zero_all_responses_are_the_greedy_one(subject):
    groups = sample(subject, replace(PLAIN, temperature=subject.coldest))
    for one_prompt, group in zip(PROMPTS, groups, strict=True):
        assert len({rollout.token_ids for rollout in group}) == 1
        greedy = subject.next_logits(0, one_prompt.token_ids).argmax().item()
        assert group[0].token_ids[0] == greedy


def test_load_changes_what_is_sampled_to_what_the_new_weights_say(subject):
    before = tokens(sample(subject))
    subject.engine.load(subject.weights(1))
    after = sample(subject)
    assert tokens(after) != before
    first = after[0][0]
    expected = probabilities(subject.next_logits(1, PROMPTS[0].token_ids), PLAIN)
    logp = expected[first.token_ids[0]].log().item()
    assert first.sampler_logps[0] == pytest.approx(logp, abs=5e-5)
    subject.engine.load(subject.weights(0))
    assert tokens(sample(subject)) == before


def test_loaded_weights_are_a_copy(subject):
    """The policy goes on to change its own; the sampler must not change with it."""
    weights = [(name, weight.clone()) for name, weight in subject.weights(1)]
    subject.engine.load(weights)
    before = sample(subject)
    for _, weight in weights:
        weight.zero_()
    assert sample(subject) == before


def test_incomplete_weights_are_refused(subject):
    weights = list(subject.weights(1))
    with pytest.raises(RuntimeError):
        subject.engine.load(weights[1:])


def test_weights_that_give_no_probabilities_are_a_fault(subject):
    """NaN would pass for groups without a signal, and the run for one that learns nothing."""
    subject.engine.load([(name, weight * torch.nan) for name, weight in subject.weights(0)])
    with pytest.raises(NotFiniteFault, match="sampled token"):
        sample(subject)
    subject.engine.close()  # NaN stays in vLLM's key-value cache


def test_no_prompts_are_no_rollouts_and_close_can_be_called(subject):
    assert subject.engine.sample([], [], PLAIN) == []
    subject.engine.close()

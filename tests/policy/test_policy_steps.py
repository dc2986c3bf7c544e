"""The optimiser's steps, worked by hand or by torch's own Adam, and what a policy hands on."""

from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.conftest import tiny_model
from tests.policy.test_policy import (
    MOVING,
    STILL,
    TOKENIZER,
    assert_same_gradient,
    gradient,
    minibatch,
    policy,
)
from twogrpo.policy.policy import NonFiniteError


def test_the_first_step_of_adam_moves_every_weight_by_the_learning_rate_uphill():
    """Bias-corrected moments after one step are g and g²: the step is lr · g / (|g| + ε)."""
    subject = policy(training=MOVING)
    before = [parameter.detach().clone() for parameter in subject.logprob_model.parameters()]
    subject.update(minibatch())
    for old, parameter in zip(before, subject.logprob_model.parameters(), strict=True):
        grad = parameter.grad
        assert grad is not None
        step = -1e-3 * grad / (grad.abs() + 1e-8)
        torch.testing.assert_close(parameter.detach() - old, step, atol=2e-7, rtol=0)


def test_a_minibatch_of_dead_groups_is_a_step_of_adam_with_gradient_zero():
    """As without skipping: the moments decay and the weights drift on, by torch's own Adam."""
    subject = policy(training=MOVING)
    model = tiny_model()
    adam = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.999), eps=1e-8)
    dead = [replace(sequence, advantage=0.0) for sequence in minibatch()]
    subject.update(minibatch())
    for parameter, same in zip(model.parameters(), subject.logprob_model.parameters(), strict=True):
        assert same.grad is not None
        parameter.grad = same.grad.clone()
    adam.step()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    adam.step()
    before = [parameter.detach().clone() for parameter in subject.logprob_model.parameters()]
    metrics = subject.update(dead)
    assert (metrics.gradient_norm, metrics.num_sequences, metrics.num_tokens) == (0, 0, 0)
    assert subject.num_updates == 2
    for old, expected, actual in zip(
        before, model.parameters(), subject.logprob_model.parameters(), strict=True
    ):
        assert not torch.equal(actual, old)
        torch.testing.assert_close(actual, expected, atol=1e-7, rtol=0)


def test_dead_sequences_change_no_step_beside_live_ones():
    with_dead, without = policy(training=MOVING), policy(training=MOVING)
    with_dead.update(minibatch())
    without.update([sequence for sequence in minibatch() if sequence.advantage])
    for one, other in zip(
        with_dead.logprob_model.parameters(), without.logprob_model.parameters(), strict=True
    ):
        assert torch.equal(one, other)


def test_warm_up_is_linear_to_a_constant():
    subject = policy(training=replace(MOVING, warmup_updates=4))
    rates = [subject.update(minibatch()).learning_rate for _ in range(6)]
    assert rates == pytest.approx([0.25e-3, 0.5e-3, 0.75e-3, 1e-3, 1e-3, 1e-3])
    assert policy(training=MOVING).update(minibatch()).learning_rate == 1e-3


def test_the_gradient_is_clipped_only_if_asked_and_its_norm_is_told_unclipped():
    free = policy()
    norm = free.update(minibatch()).gradient_norm
    bound = policy(training=replace(STILL, gradient_clip_norm=norm / 10))
    assert bound.update(minibatch()).gradient_norm == pytest.approx(norm)
    tenth = {name: grad / 10 for name, grad in gradient(free).items()}
    assert_same_gradient(gradient(bound), tenth)
    loose = policy(training=replace(STILL, gradient_clip_norm=norm * 10))
    loose.update(minibatch())
    assert_same_gradient(gradient(loose), gradient(free))


@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_a_gradient_that_is_not_finite_stops_before_the_step(broken):
    subject = policy(training=MOVING)
    sequences = [replace(sequence, token_weight=broken) for sequence in minibatch()]
    before = [parameter.detach().clone() for parameter in subject.logprob_model.parameters()]
    with pytest.raises(NonFiniteError, match="update 1"):
        subject.update(sequences)
    assert subject.num_updates == 0
    for old, parameter in zip(before, subject.logprob_model.parameters(), strict=True):
        assert torch.equal(old, parameter)


def test_a_policy_restored_from_its_state_goes_on_bit_for_bit():
    training = replace(MOVING, warmup_updates=3)
    subject, restored = policy(training=training), policy(training=training)
    for _ in range(2):
        subject.update(minibatch())
    tensors = {name: tensor.clone() for name, tensor in subject.state().items()}
    moments = {tensors[name].data_ptr() for name in tensors if name.startswith("exp_avg")}
    restored.load_state(tensors, subject.num_updates)
    assert not tensors  # nothing is in memory twice
    held = restored.state()
    assert {held[name].data_ptr() for name in held if name.startswith("exp_avg")} == moments
    for sequences in (minibatch(off_policy=True), minibatch()):
        assert subject.update(sequences) == restored.update(sequences)
    for name, tensor in subject.state().items():
        assert torch.equal(tensor, restored.state()[name]), name


def test_the_export_is_loaded_by_transformers(tmp_path):
    subject = policy(training=MOVING)
    subject.update(minibatch())
    subject.export(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, use_safetensors=True)
    for name, tensor in subject.weights():
        assert torch.equal(model.state_dict()[name], tensor), name
    tiny_model().load_state_dict(dict(subject.weights()), strict=True)  # as a sampler does
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer("3*8=")["input_ids"] == TOKENIZER("3*8=")["input_ids"]

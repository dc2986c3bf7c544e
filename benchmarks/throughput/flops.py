"""Floating-point operations of a model's forward passes."""

from __future__ import annotations

from twogrpo.preflight.model_shapes import Architecture


def forward_flops(model: Architecture, num_tokens: float, context: float) -> float:
    """FLOPs of a forward pass: 2 a parameter and token, and 4 · layers · heads · head size a token
    and position of the context for q·k and attention·v (Kaplan et al. 2020, 2001.08361, §2.1).

    `context` is the mean number of positions that a token attends to.
    """
    attention = 4 * model.layers * model.heads * model.head_dim * context
    return num_tokens * (2 * model.active_parameters + attention)


def prompt_flops(model: Architecture, num_tokens: float, context: float) -> float:
    """FLOPs of a forward pass over tokens whose logits are not needed: without the output head."""
    head = 2 * model.vocabulary * model.hidden
    return forward_flops(model, num_tokens, context) - num_tokens * head

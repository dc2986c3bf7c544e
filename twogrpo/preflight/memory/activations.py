"""Memory of one micro-batch: what its forward pass keeps for the backward pass.

Counted from the tensors that autograd saves (tests/preflight/memory/test_activations.py counts them
again), not fitted to any peak. Flash attention: nothing grows with the square of the length.
"""

from __future__ import annotations

from dataclasses import dataclass

from twogrpo.config.schema import Config
from twogrpo.preflight.model_shapes import Architecture


@dataclass(frozen=True)
class Lengths:
    """Mean tokens of a prompt and of a response over a run."""

    prompt: float
    response: float

    @classmethod
    def assumed(cls, config: Config) -> Lengths:
        """150 tokens or half of the longest prompt, a fifth of the longest response (ours)."""
        limits = config.dataset
        return cls(min(150.0, limits.max_prompt_tokens / 2), limits.max_response_tokens / 5)


@dataclass(frozen=True)
class Tokens:
    """The tokens of a micro-batch.

    `distinct` counts a prompt once for all its responses, as most of the model sees it; `attended`
    counts it for each response, as attention does; `padded` is the same with every row as long as
    the longest, where no kernel takes rows of different lengths, else 0.
    """

    distinct: float
    attended: float
    padded: float = 0.0


def largest_microbatch(config: Config, lengths: Lengths) -> Tokens:
    """The largest micro-batch that the limits allow. Prompts have the share of its tokens that they
    have at the mean lengths; its longest row is a mean prompt with the longest response."""
    hardware, limits, group_size = config.hardware, config.dataset, config.algorithm.group_size
    prompts, rollouts = config.prompts_per_minibatch, config.rollouts_per_minibatch
    most = prompts * limits.max_prompt_tokens + rollouts * limits.max_response_tokens
    distinct = float(min(hardware.tokens_per_microbatch, most))
    rows = min(rollouts, distinct / (lengths.prompt / group_size + lengths.response))
    attended = max(distinct, rows * (lengths.prompt + lengths.response))
    has_kernel = hardware.device != "cpu" and hardware.dtype != "float32"
    padded = max(attended, rows * (lengths.prompt + limits.max_response_tokens))
    return Tokens(distinct, attended, 0.0 if has_kernel else padded)


def activation_bytes(
    model: Architecture,
    tokens: Tokens,
    *,
    bytes_per_value: int,
    is_checkpointed: bool,
    is_autocast: bool,
    adapter_width: int = 0,
) -> float:
    """Bytes of one micro-batch: every layer, and one more for what the backward pass adds.

    With checkpointing only each layer's input stays, and one layer at a time is held complete, with
    its gradients. Under autocast the stream between layers is float32, unless the weights are not.
    """
    layer = layer_bytes(
        model,
        tokens,
        bytes_per_value=bytes_per_value,
        is_autocast=is_autocast,
        adapter_width=adapter_width,
    )
    if is_checkpointed:
        stream = 4 if is_autocast and not adapter_width else bytes_per_value
        return tokens.distinct * stream * model.layers * model.hidden + 2 * layer
    return (model.layers + 1) * layer


def layer_bytes(
    model: Architecture,
    tokens: Tokens,
    *,
    bytes_per_value: int,
    is_autocast: bool,
    adapter_width: int = 0,
) -> float:
    """Bytes that one layer keeps.

    Per token, of the hidden size: two norms keep their input and its scaled copy (in float32 even
    where the passes are not, unless the stream is), and the products after them their inputs: q, k
    and v share one, gate and up another; autocast copies one for each of the five. Attention's
    output is kept once more for its projection; of the intermediate size there are 4 (gate, its
    activation, up, their product). Attention keeps q, k, v and its output; where rows are padded
    to equal length (in float32), the unpadded rows too.

    `adapter_width` is the sum of the ranks of a layer's adapters, which keep that much more; a
    frozen norm keeps its input alone. With adapters beside some products only it is an upper bound.
    """
    queries, keys = model.heads * model.head_dim, model.kv_heads * model.head_dim
    norms, products = 2 * 4 + 2 * bytes_per_value, 2 * bytes_per_value
    if is_autocast:
        norms, products = 4 * 4, 5 * bytes_per_value
    if adapter_width:  # the stream is not float32, so that nothing is cast
        norms, products = 2 * 4, 2 * bytes_per_value
    per_token = (norms + products) * model.hidden + bytes_per_value * adapter_width
    per_token += bytes_per_value * (queries + 4 * model.intermediate)
    kept = tokens.padded or tokens.attended
    copied = tokens.attended if tokens.padded else 0.0
    attention = kept * (2 * queries + 2 * keys) + copied * (queries + 2 * keys)
    return tokens.distinct * per_token + (4 if tokens.padded else bytes_per_value) * attention


def logits_bytes(model: Architecture, num_tokens: int, *, bytes_per_value: int) -> float:
    """Bytes of one chunk: logits in the policy's dtype and in float32, and the gradient of each."""
    return 2.0 * num_tokens * model.vocabulary * (bytes_per_value + 4)


def head_gradient_bytes(model: Architecture, *, bytes_per_value: int) -> float:
    """Bytes of the output head's gradient: one chunk's in the policy's dtype and the float32 sum,
    while all activations are still held."""
    return float(model.vocabulary * model.hidden * (bytes_per_value + 4))

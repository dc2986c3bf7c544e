"""The tensors that test_checkpoint.py and its program save: odd sizes, a scalar, two dtypes."""

import torch

SHAPES: dict[str, tuple[int, ...]] = {
    "weight/even": (4, 3),
    "weight/odd": (5, 3),  # rows that no two ranks share evenly
    "weight/one": (1, 4),  # a rank is left with nothing
    "weight/half": (7, 2),
    "exp_avg/odd": (5, 3),
    "count": (),
}


def tensors() -> dict[str, torch.Tensor]:
    """The same in every process."""
    generator = torch.Generator().manual_seed(0)
    drawn = {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
    return drawn | {"weight/half": drawn["weight/half"].bfloat16()}

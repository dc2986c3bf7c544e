"""Peak memory and seconds of computing log-probabilities on a GPU, with logits in chunks.

python -m benchmarks.gpu_logits

The cases of benchmarks/ablations/logits_memory.py, in bfloat16 with the hidden size of a 1.5B
model: one [tokens, 151,936] matrix in float32 has tokens × 0.61 MB, and several of them exist
at a time.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import torch

from benchmarks.ablations.logits_memory import CASES, VOCABULARY
from benchmarks.gpu_models import QWEN_1_5B
from benchmarks.gpu_update import seconds
from benchmarks.throughput import hardware_ceilings
from twogrpo.core.logprobs import chunked_token_logps


def measure(tokens: int, chunk: int, vocabulary: int, device: str) -> dict[str, Any]:
    """The bytes that the pass adds, and the median seconds of three passes."""
    hidden, head = (
        torch.randn(rows, QWEN_1_5B.hidden, device=device).bfloat16().requires_grad_()
        for rows in (tokens, vocabulary)
    )
    targets = torch.randint(vocabulary, (tokens,), device=device)

    def work() -> None:
        logps = chunked_token_logps(hidden, head, targets, temperature=1.0, chunk_tokens=chunk)
        logps.sum().backward()
        hidden.grad = head.grad = None

    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    before = hardware_ceilings.memory_bytes(device)
    case = {"tokens": tokens, "chunk": chunk, "logits_bytes": 4 * tokens * vocabulary}
    try:
        timings = sorted(seconds(work, 3, device))
    except torch.OutOfMemoryError as error:
        return case | {"error": str(error).partition(". ")[0]}
    return case | {
        "seconds": timings[1],
        "bytes": hardware_ceilings.peak_memory_bytes(device) - before,
    }


def main() -> None:
    """Prints all cases as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="sizes for a CPU")
    given = parser.parse_args()
    # Also all 32,768 tokens in one chunk: 19.9 GB per matrix, too much for a CPU's memory.
    cases = ((64, 64), (64, 16)) if given.tiny else (*CASES, (32_768, 32_768))
    vocabulary = 1000 if given.tiny else VOCABULARY
    found = [measure(tokens, chunk, vocabulary, given.device) for tokens, chunk in cases]
    print(json.dumps({"vocabulary": vocabulary, "hidden": QWEN_1_5B.hidden, "cases": found}))


if __name__ == "__main__":
    main()

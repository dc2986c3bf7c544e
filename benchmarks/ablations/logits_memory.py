"""Peak memory of log-probabilities, forward and backward, with logits in chunks.

python benchmarks/ablations/logits_memory.py                  all cases, each in its own process
python benchmarks/ablations/logits_memory.py 2048 16384       one: tokens, and tokens per chunk

A vocabulary of 151,936 (Qwen2.5) and a hidden size of 64, so that logits take nearly all memory:
one [tokens, vocabulary] matrix in float32 has tokens × 0.61 MB.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence

import torch

from benchmarks.throughput.hardware_ceilings import memory_bytes, peak_memory_bytes
from twogrpo.core.logprobs import chunked_token_logps
from twogrpo.preflight.text_tables import gib, table

VOCABULARY, HIDDEN = 151_936, 64
# Tokens, and tokens per chunk; equal numbers mean no chunking.
CASES = ((2048, 2048), (2048, 512), (32_768, 512), (32_768, 2048))


def measure(tokens: int, chunk: int) -> dict[str, float]:
    """The bytes that the pass adds to what the process held before, and its seconds."""
    hidden = torch.randn(tokens, HIDDEN, requires_grad=True)
    head = torch.randn(VOCABULARY, HIDDEN, requires_grad=True)
    targets = torch.randint(VOCABULARY, (tokens,))
    before, start = memory_bytes("cpu"), time.perf_counter()
    logps = chunked_token_logps(hidden, head, targets, temperature=1.0, chunk_tokens=chunk)
    logps.sum().backward()
    seconds = time.perf_counter() - start
    return {"tokens": tokens, "chunk": chunk, "seconds": seconds, "logits": 4.0 * tokens
            * VOCABULARY, "bytes": peak_memory_bytes("cpu") - before}  # fmt: skip


def main(arguments: Sequence[str]) -> None:
    """Prints one case as JSON, or a table of all."""
    if arguments:
        tokens, chunk = map(int, arguments)
        print(json.dumps(measure(tokens, chunk)))
        return
    rows = []
    for case in CASES:
        command = [sys.executable, "-m", "benchmarks.ablations.logits_memory", *map(str, case)]
        found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        rows.append([f"{case[0]:,}", f"{case[1]:,}", gib(found["logits"]), gib(found["bytes"]),
                     f"{found['seconds']:.1f}"])  # fmt: skip
    print(table(["tokens", "in chunks of", "all logits", "measured peak", "seconds"], rows))


if __name__ == "__main__":
    main(sys.argv[1:])

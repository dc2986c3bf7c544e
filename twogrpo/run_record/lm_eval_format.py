"""Samples in the layout of lm-evaluation-harness' `--log_samples`, for tools that read it.

One file a benchmark, one line a problem: `resps` holds the n responses, `exact_match` is Mean@n.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twogrpo.run_record.eval_samples import ProblemSamples
from twogrpo.types import Prompt


def write_lm_eval_log(
    path: Path, prompts: Sequence[Prompt], samples: Sequence[ProblemSamples]
) -> None:
    """Writes the benchmark's problems with their samples, whose texts must have been kept."""
    pairs = enumerate(zip(prompts, samples, strict=True))
    lines = (json.dumps(_line(number, *pair)) + "\n" for number, pair in pairs)
    path.write_text("".join(lines), encoding="utf-8")


def _line(number: int, prompt: Prompt, problem: ProblemSamples) -> dict[str, Any]:
    assert problem.problem_id == prompt.prompt_id
    doc = {"id": prompt.prompt_id, "problem": prompt.text, "answer": prompt.reference}
    return {
        "doc_id": number,
        "doc": doc,
        "target": prompt.reference,
        "arguments": {"gen_args_0": {"arg_0": prompt.text}},
        "resps": [problem.responses],
        "filtered_resps": [problem.responses],
        "filter": "none",
        "metrics": ["exact_match"],
        "doc_hash": _sha256(json.dumps(doc)),
        "prompt_hash": _sha256(prompt.text),
        "target_hash": _sha256(prompt.reference),
        "exact_match": sum(problem.is_correct) / len(problem.is_correct),
    }


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

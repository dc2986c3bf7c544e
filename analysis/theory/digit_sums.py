"""Samples a chat model on sums of two digits, as cached rollouts: a real model to measure.

    python -m analysis.theory.digit_sums model=<folder> out=<folder> num_responses=10

All 55 unordered pairs of digits 0 to 9; a response is right if its last integer is the sum.
"""

from __future__ import annotations

import itertools
import json
import re
import sys
from pathlib import Path
from typing import Any

import torch

from analysis.exhibits.exhibit import arguments
from analysis.theory.cached_rollouts import FILE

NUM_NEW_TOKENS = 24
QUESTION = "What is {} + {}? Answer with one number."


def is_right(text: str, total: int) -> bool:
    """Whether the last integer of the text is the sum.

    >>> is_right("3 + 4 = 7.", 7), is_right("7 apples and 2 pears", 7), is_right("", 0)
    (True, False, False)
    """
    integers = re.findall(r"\d+", text)
    return bool(integers) and int(integers[-1]) == total


def sample(model: Any, tokenizer: Any, *, num_responses: int, seed: int) -> list[dict[str, Any]]:
    """The lines of the file: one group a sum, drawn at temperature 1, nothing cut."""
    torch.manual_seed(seed)
    lines = []
    for draw, (a, b) in enumerate(itertools.combinations_with_replacement(range(10), 2)):
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": QUESTION.format(a, b)}],
            add_generation_prompt=True,
            return_dict=False,
        )
        drawn = model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            do_sample=True,
            temperature=1.0,
            top_p=1.0,
            top_k=0,
            max_new_tokens=NUM_NEW_TOKENS,
            num_return_sequences=num_responses,
            pad_token_id=tokenizer.eos_token_id,
        )[:, len(prompt) :].tolist()
        responses = [_until(tokenizer.eos_token_id, tokens) for tokens in drawn]
        texts = [tokenizer.decode(tokens, skip_special_tokens=True) for tokens in responses]
        lines.append(
            {
                "step": 0,
                "draw": draw,
                "prompt_id": f"{a}+{b}",
                "prompt_tokens": prompt,
                "rewards": [float(is_right(text, a + b)) for text in texts],
                "num_tokens": [len(tokens) for tokens in responses],
                "tokens": responses,
            }
        )
    return lines


def _until(end_id: int, tokens: list[int]) -> list[int]:
    """Up to and with the end token."""
    return tokens[: tokens.index(end_id) + 1] if end_id in tokens else tokens


def main() -> None:
    """The command."""
    from transformers import AutoModelForCausalLM, AutoTokenizer  # takes seconds to import

    given = arguments(sys.argv[1:], model="", out="runs/theory/sums", num_responses="10", seed="0")
    model = AutoModelForCausalLM.from_pretrained(given["model"], dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(given["model"])
    count, seed = int(given["num_responses"]), int(given["seed"])
    lines = sample(model, tokenizer, num_responses=count, seed=seed)
    Path(given["out"]).mkdir(parents=True, exist_ok=True)
    Path(given["out"], FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    main()

r"""math-verify as a reward: what TRL, verl and Open-R1 use, for comparison with `math_answer`.

https://github.com/huggingface/Math-Verify. Like verl, the reference is put into a ``\boxed{}`` and
read as LaTeX; a response may give its answer as LaTeX or as a plain expression.
"""

from __future__ import annotations

from twogrpo.rewards.math_grading.reward import MathAnswer
from twogrpo.rewards.protocol import CORRECT, NO_ANSWER, UNPARSED, WRONG
from twogrpo.rewards.worker_pool import PooledVerifier
from twogrpo.types import Verdict


class MathVerify(PooledVerifier):
    """1 if math-verify finds the response's answer equal to the reference, else 0."""

    module = "twogrpo.rewards.math_verify"
    example = MathAnswer.example
    prompt_templates = MathAnswer.prompt_templates


def judge(reference: str, response: str) -> Verdict:
    """Judges a response by math-verify, without a bound on time.

    Its own time-outs are off: they use SIGALRM, which fails outside of the main thread and which
    the worker process needs for itself. The worker pool kills what misses the deadline.
    """
    import math_verify  # with sympy and ANTLR: half a second, in workers only

    latex = (math_verify.LatexExtractionConfig(),)
    gold = math_verify.parse(f"\\boxed{{{reference}}}", latex, parsing_timeout=None)
    given = math_verify.parse(
        response, (*latex, math_verify.ExprExtractionConfig()), parsing_timeout=None
    )
    if not given:
        return NO_ANSWER
    if not gold:
        return UNPARSED
    return CORRECT if math_verify.verify(gold, given, timeout_seconds=None) else WRONG

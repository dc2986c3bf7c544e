"""Recognises answers in words and gives those of equal meaning one spelling."""

from __future__ import annotations

import re

from twogrpo.rewards.math_grading.splitting import SEPARATORS

_CANONICAL_WORDS = {
    **dict.fromkeys(("no solution", "no solutions", "none", "empty set", "empty", "nothing",
                     "no real solution", "no real solutions"), r"\emptyset"),
    **dict.fromkeys(("all real numbers", "all reals", "real numbers", "reals",
                     "all real number"), r"\mathbb{R}"),
    **dict.fromkeys(("does not exist", "dne", "undefined", "not defined"), "undefined"),
    **dict.fromkeys(("yes", "true"), "yes"),
    **dict.fromkeys(("no", "false"), "no"),
    **dict.fromkeys(("infinity", "inf", "infinite", "positive infinity", "oo"), r"\infty"),
    **dict.fromkeys(("negative infinity", "minus infinity", "-infinity", "-inf"), r"-\infty"),
}  # fmt: skip
_VERDICT = re.compile(r"(yes|no|true|false)\s*(?:[,.;:]|-+)\s*([a-z][a-z ,.'’-]{1,80})")
_DENIAL = re.compile(r"\b(?:not|no|never|cannot|none|nothing)\b|n['’]t\b")
_DOUBT = re.compile(
    r"\b(?:yes|true|false|if|unless|except|only|but|or|maybe|perhaps|possibly|probably|sometimes|some"
    r"|although|though|however|when|where|while|provided|assuming|depend\w*|wrong|actually|both"
    r"|neither|given|fail\w*|partly|partially|mostly|usually|often|almost|generally|rarely|until|otherwise|wait)\b"
)
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def canonical(words: str) -> str:
    """Returns the one spelling of words with a known meaning, any other words unchanged.

    >>> canonical("Yes, it does"), canonical("Yes, if n is even")
    ('yes', 'Yes, if n is even')
    """
    known = words.lower().strip("() .")
    verdict = _VERDICT.fullmatch(known)
    is_plain = verdict and not _DOUBT.search(verdict[2])
    if verdict and is_plain and (verdict[1] in ("no", "false") or not _DENIAL.search(verdict[2])):
        known = verdict[1]
    return _CANONICAL_WORDS.get(known, words)


def spelled(words: str) -> str:
    """Returns words in lower case, without article and full stop; weekdays in full."""
    words = re.sub(r"^(?:the|an?) (?=\w)", "", words.lower()).strip(" .")
    return next((day for day in _DAYS if words in (day[:3], day[:4])), words)


def is_wordy(text: str) -> bool:
    """Whether a text consists of words rather than adjacent symbols."""
    if SEPARATORS.search(text) or re.search(r"\b[a-z]\b(?! [a-z]{2})", text):
        return False
    runs = re.findall(r"[A-Za-z]+", text)
    return any(len(run) > 3 and not _is_product(run) for run in runs) or (
        len(runs) == 1 and len(runs[0]) == 3 and not _is_product(runs[0])
    )


def _is_product(run: str) -> bool:
    """Whether a run of letters is a product of variables or functions rather than a word."""
    if run.isupper() and len(run) > 2:
        return False  # points or an ordering: BCD is not DCB
    run = re.sub("arcsin|arccos|arctan|sin|cos|tan|log|ln|exp|sqrt|pi|theta|alpha|beta", "", run)
    return len(run) < 3 or not re.search("[aeiouy]", run.lower()) or set(run) <= set("abcxyz")


def letters_of(text: str) -> str:
    r"""Returns a text without its ``\text{}`` wrapping and braces."""
    text = re.sub(r"\\text\s*\{([^{}]*)\}", r" \1 ", text)
    return " ".join(text.replace("{", " ").replace("}", " ").split()) if "\\" not in text else text

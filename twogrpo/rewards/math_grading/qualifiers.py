r"""Qualifiers of an answer ("for all x", ``k\in\mathbb{Z}``) and names of its bound letters.

A qualifier is cut off where it says only what its letter means by itself; "for x > 0" and "for even
k" stay, and make another answer.
"""

from __future__ import annotations

import re

_KIND = r"real|complex|rational|natural|positive|nonnegative|non-negative|arbitrary"
_WORDS = rf"(?:\b(?:{_KIND}|integers?|numbers?|reals?|constants?)\b\s*)+"
_INTRO = r"(?P<intro>(?:for|where|with)\b(?:\s+(?:all|any|every|each|some)\b)?|\\forall)"
_QUALIFIER = re.compile(
    rf"(?:(?=[\s,;(]*[,;(])[\s,;(]+|\s+(?={_INTRO.replace('<intro>', '<_>')}))"
    rf"{_INTRO}?\s*(?:\ban?\b\s*)?"
    rf"(?P<before>{_WORDS})?(?P<letters>[A-Za-z](?:\s*(?:,|\band\b)\s*[A-Za-z])*)\s*"
    r"(?:\\?\bin\s*(?:\\mathbb\s*)?\{?\s*\\?(?P<set>[NZQRC])\b\s*\}?(?P<part>[_^]\S{1,8})?"
    rf"|(?:is|are)\s+(?:\b(?:an?|any|some|all)\b\s*)?(?P<after>{_WORDS}))?[\s)]*$"
)
_DOMAINS = {"integer": "Z", "real": "R", "rational": "Q", "complex": "C"}
_DOMAINS |= {"natural": "N", "constant": "constant", "number": "R", "arbitrary": ""}
_PARTS = {"Z+": "N", "Z>0": "N", "N>0": "N", "N+": "N", "N*": "N", "N0": "N0", "Z>=0": "N0"}
_LEFT_SIDE = re.compile(r"\s*[A-Za-z]'*\s*(?:\(|_\{?)\s*([a-z])\s*[)}]?\s*=")
_INTEGERS = "klmn"

Domains = dict[str, str]


def aligned(reference: str, answer: str) -> tuple[str, str] | None:
    """Returns two cleaned answers without qualifiers and with one name for a bound letter.

    None if a qualifier of the answer makes it another answer.

    >>> aligned("f(x)=3x", r"f(t)=3t, t\\in\\mathbb{R}")
    ('f(x)=3x', 'f(x)=3x')
    """
    reference, wanted = _split(reference)
    answer, given = _split(answer)
    old, new = _renaming(reference, wanted, answer, given)
    answer = re.sub(rf"(?<![A-Za-z\\]){old}(?![A-Za-z])", new, answer)
    given = {new if letter == old else letter: domain for letter, domain in given.items()}
    if all(_says_nothing(letter, given[letter], wanted.get(letter), reference) for letter in given):
        return reference, answer
    return None


def _split(text: str) -> tuple[str, Domains]:
    """Returns an answer without qualifiers, and the domains that they give to its letters."""
    domains: Domains = {}
    flat = re.sub(r"\\text\s*\{([^{}]*)\}", r" \1 ", text)
    while (match := _QUALIFIER.search(flat)) is not None:
        rest, letters = (
            flat[: match.start()].rstrip(),
            re.findall(r"\b[A-Za-z]\b", match["letters"]),
        )
        domain = _domain(match)
        is_universal = re.search("all|any|every|each", match["intro"] or "")
        if not (domain or is_universal) or not all(_has(rest, letter) for letter in letters):
            break
        if "some" in (match["intro"] or "") and _argument(rest) in letters:
            break
        domains |= dict.fromkeys(letters, domain)
        flat = text = rest
    return text, domains


def _domain(match: re.Match[str]) -> str:
    if match["set"]:
        part = re.sub(r"[_^{}\s]|\\text", "", match["part"] or "").replace(r"\ge", ">=")
        return _PARTS.get(match["set"] + part, match["set"] + part)
    words = f"{match['before'] or ''} {match['after'] or ''}"
    found = next((_DOMAINS[name] for name in _DOMAINS if name in words), words.strip())
    if "negative" in words:
        return found + "0"
    return {"Z": "N"}.get(found, found + "+") if "positive" in words else found


def _renaming(reference: str, wanted: Domains, answer: str, given: Domains) -> tuple[str, str]:
    """Returns a bound letter of the answer and the one that the reference has in its place."""
    old, new = _argument(answer), _argument(reference)
    if not (old and new and old != new):
        is_family = r"\pi" in reference or r"\deg" in reference
        named = _INTEGERS if is_family and "(" not in reference else ""
        if r"\frac" not in reference:
            named = named[:1]  # n may be what the problem asks in: 2n pi is not 2k pi
        news = [x for x in {*wanted, *named} if _has(reference, x) and not _has(answer, x)]
        olds = [x for x in {*given, *_INTEGERS} if _has(answer, x) and not _has(reference, x)]
        if not len(news) == len(olds) == 1:
            return "", ""
        [old], [new] = olds, news
    free = not _has(reference, old) and not _has(answer, new) and {old, new}.isdisjoint("ei")
    return (old, new) if free else ("", "")


def _says_nothing(letter: str, domain: str, wanted: str | None, reference: str) -> bool:
    """Whether a letter has the domain that the reference gives it, or means by itself."""
    if wanted is not None:
        return domain == wanted
    if letter == _argument(reference):
        return domain in (("Z", "N", "") if letter in _INTEGERS else ("R", ""))
    if _argument(reference):  # the c of f(x) = cx
        return domain in ("R", "constant", "")
    if domain == "N" and letter in _INTEGERS:  # n >= 6 and n < 6 differ in this
        return re.search(rf"{letter}\s*(?:>=?|\\geq?)\s*\d", reference) is not None
    return domain in (("Z", "") if letter in _INTEGERS else ("R", "constant", ""))


def _argument(text: str) -> str | None:
    """Returns x of "f(x) = …" and n of "a_n = …"."""
    match = _LEFT_SIDE.match(text)
    return match[1] if match else None


def _has(text: str, letter: str) -> bool:
    return (
        re.search(rf"(?<![A-Za-z\\]){letter}(?![A-Za-z])|(?<![A-Za-z\\]){letter}[a-z]\b", text)
        is not None
    )

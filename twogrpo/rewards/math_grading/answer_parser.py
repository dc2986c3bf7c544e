r"""Parses a cleaned answer into a value, list, set, tuple or interval, matrix, relation or words.

`read` splits the answer at its top-level separators; the pieces become expression trees.
"""

from __future__ import annotations

import re
from fractions import Fraction

from twogrpo.rewards.math_grading import units
from twogrpo.rewards.math_grading.answer_types import (
    Answer,
    Decimal,
    Listing,
    Matrix,
    Relation,
    Scalar,
    Words,
)
from twogrpo.rewards.math_grading.expression_parser import parse
from twogrpo.rewards.math_grading.lexer import ParseError
from twogrpo.rewards.math_grading.splitting import SEPARATORS, SIGNS, is_balanced, split, unbraced
from twogrpo.rewards.math_grading.text_answers import canonical, is_wordy, letters_of, spelled

_ENVIRONMENT = re.compile(
    r"(?s)^\\begin\s*\{([pbvBV]?matrix|smallmatrix|array|cases|aligned)\*?\}"
    r"(?:\s*\{[lcr| ]*\})?(.*)\\end\s*\{\1\*?\}$"
)
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
_DECIMAL = re.compile(
    r"(-?)\s*(\d*)(\.?)(\d*)\s*"
    r"(?:[eE]([-+]?\d{1,4})|\*\s*10\s*\^\s*(?:\{\s*|\(\s*)?([-+]?\s*\d{1,4})\s*[)}]?)?"
)
_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_MAX_ITEMS = 60


def thousands_joined(text: str) -> str:
    """Returns the text with the commas of "1,234,567" removed."""
    return _THOUSANDS.sub(lambda match: match.group().replace(",", ""), text)


def read(text: str) -> Answer:
    """Parses a cleaned answer; raises ParseError where a piece is no known expression."""
    text = unbraced(text.strip())
    if not text:
        raise ParseError("nothing")
    if (wrapped := _TEXT.fullmatch(text)) is not None:
        return _read_text(wrapped[1].strip())
    if (named := _named(text)) is not None:
        return named
    if (environment := _ENVIRONMENT.match(text)) is not None:
        return _read_environment(environment[1], environment[2])
    groups = [split(group, SEPARATORS)[0] for group in split(text, re.compile(";"))[0]]
    if len(groups) > 1 and {len(group) for group in groups} in ({2}, {3}):  # x=1,y=2; x=3,y=4
        return Listing(
            tuple(Listing(tuple(map(read, g)), "" if "=" in g[0] else "()") for g in groups)
        )
    pieces = [piece for piece in split(text, SEPARATORS)[0] if piece.strip()]
    if len(pieces) > _MAX_ITEMS:
        raise ParseError(f"more than {_MAX_ITEMS} items")
    if len(pieces) > 1:
        return Listing(tuple(_flattened(read(piece) for piece in pieces)))
    return _read_single(pieces[0] if pieces else text)


def _read_single(text: str) -> Answer:
    text = unbraced(text.strip())
    membership = split(text, re.compile(r"\\in(?![a-z])"))[0]
    if len(membership) == 2:
        return read(membership[1])
    sides, signs = split(text, SIGNS)
    if signs:
        return _read_relation(sides, signs)
    parts = split(text, re.compile(r"\\cup(?![a-z])"))[0]
    if len(parts) > 1:
        return Listing(tuple(map(read, parts)), r"\cup")
    if (bracketed := _read_brackets(text)) is not None:
        return bracketed
    if re.search(r"\\[pm][pm](?![a-z])", text):
        return _read_plus_minus(text)
    return _read_scalar(text)


def _read_relation(sides: list[str], signs: list[str]) -> Relation:
    sides = [side.strip() for side in sides]
    if not sides[-1]:
        raise ParseError("nothing after the last sign")
    if not sides[0]:  # "= 5"
        sides, signs = sides[1:], signs[1:]
    if not signs:
        return read(sides[0])  # type: ignore[return-value]
    return Relation(tuple(_read_side(side) for side in sides), tuple(signs), tuple(sides))


def _read_side(text: str) -> Answer:
    """Parses one side of a relation, which may be a name ("Area", "m\\angle A")."""
    try:
        return read(text)
    except ParseError:
        return Words(letters_of(text))


def _read_plus_minus(text: str) -> Answer:
    r"""Returns both values of ``a \pm b``; all ``\pm`` take one sign, all ``\mp`` the other."""
    upper = re.sub(r"\\mp(?![a-z])", "-", re.sub(r"\\pm(?![a-z])", "+", text))
    lower = re.sub(r"\\mp(?![a-z])", "+", re.sub(r"\\pm(?![a-z])", "-", text))
    return Listing((_read_single(upper), _read_single(lower)))


def _read_brackets(text: str) -> Answer | None:
    r"""Parses brackets around the whole text: a set, a tuple, an interval or a mere group."""
    for opening, closing, brackets in (
        (r"\{", r"\}", "{}"), ("{", "}", "{}"), (r"\langle", r"\rangle", "()"),
        ("(", ")", "()"), ("(", "]", "(]"), ("[", ")", "[)"), ("[", "]", "[]"),
    ):  # fmt: skip
        if text.startswith(opening) and text.endswith(closing):
            inner = text[len(opening) : -len(closing)]
            if not is_balanced(inner):
                return None
            if _ENVIRONMENT.match(inner.strip()):
                return read(inner)
            pieces, separators = split(inner, SEPARATORS)
            condition = split(inner, re.compile(r"\||:"))[0] if brackets == "{}" else []
            if len(condition) == 2 and SIGNS.search(condition[1]):
                return read(condition[1])  # {x | x > 1}
            if brackets == "{}" and not inner.strip():
                return Words(r"\emptyset")
            if separators or (brackets in ("{}", "[]", "(]", "[)")):
                items = [read(piece) for piece in pieces]
                flat = _flattened(items) if brackets == "{}" else items
                return Listing(tuple(flat), brackets)
            return read(inner)
    return None


def _read_environment(kind: str, body: str) -> Answer:
    rows = [row for row in split(body, re.compile(r"\\\\|\\cr\b|\\hline"))[0] if row.strip()]
    if not rows or len(rows) > _MAX_ITEMS:
        raise ParseError("matrix without rows or with too many")
    if kind in ("cases", "aligned"):
        return Listing(tuple(_flattened(read(row.replace("&", " ")) for row in rows)))
    cells = [split(row, re.compile("&"))[0] for row in rows]
    if len({len(row) for row in cells}) != 1:
        raise ParseError("rows of unequal length")
    if kind in ("vmatrix", "Vmatrix"):
        raise ParseError("determinant")
    return Matrix(tuple(tuple(read(cell) for cell in row) for row in cells))


def _read_scalar(text: str) -> Answer:
    body, found_units, factor = units.split_unit(text)
    percent = bool(re.search(r"%\s*$|\\text\s*\{\s*(?:percent|pct)", text)) or bool(
        re.search(r"(?i)(?<![a-z])(?:percent(?:age)?|pct)\b", text)
    )
    body = body.rstrip(" %") if percent else body
    if (clock := _clock(text)) is not None:
        return clock
    if len(parts := split(body, re.compile(":"))[0]) > 1:
        return Listing(tuple(map(_read_scalar, parts)), ":")
    tree = parse(body)
    if factor != 1:
        tree = ("*", tree, ("number", Fraction(factor)))
    degrees = tree[0] == "degrees" or ("angle", "degree") in found_units
    tree = tree[1] if tree[0] == "degrees" else tree
    return Scalar(
        tree, body, percent, degrees, found_units, _decimal(body) if factor == 1 else None
    )


def _clock(text: str) -> Words | None:
    """Parses a time of day with seconds or a.m./p.m.; "8:34 p.m." is "20:34:00"."""
    plain = re.sub(r"\\text|[{}. ]", "", text).lower()
    match = re.fullmatch(r"(\d{1,2}):(\d{2})(?::(\d{2}))?(am|pm)?", plain)
    if not match or int(match[1]) > 24 or int(match[2]) > 59:
        return None
    hour = int(match[1])
    if match[4]:
        hour = hour % 12 + (12 if match[4] == "pm" else 0)
    elif not match[3] and hour < 13 and match[1][0] != "0":
        return None  # "4:30" may be a ratio or a duration
    return Words(f"{hour:02d}:{match[2]}:{match[3] or '00'}")


def _decimal(text: str) -> Decimal | None:
    """Returns how a number was written if it has a point or an exponent."""
    match = _DECIMAL.fullmatch(text.strip())
    if not match or not match[2] + match[4]:
        return None
    sign, whole, point, places, *exponents = match.groups()
    exponent = (exponents[0] or exponents[1] or "").replace(" ", "")
    if not point + exponent:
        return None
    last_place = Fraction(10) ** (int(exponent or 0) - len(places))
    value = int(f"{sign}{whole}{places}") * last_place
    return Decimal(value, last_place, len((whole + places).lstrip("0")))


def _read_text(content: str) -> Answer:
    r"""Parses the content of a ``\text{…}``: a formula, a letter, words or a list of them."""
    pieces = split(content, SEPARATORS)[0]
    if re.search(r"\d", content) and _clock(content) is None and not re.search("[a-z]{3}", content):
        return read(content)
    if canonical(content) == content and len(pieces) > 1 and all(map(str.strip, pieces)):
        return Listing(tuple(_read_text(piece.strip()) for piece in pieces))
    if re.fullmatch("[A-Za-z]", content):
        return _read_scalar(content)
    return _named(content, wordy=True) or Words(spelled(content))


def _named(text: str, *, wordy: bool = False) -> Answer | None:
    """Parses words, letters of a choice and sets with a name, such as "no solution"."""
    letters = letters_of(text)
    words = canonical(letters)
    if words in (r"\emptyset", "undefined", "yes", "no"):
        return Words(words)
    if words in (r"\infty", r"-\infty") and not text.startswith("\\"):
        return _read_scalar(words)
    if words == r"\mathbb{R}":
        return read(r"(-\infty,\infty)")
    if wordy or (re.fullmatch(r"[A-Za-z][A-Za-z'’ .\-]*", text) and is_wordy(text)):
        return Words(spelled(letters))
    return None


def _flattened(items: object) -> list[Answer]:
    r"""Merges bare lists inside a list (from ``\pm``) into it."""
    flat: list[Answer] = []
    for item in items:  # type: ignore[attr-defined]
        flat.extend(item.items if isinstance(item, Listing) and not item.brackets else [item])
    return flat

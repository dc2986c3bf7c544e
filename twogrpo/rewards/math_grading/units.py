r"""Words around a number: units, currencies and magnitudes ("3 million").

A unit is cut off the answer but remembered: 3 feet are not 3 inches.
"""

from __future__ import annotations

import re

# One line per dimension; commas separate units, spaces the spellings of one unit.
_DIMENSIONS = {
    "length": "mm millimeter millimetre,cm centimeter centimetre,m meter metre,km kilometer "
    "kilometre,in inch inches,ft foot feet,yd yard,mi mile,nm nanometer,um micrometer micron,"
    "au,pc parsec,ly,angstrom",
    "mass": "mg milligram,g gram gm,kg kilogram,lb lbs pound,oz ounce,ton tonne",
    "time": "s sec second,min minute minutes,h hr hour,day,week,month,yr year,ms millisecond",
    "money": "dollar usd buck,cent,euro eur,gbp,rupee rs inr,yen",
    "angle": "degree deg,rad radian",
    "volume": "l liter litre,ml milliliter millilitre,gal gallon,quart,pint,cup",
    "speed": "mph,kph kmph kmh",
    "energy": "j joule,kj kilojoule,ev electronvolt,mev,kev,gev,erg,cal calorie,kcal",
    "temperature": "k kelvin,c celsius,f fahrenheit",
    "other": "n newton,w watt,kw kilowatt,v volt,a amp ampere,ohm,hz hertz,khz,mhz,ghz,pa pascal,"
    "kpa,mpa,atm,mol mole,unit,acre,hectare,point,pts,cc,dm,bit,byte,solar mass",
    "clock": "am,pm,noon,midnight",
}
_KNOWN = {
    spelling + plural: (dimension, unit.split()[0])
    for dimension, line in _DIMENSIONS.items()
    for unit in line.split(",")
    for spelling in unit.split()
    for plural in ("", "s", "es")
    if not (plural and len(spelling) < 3)
}
_CASED = frozenset("mgshLlJNWVAKCFk")
_MAGNITUDES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9}
_MAGNITUDES |= {"trillion": 10**12, "dozen": 12}
_ADJECTIVES = re.compile(r"square|squared|cubic|cubed|sq|cu|per|a|the|of|about|approximately")

_POWER = r"(?:\s*\^\s*(?:\{\s*-?\d\s*\}|-?\d))?"
_TEXT_TAIL = re.compile(
    rf"(?:\s*(?:\\text\s*\{{[^{{}}]*\}}|/|\*"
    rf"|\\frac\s*(?:\{{\s*\\text\s*\{{[^{{}}]*\}}{_POWER}\s*\}}){{2}}){_POWER})+\s*$"
)
_TEXT_HEAD = re.compile(r"^\s*\\text\s*\{[^{}]*\}\s*:?\s*(?=\S)")
_WORD_TAIL = re.compile(
    rf"(?<=[\d)}}\]%.]|\bi)(?P<gap>\s*)(?P<unit>[A-Za-z]{{1,14}}\.?{_POWER}"
    rf"(?:(?:\s*[/*]\s*|\s+)[A-Za-z]{{1,14}}\.?{_POWER}){{0,5}})\s*$"
)
_BRACED_UNIT = re.compile(r"(?<=\d)\s*\{((?:[A-Za-z .*/]|\^\s*(?:\{\s*-?\d\s*\}|-?\d))+)\}$")
_PI_TAIL = re.compile(rf"(?<=\\pi)(?P<gap>\s+)(?P<unit>[A-Za-z]{{2,14}}{_POWER}(?:\s+[a-z]+)*)\s*$")
_CURRENCY = re.compile(r"[$€£¥₹₽₩฿]|\b(?:USD|EUR|GBP|Rs\.?)(?=\s*\d)|\\(?:pounds|euro|yen)\b")
_CHANGING = re.compile(  # words that make another answer of the number beside them
    r"\b(?:and|or|not|no|never|cannot|\w+n['’]t|least|most|than|under|over|below|above|up|between"
    r"|either|neither|nearly|almost|but|wrong|false|incorrect|if|unless|except|when|where|while|minus"
    r"|negative|plus|times|half|twice|base|mod|modulo)\b|\b(?<!total )(?:of|by|to|be|from)\W*$"
    r"|^\W*(?:text\W*)?(?:squared|cubed)\W*$"
    # "3 odd numbers" count something; "n > 3 odd" has a condition
    r"|\b(?:even|odd|prime|composite|integer|integral|whole|natural|real|complex|(?:ir)?rational"
    r"|(?:non-?)?(?:negative|positive|zero)|perfect|divisible|distinct|finite|infinite)\W*$"
)
_CHANGING_HEAD = re.compile(_CHANGING.pattern + r"|\b(?:all|every|each)\b")
_CLAIM = re.compile(r"\b(?:is|are|was|has|have|does|do|can|must|with|such|that|only)\b")
_LONE_LETTER = re.compile(r"\s*[a-z]\s*")
_LETTER = re.compile(r"(?<!\\)\b[A-Za-z]\b|\\(?!d?frac|sqrt|pi|deg|text|cdot|times)[A-Za-z]+")
_CLOCK = re.compile(r"\b([ap])\.?\s?m\b\.?", re.IGNORECASE)


def split_unit(text: str) -> tuple[str, frozenset[tuple[str, str]], int]:
    r"""Returns an answer without its unit, the known units among its words, and a magnitude.

    >>> split_unit(r"15\text{ cm}^{2}")
    ('15', frozenset({('length', 'cm')}), 1)
    >>> split_unit("2.5 million")[::2]
    ('2.5', 1000000)
    """
    text = _BRACED_UNIT.sub(r" \1", _CURRENCY.sub(" ", text)).strip()
    head = _TEXT_HEAD.match(text)
    if head and not _CHANGING_HEAD.search(head.group()) and _TEXT_TAIL.sub("", text).strip():
        text = text[head.end() :].lstrip(": ")
    tail = _TEXT_TAIL.search(text)
    if tail and r"\text" in tail.group() and text[: tail.start()].strip():
        body, words = text[: tail.start()], re.sub(r"\\text|[{}]", " ", tail.group())
        # "n squarefree" counts nothing, "n cm" is a length
        is_condition = _LONE_LETTER.fullmatch(body) and not _is_unit(words, True, body)
        is_claim = is_condition or (_LETTER.search(body) and _CLAIM.search(words))
        if not (is_claim or _CHANGING.search(words)):
            return _with_units(body, words)
    tail = _WORD_TAIL.search(text) or _PI_TAIL.search(text)
    if tail and _is_unit(tail["unit"], bool(tail["gap"]), text[: tail.start()]):
        return _with_units(text[: tail.start()], tail["unit"])
    return text.strip(), frozenset(), 1


def clash(a: frozenset[tuple[str, str]], b: frozenset[tuple[str, str]]) -> bool:
    """Whether two answers name different units of one dimension, such as cm and m."""
    shared = ({dimension for dimension, _ in a} & {dimension for dimension, _ in b}) - {"noun"}
    return any(dimension in shared for dimension, _ in a ^ b)  # "24 ways" are "24 routes"


def differ_in_noun(a: frozenset[tuple[str, str]], b: frozenset[tuple[str, str]]) -> bool:
    """Whether two answers count different things, which matters in a list of counts."""
    return len({word for dimension, word in a | b if dimension == "noun"}) > 1


def _with_units(body: str, words: str) -> tuple[str, frozenset[tuple[str, str]], int]:
    names = re.findall(r"[A-Za-z]+", _CLOCK.sub(r"\1m", words))
    factor = 1
    for name in names:
        factor *= _MAGNITUDES.get(name.lower(), 1)
    known = frozenset(_KNOWN[n.lower()] for n in names if n.lower() in _KNOWN)
    nouns = [n.lower().removesuffix("s") for n in names if not _is_known(n)]
    known |= {("noun", noun) for noun in nouns[-1:]}
    return body.strip().rstrip("*/").strip(), known, factor


def _is_unit(words: str, spaced: bool, body: str) -> bool:
    """Whether the words after a value are a unit rather than variables of a product."""
    names = re.findall(r"[A-Za-z]+", words)
    if not any(len(name) > 1 for name in names) and not spaced:
        return False  # "10m" may be ten times m
    if all(_is_known(name) for name in names):
        return True
    numeric = not re.search(r"(?<!\\)\b[a-z]\b|\\(?!frac|sqrt|pi|deg|text)[A-Za-z]+", body)
    is_long = any(len(name) > 2 for name in names)
    return numeric and is_long and spaced and not _NO_UNIT.search(words)


_NO_UNIT = re.compile(rf"\b(?:sin|cos|tan|log|exp|sqrt|cup|cap|pi|mod)\b|{_CHANGING.pattern}")


def _is_known(name: str) -> bool:
    if len(name) == 1:
        return name in _CASED
    low = name.lower()
    return low in _KNOWN or low in _MAGNITUDES or bool(_ADJECTIVES.fullmatch(low))

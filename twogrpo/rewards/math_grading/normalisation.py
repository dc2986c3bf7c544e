r"""Gives an answer one spelling, whatever its Unicode signs, LaTeX layout and operators.

It changes only what cannot change a value; the comparison handles units and percent signs.
"""

from __future__ import annotations

import re
import unicodedata

from twogrpo.rewards.math_grading.latex_symbols import (
    FUNCTIONS,
    LAYOUT,
    SUBSCRIPTS,
    SUPERSCRIPTS,
    SYNONYMS,
    UNICODE,
)

_TABLE = str.maketrans(UNICODE)
_SCRIPTS = str.maketrans(SUPERSCRIPTS | SUBSCRIPTS)
_SUPERSCRIPT, _SUBSCRIPT = (
    re.compile(f"[{''.join(table)}]+") for table in (SUPERSCRIPTS, SUBSCRIPTS)
)

_COMMAND = re.compile(r"\\([A-Za-z]+)\*?")
_STYLED_WORD = re.compile(
    r"\\(?:math(?:rm|bf|it|sf|tt)|operatorname|text(?:normal|rm|bf|it|sf|tt|sc|up)?|mbox|hbox"
    r"|emph|bf|rm)\*?\s*\{((?:[^{}]|\{[^{}]*\})*)\}"
)
_IN_BASE = re.compile(
    r"[(\[{\s]*([0-9][0-9A-F]*)[)\]}\s]*(?:\\text\s*\{)?[\s(]*(?:in\s+)?(?:\\text\s*\{\s*)?"
    r"base[\s}-]*(?:\\text\s*\{\s*)?(\w+)[\s)}\]]*$"
)
_NO_BASE = r"\\text|base|[{}()\s]"
_BASE = re.compile(rf"(?<=[0-9A-F])_\s*\{{((?:{_NO_BASE})*\w+(?:{_NO_BASE})*)\}}")
_PACKAGE = re.compile(r"\b(?:np|numpy|math|cmath|sympy|sp|torch)\.(?=[a-z])")
_SPACE_COMMAND = re.compile(
    r"(?<!\\)\\[,;:! ]|\\(?:thinspace|enspace)\b|(?<!~)~(?!~)|[\u200b\u200c\u2060]"
)


def clean(text: str) -> str:
    r"""Returns the one spelling of an answer; spaces stay where they may matter ("1 1/2").

    >>> clean(r"$\left(\dfrac12,\, 3\right)$.")
    '(\\frac{1}{2}, 3)'
    """
    text = _single_backslashes(text)
    text = _unicode(text)
    text = _strip_delimiters(text)
    text = _join_digits(text)
    text = _SPACE_COMMAND.sub(" ", text)
    text = _STYLED_WORD.sub(_word, text)
    text = re.sub(r"_\s*\{\s*\\text\s*\{(\w+)\}\s*\}", r"_{\1}", text)
    text = _COMMAND.sub(_command, text)
    text = text.replace("**", "^").replace(r"\%", "%").replace(r"\$", "").replace("$", " ")
    text = text.replace("=<", "<=").replace("=>", ">=").replace("==", "=").replace("&=", "=")
    text = _PACKAGE.sub("", text)
    text = re.sub(r"\^\s*\{\s*\^?\s*\\circ\s*\}|\^\s*\\circ|\\circ", r"\\deg ", text)
    text = re.sub(r"\(?\\[pb]?mod\s*\{?\s*(\w+)\s*\}?\)?", r"\\pmod{\1}", text)
    text = re.sub(r"\^\s*(?:\{\s*\\prime\s*\}|\\prime)", "'", text)
    text = _complete_arguments(text)
    text = re.sub(r"(\\text\s*\{[^{}]*\w)\s+(and|or)\s+\}", r"\1} \2 ", text)
    text = re.sub(r"\s+(?=[)\]])", "", re.sub(r"\s+", " ", text))
    return _with_base(_strip_ends(text))


def _single_backslashes(text: str) -> str:
    if r"\\begin" in text:  # every backslash is doubled
        text = text.replace("\\\\", "\\")
    if r"\begin" not in text:
        text = re.sub(r"\\\\(?=[A-Za-z{}%$])", r"\\", text)
    return text


def _unicode(text: str) -> str:
    if text.isascii():
        return text
    text = _SUPERSCRIPT.sub(lambda match: f"^{{{match.group()}}}", text)
    text = _SUBSCRIPT.sub(lambda match: f"_{{{match.group()}}}", text).translate(_SCRIPTS)
    return unicodedata.normalize("NFKC", text.translate(_TABLE)).translate(_TABLE)


def _strip_delimiters(text: str) -> str:
    """Removes the delimiters of math mode and of Markdown's bold type and code."""
    text = re.sub(r"\\\[(.*?)\\\]", r" \1 ", text, flags=re.DOTALL)
    text = re.sub(r"\\\((.*?)\\\)", r" \1 ", text, flags=re.DOTALL)
    text = re.sub(r"^\s*(\*{1,3}|_{1,3})((?:(?!\1).)*)\1\s*$", r"\2", text, flags=re.DOTALL)
    text = re.sub(r"^\s*`+(?:latex|math)?(.*?)`+\s*$", r"\1", text, flags=re.DOTALL)
    return re.sub(r"\\begin\{(align|equation|gather|math|displaymath)\*?\}|"
                  r"\\end\{(align|equation|gather|math|displaymath)\*?\}", " ", text)  # fmt: skip


def _join_digits(text: str) -> str:
    r"""Removes separators that can only group digits: ``1{,}234``, ``1,\!234``, ``1 234 567``."""
    text = re.sub(r"(?<=\d)\s*(?:\{\s*,\s*\}|,\s*\\!|\\!\s*,)\s*(?=\d)", "", text)
    text = re.sub(r"(?<=\d)(?:\\[,!; ]|\\thinspace|~)\s*(?=\d{3}(?!\d))", "", text)
    spaced = re.compile(r"(?<![\d.,/^_{])\d{1,3}(?: \d{3})+(?![\d/,]|\s*\\frac)")
    return spaced.sub(lambda match: match.group().replace(" ", ""), text)


def _word(match: re.Match[str]) -> str:
    r"""Removes the style of a letter or formula; makes a styled word ``\text{word}``."""
    inner = match.group(1)
    bare = inner.strip().strip("$")
    if re.fullmatch(r"[A-Za-z]", bare):
        return f" {bare} " if match.group().startswith((r"\math", r"\op")) else rf"\text{{{bare}}}"
    if re.fullmatch(r"[-\d.,/+]+", bare):
        return bare
    if match.group().startswith((r"\math", r"\op", r"\bf", r"\rm")):
        if not re.fullmatch(r"[A-Za-z. ]+", bare):
            return f"{{{inner}}}"
        if bare in FUNCTIONS:
            return f"\\{bare} "
    return rf"\text{{{inner}}}"


def _command(match: re.Match[str]) -> str:
    name = match.group(1)
    if name == "text" and match.string[match.end() : match.end() + 1] == "{":
        return r"\text"
    if name in SYNONYMS:
        return SYNONYMS[name]
    return " " if name in LAYOUT else match.group()


def _complete_arguments(text: str) -> str:
    r"""Adds the braces of ``\frac`` and ``\sqrt`` that TeX allows to omit: ``\frac12``."""
    argument = r"\s*(\{|\\[A-Za-z]+|[A-Za-z0-9])"
    text = re.sub(r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\\frac\s*([A-Za-z0-9])" + argument, _braced_frac, text)
    text = re.sub(r"(\\frac\s*\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\})\s*([A-Za-z0-9])", r"\1{\2}",
                  text)  # fmt: skip
    return re.sub(r"\\sqrt\s*([A-Za-z0-9])", r"\\sqrt{\1}", text)


def _with_base(text: str) -> str:
    r"""Writes a number in a base as ``204_{5}``: ``(204)_5``, ``204_{(5)}``, "204 in base 5"."""
    if "base" in text:
        text = _IN_BASE.sub(r"\1_{\2}", text)
    text = re.sub(r"(?<![\w\\])[(\[]\s*([0-9][0-9A-F]*)\s*[)\]]\s*(?=_)", r"\1", text)
    return _BASE.sub(lambda match: f"_{{{re.sub(_NO_BASE, '', match[1])}}}", text)


def _braced_frac(match: re.Match[str]) -> str:
    second = match.group(2)
    return rf"\frac{{{match.group(1)}}}" + (second if second == "{" else f"{{{second}}}")


def _strip_ends(text: str) -> str:
    """Removes quotes around the whole text, trailing punctuation and stray backslashes."""
    before = None
    while before != text:
        before = text
        text = text.strip().strip('"`').strip()
        if text.endswith((".", ",", ";", ":", "。")) and not text.endswith("..."):
            text = text[:-1]
        text = text.rstrip("\\")
    return text

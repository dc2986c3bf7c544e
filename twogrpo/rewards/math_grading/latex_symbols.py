r"""Tables of typed mathematics: Unicode signs, synonymous commands, layout, functions, letters."""

from __future__ import annotations

import re


def _pairs(table: str) -> dict[str, str]:
    """Parses entries "many spellings -> one", which a line end or several spaces separate."""
    rows = [entry.split(" -> ") for entry in re.split(r"\s{2,}", table.strip())]
    return {spelling: result for names, result in rows for spelling in names.split()}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _spaced(table: dict[str, str]) -> dict[str, str]:
    r"""Adds a space after a result such as ``\pi``, so that no letter joins its name."""
    return {key: f"{v} " if v[0] == "\\" and v[-1].isalpha() else v for key, v in table.items()}


UNICODE = _spaced(
    _pairs(r"""
    − – — ‐ ﹣ － -> -   × ∗ ⋅ · ∙ • ✕ -> *   ÷ ⁄ ∕ -> /   “ ” -> "   ‘ ’ ′ ＇ -> '   √ -> \sqrt
    ∛ -> \sqrt[3]   ∞ -> \infty   ≤ ⩽ -> <=   ≥ ⩾ -> >=   ≠ -> !=   ≈ -> \approx   ≡ -> \equiv
    ± -> \pm   ∓ -> \mp   ∪ -> \cup   ∩ -> \cap   ∈ -> \in   ∅ -> \emptyset   ° º -> ^\circ
    ℝ -> \mathbb{R}   ℤ -> \mathbb{Z}   ⟨ -> \langle   ⟩ -> \rangle   ⌊ -> \lfloor
    ⌋ -> \rfloor   ⌈ -> \lceil   ⌉ -> \rceil   ∠ -> \angle   ％ -> %   ， 、 -> ,   ； -> ;
    ： -> :   。 -> .   ∀ -> \forall
    """)
)
_LETTERS = "alpha beta gamma delta epsilon theta lambda mu pi rho sigma tau phi omega Delta Sigma"
UNICODE |= dict(zip("αβγδεθλμπρστφωΔΣ", (f"\\{name} " for name in _LETTERS.split()), strict=True))
UNICODE["Ω"] = r"\Omega "
UNICODE |= {
    sign: rf"\frac{{{top}}}{{{bottom}}}"
    for sign, top, bottom in zip("½⅓⅔¼¾⅕⅛", "1121311", "2334458", strict=True)
}
SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ", "0123456789-+n", strict=True))
SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True))

SYNONYMS = {"infin": r"\infty "} | _spaced(
    _pairs(r"""
    cdot times ast bullet -> *   le leq leqslant leqq -> <=   ge geq geqslant geqq -> >=
    ne neq -> !=   to rightarrow Rightarrow implies iff Leftrightarrow -> \to
    thickapprox approxeq simeq sim doteq -> \approx   varnothing O -> \emptyset
    lvert rvert vert mid lVert rVert Vert -> |   degree degrees textdegree -> ^\circ
    dots ldots cdots dotsc dotsb -> \dots   lbrack -> [   rbrack -> ]   lbrace -> \{
    rbrace -> \}   land wedge -> \text{ and }   lor vee -> \text{ or }
    setminus backslash -> \setminus   union bigcup -> \cup   varepsilon -> \epsilon
    varphi -> \phi   vartheta -> \theta   upi -> \pi   div -> /   lt -> <   gt -> >
    colon -> :   percent -> %
    """)
)
SYNONYMS |= _pairs(r"dfrac tfrac cfrac nicefrac sfrac -> \frac   dbinom tbinom -> \binom")

LAYOUT = _words("""
    left right middle big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr
    displaystyle textstyle scriptstyle limits nolimits nonumber noindent
    quad qquad hfill hspace vspace thinspace enspace space phantom
    rm bf it mathrm mathbf mathit mathsf mathtt mathcal mathscr boldsymbol bm
    text textnormal operatorname emph underline ensuremath boxed fbox cancel
    overrightarrow vec hat widehat
    """)
FUNCTIONS = _words("""
    sin cos tan cot sec csc sinh cosh tanh coth sech csch
    arcsin arccos arctan arccot arcsec arccsc arcsinh arccosh arctanh asin acos atan asinh acosh
    atanh ln log lg exp sqrt cbrt abs floor ceil max min gcd lcm sgn det Re Im arg
    """)
GREEK = _words("""
    alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau
    upsilon phi chi psi omega ell hbar nabla Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega
    """)

r"""Tables of typed mathematics: Unicode signs, synonymous commands, layout, functions, letters."""

from __future__ import annotations


def _pairs(table: str) -> dict[str, str]:
    """Parses lines of the form "many spellings -> one"."""
    rows = [line.split("->") for line in table.strip().splitlines()]
    return {spelling: result.strip() for names, result in rows for spelling in names.split()}


def _spaced(table: dict[str, str]) -> dict[str, str]:
    r"""Adds a space after a result such as ``\pi``, so that no letter joins its name."""
    return {key: f"{v} " if v[0] == "\\" and v[-1].isalpha() else v for key, v in table.items()}


UNICODE = _spaced(
    _pairs(r"""
    − – — ‐ ﹣ － -> -
    × ∗ ⋅ · ∙ • ✕ -> *
    ÷ ⁄ ∕ -> /
    “ ” -> "
    ‘ ’ ′ ＇ -> '
    √ -> \sqrt
    ∛ -> \sqrt[3]
    ∞ -> \infty
    ≤ ⩽ -> <=
    ≥ ⩾ -> >=
    ≠ -> !=
    ≈ -> \approx
    ≡ -> \equiv
    ± -> \pm
    ∓ -> \mp
    ∪ -> \cup
    ∩ -> \cap
    ∈ -> \in
    ∅ -> \emptyset
    ° º -> ^\circ
    ℝ -> \mathbb{R}
    ℤ -> \mathbb{Z}
    ⟨ -> \langle
    ⟩ -> \rangle
    ⌊ -> \lfloor
    ⌋ -> \rfloor
    ⌈ -> \lceil
    ⌉ -> \rceil
    ∠ -> \angle
    ％ -> %
    ， 、 -> ,
    ； -> ;
    ： -> :
    。 -> .
    ½ -> \frac{1}{2}
    ⅓ -> \frac{1}{3}
    ⅔ -> \frac{2}{3}
    ¼ -> \frac{1}{4}
    ¾ -> \frac{3}{4}
    ⅕ -> \frac{1}{5}
    ⅛ -> \frac{1}{8}
    α -> \alpha
    β -> \beta
    γ -> \gamma
    δ -> \delta
    ε -> \epsilon
    θ -> \theta
    λ -> \lambda
    μ -> \mu
    π -> \pi
    ρ -> \rho
    σ -> \sigma
    τ -> \tau
    φ -> \phi
    ω -> \omega
    Δ -> \Delta
    Σ -> \Sigma
    Ω -> \Omega
    """)
)
SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ", "0123456789-+n", strict=True))
SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True))

SYNONYMS = {"infin": r"\infty "} | _spaced(
    _pairs(r"""
    cdot times ast bullet -> *
    le leq leqslant leqq -> <=
    ge geq geqslant geqq -> >=
    ne neq -> !=
    to rightarrow Rightarrow implies iff Leftrightarrow -> \to
    thickapprox approxeq simeq sim doteq -> \approx
    varnothing O -> \emptyset
    lvert rvert vert mid lVert rVert Vert -> |
    degree degrees textdegree -> ^\circ
    dots ldots cdots dotsc dotsb -> \dots
    lbrack -> [
    rbrack -> ]
    lbrace -> \{
    rbrace -> \}
    land wedge -> \text{ and }
    lor vee -> \text{ or }
    setminus backslash -> \setminus
    union bigcup -> \cup
    varepsilon -> \epsilon
    varphi -> \phi
    vartheta -> \theta
    upi -> \pi
    div -> /
    lt -> <
    gt -> >
    colon -> :
    percent -> %
    """)
)
SYNONYMS |= _pairs(r"""
    dfrac tfrac cfrac nicefrac sfrac -> \frac
    dbinom tbinom -> \binom
    """)

LAYOUT = frozenset(
    _pairs("""
    left right middle big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr -> size
    displaystyle textstyle scriptstyle limits nolimits nonumber noindent -> style
    quad qquad hfill hspace vspace thinspace enspace space phantom -> space
    rm bf it mathrm mathbf mathit mathsf mathtt mathcal mathscr boldsymbol bm -> font
    text textnormal operatorname emph underline ensuremath boxed fbox cancel -> wrapping
    overrightarrow vec hat widehat -> accent
    """)
)

FUNCTIONS = frozenset(
    _pairs("""
    sin cos tan cot sec csc sinh cosh tanh coth sech csch -> angle
    arcsin arccos arctan arccot arcsec arccsc arcsinh arccosh arctanh -> inverse
    asin acos atan asinh acosh atanh -> inverse
    ln log lg exp sqrt cbrt abs floor ceil max min gcd lcm sgn det Re Im arg -> other
    """)
)

GREEK = frozenset(
    _pairs("""
    alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau -> small
    upsilon phi chi psi omega ell hbar nabla -> small
    Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega -> capital
    """)
)

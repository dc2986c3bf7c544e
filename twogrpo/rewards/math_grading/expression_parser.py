r"""A small parser of LaTeX and calculator notation: text in, a tree of tuples out.

It covers numbers, roots, powers, functions, symbols and absolute values, and raises `ParseError`
for everything else. Unlike a computer algebra system it evaluates nothing: ``10^{10^{10}}`` costs
as much as ``2^3``. A tree is (operation, operand, …).
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from twogrpo.rewards.math_grading.latex_symbols import FUNCTIONS, GREEK
from twogrpo.rewards.math_grading.lexer import ParseError, Tokens, number_of, repeating_decimal

Tree = tuple[Any, ...]
MAX_DEPTH = 40


def parse(text: str) -> Tree:
    r"""Returns the tree of an expression.

    >>> parse(r"2x^{3}")
    ('*', ('number', Fraction(2, 1)), ('^', ('symbol', 'x'), ('number', Fraction(3, 1))))
    """
    return _Parser(text).whole()


class _Parser(Tokens):
    """A recursive descent parser with one method per level of precedence, weakest first."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0

    def whole(self) -> Tree:
        tree = self.sum()
        if self.index < len(self.tokens):
            raise ParseError(f"{self.peek()[1]!r} left over")
        return tree

    def sum(self) -> Tree:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ParseError(f"nested more than {MAX_DEPTH} deep")
        tree = self.product()
        while self.peek() in (("sign", "+"), ("sign", "-")):
            sign = self.peek()[1]
            self.index += 1
            tree = (sign, tree, self.product())
        self.depth -= 1
        return tree

    def product(self) -> Tree:
        tree = self.signed()
        while True:
            if self.accept("*"):
                tree = ("*", tree, self.signed())
            elif self.accept("/"):
                tree = ("/", tree, self.signed())
            elif self.starts_factor():
                tree = ("*", tree, self.power())
            else:
                return tree

    def signed(self) -> Tree:
        negative = False
        while self.peek() in (("sign", "+"), ("sign", "-")):
            negative ^= self.peek()[1] == "-"
            self.index += 1
        tree = self.power()
        return ("negative", tree) if negative else tree

    def power(self) -> Tree:
        tree = self.postfix(self.atom())
        if self.accept("^"):
            tree = self.postfix(("^", tree, self.argument(signed=True)))
        return tree

    def postfix(self, tree: Tree) -> Tree:
        while True:
            if self.accept("!!"):
                if self.peek() in (("sign", "!"), ("sign", "!!")):
                    raise ParseError("more than two factorial signs")
                tree = ("double_factorial", tree)
            elif self.accept("!"):
                tree = ("factorial", tree)
            elif self.accept("%"):
                tree = ("/", tree, ("number", Fraction(100)))
            elif self.peek() == ("command", "deg"):
                self.index += 1
                tree = ("degrees", tree)
            else:
                return tree

    def starts_factor(self) -> bool:
        kind, text = self.peek()
        if kind == "sign":
            if text != "|":
                return text in "({["
            # A bar opens an absolute value if, with it, an even number of bars is left.
            return sum(token[:2] == (kind, text) for token in self.tokens[self.index :]) % 2 == 0
        after_number = self.peek(-1)[0] in ("number", "repeating")
        if kind == "number" and after_number and self.peek(-2) != ("sign", "^"):
            raise ParseError("two numbers side by side")
        return kind != "end" and not (kind == "command" and text in _NOT_FACTORS)

    def atom(self) -> Tree:
        kind, text = self.peek()
        self.index += 1
        if kind == "number":
            return self.numeral(text)
        if kind == "repeating":
            return ("number", repeating_decimal(text))
        if kind == "letter":
            return self.symbol(text)
        if kind in ("name", "command"):
            return self.command(text)
        if kind == "sign" and text in _BRACKETS:
            tree = self.sum()
            self.expect(_BRACKETS[text])
            return ("abs", tree) if text == "|" else tree
        raise ParseError(f"{text or 'the end'!r} where a value should stand")

    def numeral(self, text: str) -> Tree:
        """Parses a number, a mixed number, or a number with a base ("204_5")."""
        value = number_of(text)
        if value is None:
            raise ParseError(f"number {text!r}")
        if self.accept("_"):
            return self.in_base(text)
        if value.denominator == 1 and text.isdigit() and (part := self.fraction_ahead()):
            value += part
        return ("number", value)

    def fraction_ahead(self) -> Fraction | None:
        r"""Consumes the proper fraction after an integer: ``2\frac{1}{3}``, ``1 1/2``."""
        kinds = [self.peek(i) for i in range(7)]
        if kinds[0] == ("command", "frac") and [k for _, k in kinds[1:7:3]] == ["{", "{"]:
            if kinds[3][1] != "}" or kinds[6][1] != "}":
                return None
            top, bottom, length = kinds[2], kinds[5], 7
        elif kinds[0][0] == "number" and kinds[1] == ("sign", "/"):
            if not self.tokens[self.index][2]:
                return None
            top, bottom, length = kinds[0], kinds[2], 3
        else:
            return None
        if not (top[1].isdigit() and bottom[1].isdigit() and 0 <= int(top[1]) < int(bottom[1])):
            return None
        self.index += length
        return Fraction(int(top[1]), int(bottom[1]))

    def in_base(self, digits: str) -> Tree:
        text = self.subscript()
        base = _BASE_WORDS.get(text.strip().lower(), text)
        if not base.isdigit():
            raise ParseError(f"base {text!r}")
        if base == "10":
            return ("number", Fraction(digits))
        if int(base) < 2 or not all(digit in "0123456789"[: int(base)] for digit in digits):
            raise ParseError(f"{digits} in base {base}")
        return ("*", ("number", Fraction(digits)), ("symbol", f"base {base}"))

    def symbol(self, name: str) -> Tree:
        if self.accept("_"):
            name += "_" + self.subscript()
        if [self.peek(i)[1] for i in range(3)] == ["(", "0", ")"]:
            self.index += 3  # the value of a function at 0, as nobody multiplies by 0
            return ("symbol", f"{name}(0)")
        return (name,) if name in ("e", "i") else ("symbol", name)

    def argument(self, *, signed: bool = False) -> Tree:
        """Parses a TeX argument: a group in braces or one token (with its sign if `signed`)."""
        if self.accept("{"):
            tree = self.sum()
            self.expect("}")
            return tree
        if signed:
            negative = self.accept("-")
            tree = self.postfix(self.atom())
            if self.accept("^"):
                tree = ("^", tree, self.argument(signed=True))
            return ("negative", tree) if negative else tree
        return self.atom()

    def command(self, name: str) -> Tree:
        if name in FUNCTIONS and name != "sqrt":
            return self.function(name)
        if name in ("frac", "binom"):
            return ("/" if name == "frac" else "binomial", self.argument(), self.argument())
        if name == "sqrt":
            return self.root()
        if name in ("lfloor", "lceil"):
            tree = self.sum()
            if self.peek() != ("command", "r" + name[1:]):
                raise ParseError(f"{name} without an end")
            self.index += 1
            return (name[1:], tree)
        if name in ("pi", "infty"):
            return (name,)
        if name in GREEK:
            return self.symbol(name)
        if name in ("overline", "bar", "angle", "triangle", "dot", "ddot", "tilde"):
            return self.symbol(f"{name} {self.subscript()}")
        raise ParseError(f"command {name!r}")

    def root(self) -> Tree:
        degree: Tree = ("number", Fraction(2))
        if self.accept("["):
            degree = self.sum()
            self.expect("]")
        if self.accept("("):
            tree = self.sum()
            self.expect(")")
        else:
            tree = self.argument()
        return ("root", tree, degree)

    def function(self, name: str) -> Tree:
        base = exponent = None
        for _ in range(2):
            if name == "log" and base is None and self.accept("_"):
                base = self.argument()
            elif exponent is None and self.accept("^"):
                exponent = self.argument(signed=True)
        arguments = self.function_arguments()
        if exponent == ("negative", ("number", Fraction(1))) and "arc" + name in FUNCTIONS:
            name, exponent = "arc" + name, None
        tree: Tree = ("function", name, *arguments, *([base] if base else []))
        return ("^", tree, exponent) if exponent else tree

    def function_arguments(self) -> list[Tree]:
        """Parses what a function is applied to: a bracket, or factors up to the next operator."""
        for opening, closing in (("(", ")"), ("{", "}"), ("[", "]")):
            if self.accept(opening):
                arguments = [self.sum()]
                while self.accept(","):
                    arguments.append(self.sum())
                self.expect(closing)
                return arguments
        tree = self.signed()
        while self.starts_factor() and self.peek() != ("sign", "("):
            kind, text = self.peek()
            if kind in ("name", "command") and text in FUNCTIONS and text != "sqrt":
                break
            tree = ("*", tree, self.power())
        return [tree]


_BRACKETS = {"(": ")", "[": "]", "{": "}", "|": "|"}
_NOT_FACTORS = frozenset({"rfloor", "rceil", "deg"})
_BASE_WORDS = {"two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7"}
_BASE_WORDS |= {"eight": "8", "nine": "9", "ten": "10"}

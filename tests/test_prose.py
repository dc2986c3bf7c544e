"""A docstring is a sentence or a noun phrase with its article: it never begins with a fragment."""

import ast

import pytest

from tests.conftest import ROOT

FRAGMENTS = ("Of", "As", "That")
SOURCES = [p for room in ("twogrpo", "analysis", "benchmarks") for p in (ROOT / room).rglob("*.py")]


@pytest.mark.parametrize("path", sorted(SOURCES), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_docstring_begins_with_a_fragment(path):
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)]
    words = [(ast.get_docstring(node) or "x").split()[0] for node in nodes]
    assert not [word for word in words if word in FRAGMENTS]

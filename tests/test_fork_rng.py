"""Tests build their models on a CPU, so none of them forks the random state of GPUs."""

import ast

import pytest

from tests.conftest import ROOT, tiny_model


def test_every_fork_of_the_random_state_names_its_devices():
    """With two visible GPUs and none named, torch warns, and warnings are errors here."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("fork_rng")
        and not node.args and not node.keywords
    ]  # fmt: skip
    assert found == []


def test_a_tiny_model_is_built_beside_two_gpus(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert tiny_model().num_parameters() > 0

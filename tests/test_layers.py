"""The rules of the house that files must keep: imports point down, and there is no lumber room."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import ROOT

FLOORS = {
    "twogrpo.core": 0,
    "twogrpo.config": 1,
    "twogrpo.checks": 1,
    "twogrpo.clock": 1,
    "twogrpo.faults": 1,
    "twogrpo.plain_text": 1,
    "twogrpo.progress": 1,
    "twogrpo.records": 1,
    "twogrpo.script_configs": 1,
    "twogrpo.tracking": 1,
    "twogrpo.wandb_mirror": 1,
    "twogrpo.data": 2,
    "twogrpo.rewards": 2,
    "twogrpo.engines": 3,
    "twogrpo": 4,  # every other module: the loop and what it is made of
    "scripts": 5,
}
# The mathematics knows tensors and numbers only.
FOREIGN_TO_CORE = {"torch.distributed", "vllm", "hydra", "omegaconf", "wandb", "os", "pathlib"}
FOREIGN_TO_CORE |= {"transformers", "logging", "io", "json", "shutil", "subprocess", "tempfile"}

SOURCES = sorted(
    path for room in ("twogrpo", "analysis", "scripts") for path in (ROOT / room).rglob("*.py")
)
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in SOURCES
}


def imports(source: str) -> Iterator[str]:
    """Every module that the source imports, lazily too; `a.b` for `from a import b`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import hides where it points"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules_imported(path: Path) -> set[str]:
    """The imports that are modules of this repository."""
    found = set()
    for name in imports(path.read_text()):
        parent = name.rpartition(".")[0]
        found |= {candidate for candidate in (name, parent) if candidate in MODULES}
    return {name for name in found if MODULES[name].name != "__init__.py"}


def floor(module: str) -> int:
    while module not in FLOORS:
        module = module.rpartition(".")[0]
    return FLOORS[module]


def test_imports_finds_lazy_conditional_and_from_imports():
    source = "import a.b\ndef f():\n    if x:\n        from c.d import e, g\n"
    assert list(imports(source)) == ["a.b", "c.d.e", "c.d.g"]


def test_floor_is_that_of_the_innermost_room():
    assert floor("twogrpo.core.advantages") == 0
    assert floor("twogrpo.engines.policy") == 3
    assert floor("twogrpo.train") == 4


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module):
    """analysis/ reads records: of the package it imports twogrpo.core alone; nobody imports it."""
    for imported in modules_imported(MODULES[module]):
        if module.startswith("analysis"):
            assert imported.startswith(("analysis", "twogrpo.core.")), imported
        elif imported.startswith("analysis"):
            assert module.startswith("scripts"), imported
        else:
            assert floor(imported) <= floor(module), imported


def test_core_imports_core_only():
    for module, path in MODULES.items():
        if module.startswith("twogrpo.core."):
            assert all(name.startswith("twogrpo.core.") for name in modules_imported(path)), module


@pytest.mark.parametrize("path", sorted((ROOT / "twogrpo/core").glob("*.py")), ids=lambda p: p.stem)
def test_core_knows_neither_files_nor_machines_nor_configuration(path):
    for name in imports(path.read_text()):
        prefixes = {name.rsplit(".", cut)[0] for cut in range(name.count(".") + 1)}
        assert not prefixes & FOREIGN_TO_CORE, name


def test_core_opens_no_file_and_prints_nothing():
    for path in (ROOT / "twogrpo/core").glob("*.py"):
        calls = [
            node.func
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call)
        ]
        names = {call.id for call in calls if isinstance(call, ast.Name)}
        assert not names & {"open", "print", "exec", "eval", "input"}, path


def test_imports_have_no_cycle():
    order = TopologicalSorter({name: modules_imported(path) for name, path in MODULES.items()})
    assert len(list(order.static_order())) == len(MODULES)  # raises CycleError


def test_init_files_are_empty():
    for path in SOURCES:
        if path.name == "__init__.py":
            assert path.read_text() == "", path


def test_there_is_no_lumber_room():
    assert not [
        path for path in SOURCES if path.stem in ("utils", "util", "helpers", "misc", "common")
    ]


def test_every_file_says_what_it_is():
    for path in SOURCES:
        if path.name != "__init__.py":
            assert ast.get_docstring(ast.parse(path.read_text())), path

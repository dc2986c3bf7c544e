"""The rules of the house that files must keep: imports point down, and there is no lumber room."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import ROOT

# The package from the ground up: a folder (or a loose file) imports only from lower floors and from
# itself. Folders on one line stand side by side and do not import each other.
FLOORS = (
    ("core", "types", "errors"),
    ("config",),
    ("run_record", "distributed", "data", "rewards"),
    ("models",),
    ("rollout", "policy"),
    ("evaluation", "preflight"),
    ("training",),
    ("reproduce",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
MAX_LOOSE_FILES = 4
# What analysis/ may read: the mathematics, and the run record with the errors that it raises.
READ_BY_ANALYSIS = ("twogrpo.core.", "twogrpo.run_record.", "twogrpo.errors")
# The mathematics knows tensors and numbers only.
FOREIGN_TO_CORE = {"torch.distributed", "vllm", "hydra", "omegaconf", "wandb", "os", "pathlib"}
FOREIGN_TO_CORE |= {"transformers", "logging", "io", "json", "shutil", "subprocess", "tempfile"}
# The run record is read where nothing is trained; its mirror alone opens W&B.
FOREIGN_TO_RUN_RECORD = {"torch", "hydra", "omegaconf", "transformers", "vllm", "wandb"}

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


def room(module: str) -> str:
    """The folder of the package that the module lies in, or the loose file that it is."""
    return module.split(".")[1]


def test_imports_finds_lazy_conditional_and_from_imports():
    source = "import a.b\ndef f():\n    if x:\n        from c.d import e, g\n"
    assert list(imports(source)) == ["a.b", "c.d.e", "c.d.g"]


def test_every_room_has_a_floor_and_few_files_lie_loose():
    rooms = {path.stem for path in (ROOT / "twogrpo").iterdir()} - {"__init__", "__pycache__"}
    assert rooms == set(FLOOR)
    loose = [path for path in (ROOT / "twogrpo").glob("*.py") if path.name != "__init__.py"]
    assert len(loose) <= MAX_LOOSE_FILES, loose


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("twogrpo.")])
def test_imports_point_down(module):
    for imported in modules_imported(MODULES[module]):
        if room(imported) != room(module):
            assert imported.startswith("twogrpo."), imported
            assert FLOOR[room(imported)] < FLOOR[room(module)], imported


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("analysis")])
def test_analysis_reads_records_and_knows_the_mathematics(module):
    for imported in modules_imported(MODULES[module]):
        assert imported.startswith(("analysis", *READ_BY_ANALYSIS)), imported


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


@pytest.mark.parametrize(
    "path", sorted((ROOT / "twogrpo/run_record").glob("*.py")), ids=lambda p: p.stem
)
def test_run_record_imports_no_library_that_trains(path):
    found = {name.split(".")[0] for name in imports(path.read_text())} & FOREIGN_TO_RUN_RECORD
    assert found <= ({"wandb"} if path.stem == "wandb_mirror" else set())


def test_importing_the_run_record_loads_no_library_that_trains():
    rooms = [name for name in MODULES if name.startswith("twogrpo.run_record.")]
    program = f"import sys, {', '.join(rooms)}; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not set(result.stdout.split()) & FOREIGN_TO_RUN_RECORD


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

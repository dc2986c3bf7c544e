"""README is a page; every file that it and docs/ name exists, every command composes."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from benchmarks.throughput.config import BenchmarkConfig
from tests.conftest import ROOT, compose_config
from twogrpo.config.schema import Config, parse
from twogrpo.config.script_schemas import EvaluateConfig, PrepareDataConfig
from twogrpo.preflight.preflight import PreflightConfig
from twogrpo.reproduce.plan import ReproduceConfig

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ROOMS = "twogrpo|analysis|benchmarks|scripts|tests|conf|docs|assets"
MAX_WORDS = 1_800
SCHEMAS: dict[str, Any] = {
    "train": Config,
    "evaluate": EvaluateConfig,
    "prepare_data": PrepareDataConfig,
    "preflight": PreflightConfig,
    "benchmark": BenchmarkConfig,
    "reproduce": ReproduceConfig,
}


def commands() -> list[str]:
    """What pages tell to type: lines of code blocks, continued ones joined, and inline code."""
    text = "\n".join(page.read_text() for page in PAGES)
    blocks = re.findall(r"^```\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```\n.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    inline = [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)]
    lines = "".join(blocks).replace("\\\n", " ").splitlines() + inline
    typed = {line.partition("  #")[0].strip() for line in lines}
    return sorted(line for line in typed if re.match(r"(make|python|torchrun) ", line))


def test_readme_is_a_page():
    assert len((ROOT / "README.md").read_text().split()) <= MAX_WORDS


def test_every_test_in_the_table_of_promises_exists():
    rows = re.findall(r"^\| .* \| (.*) \|$", (ROOT / "docs/reliability.md").read_text(), flags=re.M)
    named = [re.findall(r"`([^`]+\.py)`", row) for row in rows[1:]]
    assert len(named) > 20 and all(named)
    assert not [name for row in named for name in row if not (ROOT / "tests" / name).is_file()]


def test_every_path_in_readme_and_docs_exists():
    text = "\n".join(page.read_text() for page in PAGES)
    paths = set(re.findall(rf"(?<![\w/])((?:{ROOMS})/[\w./-]*[\w/])", text))
    assert len(paths) > 30
    # The table of promises names tests by their place below tests/.
    assert not [p for p in paths if not (ROOT / p).exists() and not (ROOT / "tests" / p).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_to_a_file(page):
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    assert not [link for link in links if not (page.parent / link).exists()]


@pytest.mark.parametrize("command", [line for line in commands() if line.startswith("make ")])
def test_every_make_target_exists(command):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    words = [word for word in shlex.split(command)[1:] if "=" not in word and "/" not in word]
    assert set(words) <= set(targets)


@pytest.mark.parametrize(
    "command",
    [line for line in commands() if any(f"scripts/{name}.py" in line for name in SCHEMAS)],
)
def test_every_command_composes(command):
    """Braces are the shell's; what holds `…`, `$` or capitals is the reader's to fill in."""
    words = shlex.split(re.sub(r"<\w+>", "name", command.partition(" | ")[0]))
    script = next(word for word in words if word.startswith("scripts/"))
    overrides = []
    for word in words[words.index(script) + 1 :]:
        if word == "-m" or any(mark in word for mark in "…$") or re.search(r"[A-Z]{3}", word):
            continue
        word = "dry_run=true" if word == "--dry-run" else word
        head, brace, tail = word.partition("{")
        names, _, rest = tail.partition("}")
        overrides += [head + name + rest for name in names.split(",")] if brace else [word]
    if "-m" in words:  # the first value of each key
        overrides = [word if "[" in word else word.partition(",")[0] for word in overrides]
    name = Path(script).stem
    parse(compose_config(*overrides, name=name), SCHEMAS[name])

"""README is a page; every file that it and docs/ name exists, every command composes."""

import re
import shlex

import pytest
from hydra.errors import HydraException

from tests.conftest import ROOT, compose_config
from twogrpo.config.schema import parse
from twogrpo.errors import ConfigError

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ROOMS = "twogrpo|analysis|benchmarks|scripts|tests|conf|docs|assets"
MAX_WORDS = 1_800


def commands() -> list[str]:
    """The lines of code blocks that begin with make or python, continued lines joined."""
    text = "\n".join(page.read_text() for page in PAGES)
    blocks = re.findall(r"^```\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
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


@pytest.mark.parametrize("command", [line for line in commands() if "scripts/train.py" in line])
def test_every_training_command_composes(command):
    """Braces are the shell's, `…` and `<run>` the reader's."""
    words = shlex.split(command)
    words = words[words.index("scripts/train.py") + 1 :]
    overrides = [word for word in words if word != "-m" and "…" not in word]
    for override in overrides:
        head, _, tail = override.partition("{")
        names, _, rest = tail.partition("}")
        values = [head + name + rest for name in names.split(",")] if tail else [override]
        key, _, choices = values[0].partition("=")
        values = [f"{key}={choices.split(',')[0]}"] if "-m" in words else values
        try:
            parse_with(values)
        except (ConfigError, HydraException) as error:
            pytest.fail(f"{override}: {error}")


def parse_with(overrides: list[str]) -> None:
    from twogrpo.config.schema import Config

    parse(compose_config(*overrides), Config)

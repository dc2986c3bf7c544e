"""README and docs: every file that they name exists."""

import re

from tests.conftest import ROOT


def test_every_test_in_the_table_of_promises_exists():
    section = (ROOT / "README.md").read_text().split("## What it promises", 1)[1].split("\n## ")[0]
    rows = re.findall(r"^\| .* \| (.*) \|$", section, flags=re.MULTILINE)[1:]
    named = [re.findall(r"`([^`]+\.py)`", row) for row in rows]
    assert len(named) > 20 and all(named)
    assert not [name for row in named for name in row if not (ROOT / "tests" / name).is_file()]


ROOMS = "twogrpo|analysis|benchmarks|scripts|tests|conf|docs|assets"


def test_every_path_in_readme_and_docs_exists():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    text = "\n".join(page.read_text() for page in pages)
    paths = set(re.findall(rf"(?<![\w/])((?:{ROOMS})/[\w./-]*[\w/])", text))
    assert len(paths) > 30
    # The table of promises names tests by their place below tests/.
    assert not [p for p in paths if not (ROOT / p).exists() and not (ROOT / "tests" / p).exists()]

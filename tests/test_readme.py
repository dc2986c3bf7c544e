"""README's table of promises: every test that it names exists."""

import re

from tests.conftest import ROOT


def test_every_test_in_the_table_of_promises_exists():
    section = (ROOT / "README.md").read_text().split("## What it promises", 1)[1].split("\n## ")[0]
    rows = re.findall(r"^\| .* \| (.*) \|$", section, flags=re.MULTILINE)[1:]
    named = [re.findall(r"`([^`]+\.py)`", row) for row in rows]
    assert len(named) > 20 and all(named)
    assert not [name for row in named for name in row if not (ROOT / "tests" / name).is_file()]

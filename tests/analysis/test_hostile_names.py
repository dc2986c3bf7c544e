"""Hostile names in a record: every output of the analysis only shows them."""

import csv
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from analysis import all as everything
from analysis.exhibits.exhibit import FORMULA_STARTS
from analysis.records.frames import load
from tests.analysis import recorded
from tests.hostile_text import ALL, CLEARS_THE_SCREEN, is_harmless

# Names of such lengths leave no room for a figure's axes, which is said.
pytestmark = pytest.mark.filterwarnings("ignore:constrained_layout not applied")

ARMS = ("base", "grpo_g16", "two_grpo", "two_grpo_rs")


class Tags(HTMLParser):
    """The names of the page's tags and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names |= {tag, *(name for name, _ in attrs)}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of runs all of whose names are hostile."""
    folder = tmp_path_factory.mktemp("hostile")
    for place, arm in enumerate(ARMS):
        text = "".join(ALL[place:] + ALL[:place])
        about = recorded.changed(
            recorded.about(arm, 0),
            config__model__name=f"={CLEARS_THE_SCREEN}<img src=x onerror=alert(1)>",
            config__dataset__name="@\u202e\r\n$\\x{$",
            run_id=f"{arm}{text}",
            commit=f"-{text}",
            hardware={"cpu": text, "num_cores": 2, "system": text},
            versions={"torch": text, text: "1"},
        )
        rows = recorded.rows(arm, 0)
        easy = rows[-1]["evaluation/easy/problem_ids"]
        easy[:] = [f"{text}{number}" for number in range(len(easy))]
        if arm != "base":
            about["config"]["evaluation"]["name"] = "".join(ALL)
        recorded.write(folder / "runs" / arm, about, rows, recorded.pairs(arm, text))
    recorded.write(folder / "runs/cut", {**about, "run_id": "".join(ALL), "status": ALL[0]}, [])
    everything.main(load(str(folder / "runs")), folder / "out", theory="nowhere")
    return folder / "out"


def test_no_file_holds_what_a_terminal_or_an_editor_obeys(out):
    texts = [p for p in out.rglob("*") if p.suffix in (".csv", ".md", ".tex", ".html", ".json")]
    assert len(texts) > 20
    for path in texts:
        assert path.name.isprintable()
        assert is_harmless(path.read_text()), path


def test_no_cell_is_a_formula(out):
    cells = []
    for path in out.rglob("*.csv"):
        with path.open(newline="") as file:
            cells += [cell for row in csv.reader(file) for cell in row]
    assert any(cell.startswith("'=") for cell in cells)
    for cell in cells:
        is_number = re.fullmatch(r"[-+]?[0-9.]+(e[-+]?[0-9]+)?", cell)
        assert not cell.startswith(FORMULA_STARTS) or is_number, cell


def test_no_tag_of_theirs_is_on_the_page(out):
    names = Tags((out / "report.html").read_text()).names
    assert "section" in names and "onerror" not in names
    assert "&lt;img src=x" in (out / "report.html").read_text()
    assert (out / "report.html").read_text().count("<script") <= 1  # the page's own
    for path in out.rglob("*.md"):
        assert "<script" not in path.read_text() and "<img" not in path.read_text(), path


def test_no_link_of_theirs_is_in_a_markdown_page(out):
    pages = {path: path.read_text(encoding="utf-8") for path in out.rglob("*.md")}
    assert any("javascript:" in text for text in pages.values())
    for path, text in pages.items():
        targets = re.findall(r"\](?:\(([^)]*)\)|\[|:)", text)
        assert all(re.fullmatch(r"\w+\.png", target) for target in targets), path


def test_a_refusal_shows_them_harmlessly(tmp_path):
    for arm, code in (("grpo_g16", "one"), ("two_grpo", "".join(ALL))):
        recorded.add(tmp_path / arm, arm, code=code)
    with pytest.raises(ValueError, match="runs differ in their code") as refusal:
        load(str(tmp_path))
    assert is_harmless(str(refusal.value))

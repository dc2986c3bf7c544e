"""The report in Chromium, where there is one: sorting, widths, folded pairs, hostile text."""

import html
import json
import re
import shutil
import subprocess
from typing import Any

import pytest

from analysis.exhibits.exhibit import write
from analysis.paper import claims, table_1
from analysis.records.frames import load
from analysis.report import report
from tests.analysis import recorded
from tests.hostile_text import BIDI, CLEARS_THE_SCREEN, is_harmless

BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or ""
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-sync", "--disable-background-networking", "--disable-component-update"),
    *("--virtual-time-budget=20000", "--window-size=1800,1000"),
]
ARMS = ("base", "grpo_g16", "two_grpo", "two_grpo_rs")
BENCHMARKS = ["in_distribution", "longer", "parenthesised", "multiplication", "big_digits"]
OBEYED = "</td></table></details><script>hacked=1</script><img src=x onerror='hacked=1'>"
HOSTILE = OBEYED + CLEARS_THE_SCREEN + BIDI
# Runs inside the page, which it tells of to the page around it.
PROBE = """<script>
addEventListener("load", () => {
  const root = document.documentElement, table = document.querySelector("#table_1 .table");
  const head = [...table.querySelectorAll("th")].find(th => th.textContent.startsWith("retained"));
  const column = () => [...table.querySelectorAll("tbody tr")].map(
      row => row.cells[head.cellIndex].textContent);
  const orders = [0, 1].map(() => {
    head.querySelector("button").click();
    return [head.getAttribute("aria-sort"), column()];
  });
  const folded = [...document.querySelectorAll("details")].map(details => !details.open);
  document.querySelectorAll("details").forEach(details => details.open = true);
  const boxes = [...document.querySelectorAll(".table")];
  parent.postMessage({
    width: innerWidth, page: [root.scrollWidth, root.clientWidth], orders, folded,
    table_1: [table.scrollWidth, table.clientWidth],
    inside: boxes.every(box => box.getBoundingClientRect().right <= root.clientWidth),
    hacked: typeof hacked,
    texts: [...document.querySelectorAll("td.text")].map(cell => cell.textContent),
  }, "*");
});
</script>"""
AROUND = """<!doctype html><meta charset="utf-8"><pre id="told"></pre><script>
const told = [];
addEventListener("message", event => {
  told.push(event.data);
  document.getElementById("told").textContent = JSON.stringify(told);
});
</script><iframe src="page.html" style="width:1300px;height:900px;border:0"></iframe>
<iframe src="page.html" style="width:390px;height:900px;border:0"></iframe>"""

pytestmark = pytest.mark.skipif(not BROWSER, reason="needs Chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    """What the report of runs with hostile pairs says of itself, by the width of its window."""
    folder = tmp_path_factory.mktemp("browser")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recorded, "BENCHMARKS", BENCHMARKS)  # as wide a Table 1 as the real one
        for arm in ARMS:
            about, rows = recorded.about(arm, 0), recorded.rows(arm, 0)
            recorded.write(folder / "runs" / arm, about, rows, recorded.pairs(arm, HOSTILE))
    runs, out = load(str(folder / "runs")), folder / "out"
    exhibits = [table_1.build(runs), claims.build(runs, theory="nowhere")]
    for exhibit in exhibits:
        write(exhibit, out)
    report.write(runs, exhibits, out, theory="nowhere")
    page = (out / "report.html").read_text().replace("</body>", f"{PROBE}</body>")
    (folder / "page.html").write_text(page)
    (folder / "around.html").write_text(AROUND)
    command = [BROWSER, *FLAGS, f"--user-data-dir={folder / 'profile'}", "--dump-dom"]
    command.append((folder / "around.html").as_uri())
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    [text] = re.findall(r'<pre id="told">(.*?)</pre>', done.stdout, flags=re.DOTALL)
    return {page["width"]: page for page in json.loads(html.unescape(text))}


def test_a_click_on_a_column_sorts_its_table_and_a_second_click_reverses_it(told) -> None:
    (rising, ascending), (falling, descending) = told[1300]["orders"]
    assert (rising, falling) == ("ascending", "descending")
    numbers = [float(cell.split()[0]) for cell in ascending]
    assert len(numbers) == len(ARMS) and numbers == sorted(numbers) and numbers[-1] > numbers[0]
    assert sorted(descending) == sorted(ascending)
    assert [float(cell.split()[0]) for cell in descending] == numbers[::-1]


def test_the_page_never_scrolls_sideways_and_table_1_does_not_on_a_desk(told) -> None:
    assert set(told) == {1300, 390}
    for page in told.values():
        assert page["page"][0] <= page["page"][1] and page["inside"]
    assert told[1300]["table_1"][0] <= told[1300]["table_1"][1]
    assert told[390]["table_1"][0] > told[390]["table_1"][1]  # in its own box


def test_pairs_are_folded_and_hostile_text_in_them_is_text(told) -> None:
    for page in told.values():
        assert page["folded"] == [True] * 3
        assert page["hacked"] == "undefined"
        assert len(page["texts"]) == 3 * 6 * 3  # arms, pairs, prompt and two responses
        assert all(OBEYED in text and is_harmless(text) for text in page["texts"])

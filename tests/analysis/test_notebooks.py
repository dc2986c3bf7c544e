"""Every notebook runs from top to bottom on recorded runs, and is stored without outputs."""

import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "analysis").glob("*.ipynb"))
BRIEF = "dataset.num_prompts=128 training.epochs=3 evaluation.problems_per_benchmark=4"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stripped_and_cells_short(path: Path) -> None:
    cells = json.loads(path.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code and cells[0]["cell_type"] == "markdown"
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
    assert all(len(cell["source"]) <= 12 for cell in code)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_from_top_to_bottom(
    path: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWOGRPO_RUNS", str(folder))
    monkeypatch.setenv("TWOGRPO_OUT", str(tmp_path))  # first_comparison trains
    monkeypatch.setenv("TWOGRPO_ARGS", BRIEF)
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=240, resources={"metadata": {"path": path.parent}})
    client.execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    pages = [output.get("data", {}).get("text/html", "") for output in shown]
    assert any("image/png" in page for page in pages)
    if path.stem == "first_comparison":
        assert any("2-GRPO" in page and "<th>wrong</th>" in page for page in pages)

"""Recorded runs that all tests of the analysis share."""

from pathlib import Path

import pytest

from analysis.records.frames import Runs, load
from tests.analysis import recorded


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded.write_arms(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def runs(folder: Path) -> Runs:
    return load(str(folder))

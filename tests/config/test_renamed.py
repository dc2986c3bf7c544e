"""Renamed and removed keys are refused with what became of them."""

from tests.conftest import CONF
from twogrpo.config.renamed import RENAMED, explain


def test_a_key_and_its_dotted_parts_are_explained():
    assert explain("work") == "work was renamed to workload"
    assert explain("device.memory_gib") == "device was renamed to planned_device"
    assert explain("sweep").startswith("sweep was removed: ")
    assert explain("hardware.device") is None and explain("sevices") is None


def test_new_names_exist():
    text = "".join(path.read_text() for path in CONF.glob("*.yaml"))
    for name in (name for name in RENAMED.values() if " " not in name):
        assert f"{name}: " in text

"""Renamed and removed keys are refused with what became of them."""

from omegaconf import OmegaConf

from tests.conftest import compose_config
from twogrpo.config.renamed import RENAMED, explain


def test_a_key_and_its_dotted_parts_are_explained():
    assert explain("work").startswith("work was renamed to workload")
    assert explain("device.memory_gib").startswith("device was renamed to planned_device")
    assert explain("sweep").startswith("sweep was removed: ")
    assert explain("hardware.device") is None and explain("sevices") is None


def test_new_names_exist():
    configs = [compose_config(name=name) for name in ("train", "preflight", "benchmark")]
    for new in RENAMED.values():
        assert any(OmegaConf.select(config, new) is not None for config in configs), new

"""Times the phases of training steps after a warm-up: a table, then one line of JSON.

python scripts/benchmark.py experiment=smollm2/two_grpo
python scripts/benchmark.py sweep=group_size           a scaling curve with its exponents
python scripts/benchmark.py calibrate=machine.json     for scripts/preflight.py calibration=…
python scripts/benchmark.py probe=probe.json           for scripts/preflight.py probe=…
"""

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from benchmarks.throughput.config import BenchmarkConfig
from twogrpo.config import cli
from twogrpo.config.schema import parse


@hydra.main(version_base="1.3", config_path="../conf", config_name="benchmark")
@cli.job
def main(cfg: DictConfig) -> None:
    """Composes, measures, tells."""
    config = parse(cfg, BenchmarkConfig)
    if config.sweep is not None:
        from benchmarks.throughput.sweep import sweep

        print(sweep(config, HydraConfig.get().overrides.task))
        return
    if config.probe is not None:
        from benchmarks.throughput.success_rate_probe import probe

        print(probe(config))
        return
    from benchmarks.throughput.benchmark import (
        bench,  # after parsing: torch takes seconds to import
    )

    told = bench(config)
    if told.text:
        print(told.text)


if __name__ == "__main__":
    cli.run(main)

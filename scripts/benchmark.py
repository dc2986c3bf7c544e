"""Times the phases of training steps after a warm-up; prints a table, then one line of JSON.

python scripts/benchmark.py experiment=smollm2/two_grpo
python scripts/benchmark.py calibrate=machine.json     for scripts/preflight.py calibration=…
"""

import hydra
from omegaconf import DictConfig

from benchmarks.throughput.config import BenchmarkConfig
from twogrpo.config import cli
from twogrpo.config.schema import parse


@hydra.main(version_base="1.3", config_path="../conf", config_name="benchmark")
@cli.job
def main(cfg: DictConfig) -> None:
    """Composes, measures, prints."""
    config = parse(cfg, BenchmarkConfig)
    from benchmarks.throughput.benchmark import bench  # after parsing: it imports torch

    output = bench(config)
    if output.text:
        print(output.text)


if __name__ == "__main__":
    cli.run(main)

"""Reproduces the paper's comparison at a scale, from training to tables and figures.

python scripts/reproduce.py                        the built-in comparison, minutes on two cores
python scripts/reproduce.py scale=cpu_full         twice the prompts, five seeds
python scripts/reproduce.py scale=cpu --dry-run    lists the runs and their states
"""

import sys

import hydra
from omegaconf import DictConfig

from twogrpo.config import cli
from twogrpo.config.schema import parse
from twogrpo.reproduce.plan import ReproduceConfig
from twogrpo.reproduce.reproduce import reproduce


@hydra.main(version_base="1.3", config_path="../conf", config_name="reproduce")
@cli.job
def main(cfg: DictConfig) -> None:
    """Composes the configuration, then runs and analyses the experiments."""
    reproduce(parse(cfg, ReproduceConfig))


if __name__ == "__main__":
    sys.argv = ["dry_run=true" if word == "--dry-run" else word for word in sys.argv]
    cli.run(main)

"""Freezes a training set and reports dropped rows and contamination by benchmark problems.

python scripts/prepare_data.py dataset=math dataset.path=math_train.jsonl.gz evaluation.folder=data
"""

import hydra
from omegaconf import DictConfig

from twogrpo.config import cli
from twogrpo.config.schema import parse
from twogrpo.config.script_schemas import PrepareDataConfig


@hydra.main(version_base="1.3", config_path="../conf", config_name="prepare_data")
@cli.job
def main(cfg: DictConfig) -> None:
    """Composes the configuration, prepares the data and prints a summary."""
    config = parse(cfg, PrepareDataConfig)
    from twogrpo.data.snapshot import prepare_data  # after parsing: a slow import

    print(prepare_data(config))


if __name__ == "__main__":
    cli.run(main)

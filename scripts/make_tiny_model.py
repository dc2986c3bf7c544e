"""Makes the initial checkpoint of the built-in experiment (assets/tiny) from conf/tiny_model.yaml.

python scripts/make_tiny_model.py output_dir=/tmp/tiny seed=1
"""

import hydra
from omegaconf import DictConfig

from twogrpo.config import cli
from twogrpo.config.schema import parse


@hydra.main(version_base="1.3", config_path="../conf", config_name="tiny_model")
@cli.job
def main(cfg: DictConfig) -> None:
    """Composes and checks the configuration, then trains the checkpoint."""
    from twogrpo.training import warm_start  # here, because importing torch would slow --help

    warm_start.make(parse(cfg, warm_start.WarmStart))


if __name__ == "__main__":
    cli.run(main)

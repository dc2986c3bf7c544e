"""Downloads or converts a model: `python scripts/prepare_model.py model=smollm2_135m`."""

import hydra
from omegaconf import DictConfig

from twogrpo.config import cli
from twogrpo.config.schema import parse
from twogrpo.config.script_schemas import PrepareModelConfig


@hydra.main(version_base="1.3", config_path="../conf", config_name="prepare_model")
@cli.job
def main(cfg: DictConfig) -> None:
    """Composes the configuration, prepares the model and prints its folder."""
    config = parse(cfg, PrepareModelConfig)
    from twogrpo.models.prepare import prepare_model  # after parsing: torch takes seconds

    print(prepare_model(config.model))


if __name__ == "__main__":
    cli.run(main)

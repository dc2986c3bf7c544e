"""Trains one run, or a sweep with -m.

python scripts/train.py algorithm=two_grpo seed=1
python scripts/train.py -m algorithm.group_size=2,4,8,16 seed=0,1,2
"""

import hydra
from omegaconf import DictConfig

from twogrpo.config import cli, validation
from twogrpo.config.schema import Config, parse
from twogrpo.data.files import input_files
from twogrpo.run_record.record import is_finished


@hydra.main(version_base="1.3", config_path="../conf", config_name="train")
@cli.job
def main(cfg: DictConfig) -> None:
    """Composes and checks the configuration, then trains."""
    config = parse(cfg, Config)
    if is_finished(config, input_files(config)):
        return
    validation.check(config)
    from twogrpo.training import assemble, loop  # torch and transformers take seconds to import

    loop.train(assemble.assemble(config))


if __name__ == "__main__":
    cli.run(main)

"""Takes apart an optimiser step that was not finite, from the folder that the run left.

python scripts/replay.py batch=runs/my-run/bad_batch-000012-1
"""

import hydra
from omegaconf import DictConfig

from twogrpo.config import cli
from twogrpo.config.schema import parse
from twogrpo.config.script_schemas import ReplayConfig


@hydra.main(version_base="1.3", config_path="../conf", config_name="replay")
@cli.job
def main(cfg: DictConfig) -> None:
    """Composes, recomputes, prints."""
    config = parse(cfg, ReplayConfig)
    from twogrpo.training import replay  # after parsing: torch takes seconds to import

    print(replay.report(replay.replay(config)))


if __name__ == "__main__":
    cli.run(main)

"""Evaluates one checkpoint: Mean@n of every benchmark, a run record and an evaluation card.

python scripts/evaluate.py checkpoint=assets/tiny
python scripts/evaluate.py checkpoint=runs/my-run evaluation=math_benchmarks reward=math_answer
"""

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from twogrpo.config import cli
from twogrpo.config.schema import parse
from twogrpo.config.script_schemas import EvaluateConfig


@hydra.main(version_base="1.3", config_path="../conf", config_name="evaluate")
@cli.job
def main(cfg: DictConfig) -> None:
    """Composes and checks the configuration, then evaluates."""
    parse(cfg, EvaluateConfig)
    from twogrpo.evaluation import checkpoint, checkpoint_source

    cfg = checkpoint_source.as_its_run(cfg, typed=HydraConfig.get().overrides.task)
    checkpoint.evaluate_checkpoint(parse(cfg, EvaluateConfig))


if __name__ == "__main__":
    cli.run(main)

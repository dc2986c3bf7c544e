"""Evaluates one checkpoint: Mean@n of every benchmark, a record like a run's, and its card.

python scripts/evaluate.py checkpoint=assets/tiny
python scripts/evaluate.py checkpoint=runs/my-run evaluation=math_benchmarks reward=math_answer
"""

import hydra
from omegaconf import DictConfig

from twogrpo import cli
from twogrpo.config import parse
from twogrpo.script_configs import EvaluateConfig


@hydra.main(version_base="1.3", config_path="../conf", config_name="evaluate")
@cli.job
def main(cfg: DictConfig) -> None:
    """Composes, checks, evaluates."""
    config = parse(cfg, EvaluateConfig)
    from twogrpo import evaluate_checkpoint  # after parsing: torch takes seconds to import

    evaluate_checkpoint.evaluate_checkpoint(config)


if __name__ == "__main__":
    cli.run(main)

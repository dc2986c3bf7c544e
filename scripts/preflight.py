"""Plans a run before it is paid for: batches, memory, hours, dead groups, conflicts. No GPU needed.

python scripts/preflight.py experiment=table1/math_qwen25_math_7b_two_grpo
python scripts/preflight.py check=paper            predicted hours beside the paper's
"""

import json
import sys

import hydra
from hydra import compose
from omegaconf import DictConfig

from twogrpo import cli
from twogrpo.config import parse
from twogrpo.preflight.overview import PreflightConfig, preflight
from twogrpo.preflight.report import as_json, report
from twogrpo.preflight.validation import checked


@hydra.main(version_base="1.3", config_path="../conf", config_name="preflight")
@cli.job
def main(cfg: DictConfig) -> None:
    """Composes, looks, tells; exit code 0 (well), 1 (warnings) or 2 (will fail)."""
    config = parse(cfg, PreflightConfig)
    if config.check is not None:
        sys.stdout.write(
            checked(config, lambda given: parse(compose("preflight", given), PreflightConfig))
        )
        return
    found = preflight(config)
    print(json.dumps(as_json(found)) if found.config.json else report(found))
    sys.exit(found.exit_code)


if __name__ == "__main__":
    cli.run(main)

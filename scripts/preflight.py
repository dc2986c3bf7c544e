"""Checks and plans a run before it starts: batches, memory, hours, conflicts. No GPU needed.

python scripts/preflight.py experiment=table1/math_qwen25_math_7b_two_grpo
"""

import json
import sys
import traceback

import hydra
from omegaconf import DictConfig

from twogrpo.config import cli
from twogrpo.config.schema import parse
from twogrpo.preflight.preflight import PreflightConfig, preflight
from twogrpo.preflight.report import as_json, report

# Python exits with 1 after an exception, but 1 means warnings here (`make` passes it on).
EXIT_UNEXPECTED = 3


@hydra.main(version_base="1.3", config_path="../conf", config_name="preflight")
@cli.job
def main(cfg: DictConfig) -> None:
    """Prints the report; exit code 0 (well), 1 (warnings), 2 (will fail), 3 (our mistake)."""
    found = preflight(parse(cfg, PreflightConfig))
    print(json.dumps(as_json(found)) if found.config.json else report(found))
    sys.exit(found.exit_code)


if __name__ == "__main__":
    try:
        cli.run(main)
    except Exception as error:
        traceback.print_exc()
        raise SystemExit(EXIT_UNEXPECTED) from error

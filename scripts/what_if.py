"""Estimates the effect of smaller groups on your model from saved rollouts, before a full run.

python scripts/train.py training.epochs=1 tracking.save_rollouts=true output_dir=runs/x
python scripts/what_if.py rollouts=runs/x          # counts: zero-variance groups, resampling cost
python scripts/what_if.py rollouts=runs/x gradients=true   # also gradients, initial checkpoint
"""

import sys
from pathlib import Path

from analysis.exhibits.exhibit import guard
from analysis.theory.__main__ import what_if_command


def main() -> None:
    """Prints the table, and writes it and the figure to `out`."""
    with guard():
        exhibit, out = what_if_command(sys.argv[1:])
        print(exhibit.frame.T.to_string(header=False, float_format=lambda x: f"{x:.3f}"))
        print(f"written to {Path(out)}")


if __name__ == "__main__":
    main()

"""Compares every locked package with the known vulnerabilities: all of `make audit`.

The list of them is osv.dev's, asked over the network; nothing of the project is sent but names and
versions. Runs in the environment of requirements/tools.lock and changes nothing in .venv.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

LOCKS = Path(__file__).resolve().parent
UNREACHABLE = ("ConnectionError", "ServiceError", "Timeout", "NameResolutionError")


class AuditError(Exception):
    """What the reader has to know and do, in one line."""


def main() -> None:
    """Ends with exit code 0: none known; 1: some, listed; 2: it could not be found out."""
    program = Path(sys.executable).with_name("pip-audit")
    try:
        found = [audit(program, lock) for lock in locks()]
    except AuditError as error:
        sys.stderr.write(f"audit: {error}\n")
        sys.exit(2)
    sys.exit(0 if all(found) else 1)


def locks() -> list[Path]:
    """The locks but torch_cpu.lock, whose one version torch.lock has as osv.dev spells it."""
    return sorted(lock for lock in LOCKS.glob("*.lock") if lock.name != "torch_cpu.lock")


def audit(program: Path, lock: Path) -> bool:
    """Whether no vulnerability is known in the packages of a lock; prints those that are."""
    command = [str(program), "--vulnerability-service", "osv", "--strict", "--disable-pip"]
    command += ["--no-deps", "--progress-spinner", "off", "-r", str(lock)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    last = (result.stderr.strip().splitlines() or [""])[-1]
    if result.returncode and not result.stdout.strip():
        if any(name in result.stderr for name in UNREACHABLE):
            raise AuditError("osv.dev cannot be reached: it needs the network, try again with it")
        raise AuditError(f"{lock.name} was not audited: {last}")
    print(f"{lock.name}: {last}\n{result.stdout}".strip())
    return result.returncode == 0


if __name__ == "__main__":
    main()

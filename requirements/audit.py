"""Compare every locked package with the known vulnerabilities: all of `make audit`.

The list of them is osv.dev's, asked over the network; nothing of the project is sent but names and
versions. pip-audit lives in an environment of its own and changes nothing in .venv.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOL = "pip-audit==2.10.1"
UNREACHABLE = ("ConnectionError", "ServiceError", "Timeout", "NameResolutionError")


class AuditError(Exception):
    """What the reader has to know and do, in one line."""


def main() -> None:
    """Exit code 0: none known; 1: some, listed; 2: it could not be found out."""
    try:
        found = [audit(tool(ROOT / ".cache/audit"), lock) for lock in locks()]
    except AuditError as error:
        sys.stderr.write(f"audit: {error}\n")
        sys.exit(2)
    sys.exit(0 if all(found) else 1)


def locks() -> list[Path]:
    """The locks; PyTorch, which they leave out, as a list of its own."""
    pins = re.findall(r'"(torch==[^"]+)"', (ROOT / "pyproject.toml").read_text())
    with tempfile.NamedTemporaryFile("w", prefix="torch-", suffix=".txt", delete=False) as file:
        file.write("\n".join(pins) + "\n")
    return [*sorted((ROOT / "requirements").glob("*.lock")), Path(file.name)]


def tool(folder: Path) -> Path:
    """pip-audit, installed on the first call."""
    program = folder / "bin/pip-audit"
    if not program.exists():
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", TOOL]
        if subprocess.run(pip, check=False).returncode:
            raise AuditError(f"{TOOL} cannot be installed: it needs the network, try again with it")
    return program


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

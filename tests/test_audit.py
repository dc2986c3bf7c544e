"""`make audit` on a clean lock, on one that is not, and without a network."""

from pathlib import Path

import pytest

from requirements import audit


def pip_audit(tmp_path: Path, *, code: int, out: str = "", err: str = "") -> Path:
    """A stand-in for the program."""
    program = tmp_path / "pip-audit"
    program.write_text(f"#!/bin/sh\necho -n '{out}'\necho '{err}' >&2\nexit {code}\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(("code", "listed"), [(0, ""), (1, "jinja2 3.1.2 CVE-1")])
def test_known_vulnerabilities_are_listed(code, listed, tmp_path, capsys):
    program = pip_audit(tmp_path, code=code, out=listed, err="Found")
    assert audit.audit(program, tmp_path / "all.lock") is (code == 0)
    assert listed in capsys.readouterr().out


def test_a_missing_network_is_not_taken_for_a_clean_lock(tmp_path, monkeypatch, capsys):
    program = pip_audit(tmp_path, code=1, err="requests.exceptions.ConnectionError: no such host")
    monkeypatch.setattr(audit.sys, "executable", str(program.with_name("python")))
    with pytest.raises(SystemExit) as stopped:
        audit.main()
    assert stopped.value.code == 2
    assert "osv.dev" in capsys.readouterr().err


def test_every_lock_and_pytorch_are_audited():
    names = {path.name for path in audit.locks()}
    assert {"all.lock", "build.lock", "tools.lock", "torch.lock"} <= names
    assert "torch_cpu.lock" not in names  # osv.dev knows the version without +cpu

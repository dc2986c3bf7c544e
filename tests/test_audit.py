"""`make audit`: what it says of a clean lock, of one that is not, and without a network."""

import importlib.util
from pathlib import Path

import pytest

from tests.conftest import ROOT

spec = importlib.util.spec_from_file_location("audit", ROOT / "requirements/audit.py")
assert spec is not None
assert spec.loader is not None
audit = importlib.util.module_from_spec(spec)
spec.loader.exec_module(audit)


def pip_audit(tmp_path: Path, *, code: int, out: str = "", err: str = "") -> Path:
    """A program that stands for it."""
    program = tmp_path / "pip-audit"
    program.write_text(f"#!/bin/sh\necho -n '{out}'\necho '{err}' >&2\nexit {code}\n")
    program.chmod(0o755)
    return program


def test_none_known(tmp_path, capsys):
    program = pip_audit(tmp_path, code=0, err="No known vulnerabilities found")
    assert audit.audit(program, tmp_path / "all.lock")
    assert capsys.readouterr().out == "all.lock: No known vulnerabilities found\n"


def test_some_are_listed(tmp_path, capsys):
    program = pip_audit(tmp_path, code=1, out="jinja2 3.1.2 CVE-1", err="Found 1 known")
    assert not audit.audit(program, tmp_path / "all.lock")
    assert "jinja2 3.1.2 CVE-1" in capsys.readouterr().out


def test_without_a_network_it_is_not_taken_for_clean(tmp_path, monkeypatch, capsys):
    program = pip_audit(tmp_path, code=1, err="requests.exceptions.ConnectionError: no such host")
    monkeypatch.setattr(audit, "tool", lambda _folder: program)
    with pytest.raises(SystemExit) as stopped:
        audit.main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("audit: osv.dev cannot be reached: it needs the")


def test_every_lock_and_pytorch_are_audited():
    names = [path.name for path in audit.locks()]
    assert {"all.lock", "build.lock"} <= set(names)
    assert audit.locks()[-1].read_text().startswith("torch==")

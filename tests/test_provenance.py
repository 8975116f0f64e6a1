"""`treatystance.provenance`: commit, versions, and their hash."""

import hashlib
import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from treatystance.provenance import environment_lock, git_commit, run_facts


def fake_git(monkeypatch: pytest.MonkeyPatch, answers: dict[str, tuple[int, str]]) -> list[Sequence[str]]:
    """Answers to git's subcommands, and the list that its calls will stand in."""
    calls: list[Sequence[str]] = []

    def run(arguments: Sequence[str], **_: Any) -> subprocess.CompletedProcess[str]:
        calls.append(arguments)
        code, output = answers[arguments[3]]
        return subprocess.CompletedProcess(arguments, code, output, "")

    monkeypatch.setattr(subprocess, "run", run)
    return calls


@pytest.mark.parametrize(
    ("status", "wanted"), [("", "abc123"), (" M src/a.py\n", "abc123+changes")], ids=["clean", "changed"]
)
def test_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: str, wanted: str) -> None:
    calls = fake_git(monkeypatch, {"rev-parse": (0, "abc123\n"), "status": (0, status)})
    assert git_commit(tmp_path) == wanted
    assert all(call[:3] == ["git", "-C", str(tmp_path)] for call in calls)


def test_no_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_git(monkeypatch, {"rev-parse": (128, "")})
    assert git_commit(tmp_path) == "unknown"


@pytest.mark.parametrize("error", [FileNotFoundError("git"), subprocess.TimeoutExpired("git", 20)])
def test_no_git(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def run(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(subprocess, "run", run)
    assert git_commit() == "unknown"


def test_environment_lock_is_sorted_and_complete() -> None:
    lines = environment_lock().splitlines()
    assert lines == sorted(set(lines))
    assert f"numpy=={metadata.version('numpy')}" in lines
    assert f"scikit-learn=={metadata.version('scikit-learn')}" in lines
    assert all(line == line.lower() or "+" in line for line in lines)
    assert environment_lock() == environment_lock()


def test_run_facts() -> None:
    facts = run_facts()
    assert facts["python"] == platform.python_version()
    assert facts["lock_sha256"] == hashlib.sha256(environment_lock().encode()).hexdigest()
    assert facts["version_treatystance"] == metadata.version("treatystance")
    assert facts["version_scikit-learn"] == metadata.version("scikit-learn")
    assert facts["git_commit"]

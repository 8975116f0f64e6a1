"""Where a model came from: commit, locked versions, machine-independent facts worth keeping."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from importlib import metadata
from pathlib import Path

__all__ = ["environment_lock", "git_commit", "run_facts"]


def git_commit(folder: Path | None = None) -> str:
    """The commit of the checkout in `folder` (this package's by default), "+changes" if it differs, or "unknown"."""
    where = str(folder or Path(__file__).parent)

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", where, *arguments], capture_output=True, text=True, timeout=20, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    # Installed inside somebody else's checkout, the commit found would be theirs.
    top = git("rev-parse", "--show-toplevel")
    if not commit or (folder is None and top != str(Path(__file__).resolve().parents[2])):
        return "unknown"
    return f"{commit}+changes" if git("status", "--porcelain", "--untracked-files=no") else commit


def environment_lock() -> str:
    """Installed distributions and versions, one "name==version" a line, sorted."""
    lines = {f"{d.metadata['Name'].lower().replace('_', '-')}=={d.version}" for d in metadata.distributions()}
    return "\n".join(sorted(lines)) + "\n"


def run_facts() -> dict[str, str]:
    """Commit, Python, hash of the installed versions, and the versions that a model depends on."""
    facts = {
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "lock_sha256": hashlib.sha256(environment_lock().encode()).hexdigest(),
    }
    for name in ("treatystance", "scikit-learn", "numpy", "scipy"):
        facts[f"version_{name}"] = metadata.version(name)
    return facts

"""How many processor cores there are to use."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cores"]

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def cores() -> int:
    """Cores that this process may use: those it is bound to, or fewer where a container's quota of time says so.

    As joblib.cpu_count (for control groups of version 2), importing which takes longer than scoring a statement.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = map(int, _QUOTA.read_text("ascii").split())
    except (OSError, ValueError):  # not in such a group, or "max": no quota
        return bound
    return max(1, min(bound, -(-quota // period)))

"""`treatystance.cores`: a quota of time counts as fewer cores."""

import os
from pathlib import Path

import pytest

from treatystance import cores


@pytest.mark.parametrize(
    ("quota", "wanted"),
    [("max 100000", 4), ("150000 100000", 2), ("50000 100000", 1), ("900000 100000", 4), ("", 4), (None, 4)],
)
def test_bound_and_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str | None, wanted: int) -> None:
    if quota is not None:
        (tmp_path / "cpu.max").write_text(quota + "\n")
    monkeypatch.setattr(cores, "_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 7}, raising=False)
    assert cores.cores() == wanted


def test_a_system_without_affinity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "_QUOTA", tmp_path / "none")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert cores.cores() == 3

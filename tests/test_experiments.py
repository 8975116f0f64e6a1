"""Every recorded experiment can be read: a flat result and a verdict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from treatystance.config import parse_config

FOLDERS = sorted(path for path in (Path(__file__).parents[1] / "experiments").iterdir() if path.is_dir())


def unflat(record: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The nested values that were flattened under a prefix; numbered keys become lists."""
    nested: dict[str, Any] = {}
    for key, value in record.items():
        if key.startswith(prefix):
            *path, last = key.removeprefix(prefix).split(".")
            place = nested
            for part in path:
                place = place.setdefault(part, {})
            place[last] = value
    return nested


def listed(value: Any) -> Any:
    if isinstance(value, dict):
        if value and all(key.isdigit() for key in value):
            return [listed(value[key]) for key in sorted(value, key=int)]
        return {key: listed(part) for key, part in value.items()}
    return value


def test_there_are_experiments() -> None:
    assert {"bundled", "fomc", "scoring_speed"} <= {path.name for path in FOLDERS}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_result_is_flat_and_has_a_verdict(folder: Path) -> None:
    record = json.loads((folder / "result.json").read_text("utf-8"))
    assert record
    for value in record.values():
        plain = isinstance(value, (str, int, float, bool)) or value is None
        assert plain or (isinstance(value, list) and all(isinstance(part, (str, int, float)) for part in value))
    assert len((folder / "README.md").read_text("utf-8").split()) > 10


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_recorded_config_still_parses(folder: Path) -> None:
    record = json.loads((folder / "result.json").read_text("utf-8"))
    config = listed(unflat(record, "config."))
    if not config:
        pytest.skip("this experiment records no recipe")
    for source in config["data"]:
        source.setdefault("corpora", {})
    if "features" in config:
        config["features"].setdefault("anchors", {})
    assert parse_config(config).kind == config["kind"]

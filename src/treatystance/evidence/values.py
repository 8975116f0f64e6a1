"""Figures that may be undefined: ratios, and how they are written as JSON."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from treatystance.models.base import Floats

__all__ = ["plain", "ratio"]


def ratio(part: Floats, whole: Floats) -> Floats:
    """Element by element; NaN where the whole is 0."""
    return np.asarray(np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0))


def plain(value: Any) -> Any:
    """A figure or a tuple of them for JSON: lists, and None for what is undefined."""
    if isinstance(value, tuple):
        return [plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""Recipes and rules: YAML file → a frozen, strict configuration. Names load from their modules on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from treatystance.config.gate import GateRules, load_gate_rules
    from treatystance.config.recipes import (
        CascadeConfig,
        DistilledConfig,
        EncoderConfig,
        EncoderPart,
        LinearConfig,
        LinearPart,
        Recipe,
        explain,
        load_config,
        parse_config,
    )
    from treatystance.config.sections import Classifier, Features, GroupedSplit, Source, TemporalSplit, TreatySplit

__all__ = [
    "CascadeConfig",
    "Classifier",
    "DistilledConfig",
    "EncoderConfig",
    "EncoderPart",
    "Features",
    "GateRules",
    "GroupedSplit",
    "LinearConfig",
    "LinearPart",
    "Recipe",
    "Source",
    "TemporalSplit",
    "TreatySplit",
    "explain",
    "load_config",
    "load_gate_rules",
    "parse_config",
]

_GATE = frozenset({"GateRules", "load_gate_rules"})
_SECTIONS = frozenset({"Classifier", "Features", "GroupedSplit", "Source", "TemporalSplit", "TreatySplit"})


def __getattr__(name: str) -> Any:
    """Load a public name from its module: an encoder that scores needs one section, not all recipes."""
    if name not in __all__:
        raise AttributeError(f"module 'treatystance.config' has no attribute {name!r}")
    from importlib import import_module

    home = "sections" if name in _SECTIONS else "gate" if name in _GATE else "recipes"
    return getattr(import_module(f"treatystance.config.{home}"), name)

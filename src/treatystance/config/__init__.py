"""Recipes: a YAML file and overrides → a frozen, strict configuration."""

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
    "GroupedSplit",
    "LinearConfig",
    "LinearPart",
    "Recipe",
    "Source",
    "TemporalSplit",
    "TreatySplit",
    "explain",
    "load_config",
    "parse_config",
]

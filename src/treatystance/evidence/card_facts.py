"""What a model card is built from: plain values, read with patience, since older models lack some of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from treatystance.corpus.public import PUBLISHERS
from treatystance.statement import DEFAULT_LABELS

__all__ = ["PICTURES", "CardFacts", "items", "mapping", "number", "outcome", "pair"]

# Pictures that a card shows where they lie beside it, by file name.
PICTURES = {
    "reliability.png": "Reliability: share of sentences with the label against the score",
    "slices.png": "F1 by slice",
    "risk_coverage.png": "Risk against coverage: share of wrong answers among the surest ones",
    "behaviour.png": "Behavioural tests: pass rate by phenomenon",
}


@dataclass(frozen=True)
class CardFacts:
    """What is known of a model, as plain values.

    `decision` and `provenance` are those of its manifest; `evidence` is what `evidence_report` gives; `behaviour` is
    `BehaviourReport.to_dict()`, of which only `phenomena` is needed ({name: [passed, cases]} will do);
    `pictures` are the file names that lie beside the card.
    """

    name: str
    version: str
    kind: str
    labels: tuple[str, ...]
    exclusive: bool = False
    decision: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    evidence: Mapping[str, Any] = field(default_factory=dict)
    behaviour: Mapping[str, Any] = field(default_factory=dict)
    pictures: tuple[str, ...] = ()

    @classmethod
    def of_manifest(
        cls,
        manifest: Mapping[str, Any],
        evidence: Mapping[str, Any] | None = None,
        behaviour: Mapping[str, Any] | None = None,
        pictures: Iterable[str] = (),
    ) -> CardFacts:
        """The facts of a model's manifest, and what else there is; `evidence` may hold the `behaviour`."""
        return cls(
            name=str(manifest.get("name")),
            version=str(manifest.get("version")),
            kind=str(manifest.get("kind")),
            labels=tuple(map(str, items(manifest.get("labels")))),
            exclusive=bool(manifest.get("exclusive")),
            decision=mapping(manifest.get("decision")),
            provenance=mapping(manifest.get("provenance")),
            evidence=mapping(evidence),
            behaviour=mapping(behaviour or mapping(evidence).get("behaviour")),
            pictures=tuple(name for name in PICTURES if name in set(pictures)),
        )

    @property
    def treaties(self) -> bool:
        """Whether the labels are the package's own tags."""
        return self.labels == DEFAULT_LABELS and not self.exclusive

    @property
    def sources(self) -> tuple[str, ...]:
        """Where the recipe takes its data from."""
        listed = items(mapping(self.provenance.get("config")).get("data"))
        return tuple(str(path) for path in (mapping(source).get("path") for source in listed) if path)

    def per_label(self, report: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
        """A report's parts by label, in label order; labels that it lacks are left out."""
        parts = mapping(report.get("per_label"))
        return {label: mapping(parts[label]) for label in self.labels if label in parts}

    @property
    def composed(self) -> bool:
        """Whether composed text took part; an optional source may have been left out."""
        return "composed" in self._origins if self._origins else any("package:composed" in s for s in self.sources)

    @property
    def annotated(self) -> bool:
        """Whether the package's annotations of real text took part."""
        if self._origins:
            return not self._origins.isdisjoint(PUBLISHERS)
        return any("package:annotations" in source for source in self.sources)

    @property
    def _origins(self) -> set[str]:
        return set(mapping(mapping(self.provenance.get("counts")).get("by_origin")))

    @property
    def shipped(self) -> bool:
        """Whether all data is the package's own."""
        return bool(self.sources) and all(path.startswith("package:") for path in self.sources)


def number(value: Any) -> float | None:
    """A finite number, or None."""
    sound = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if sound else None


def pair(value: Any) -> tuple[float, float] | None:
    """The ends of an interval, or None."""
    ends = [number(end) for end in items(value)]
    return (ends[0], ends[1]) if len(ends) == 2 and ends[0] is not None and ends[1] is not None else None


def outcome(value: Any) -> tuple[int, int] | None:
    """Passed and cases, from a pair or from a mapping that names them."""
    found: list[Any] = [value.get("passed"), value.get("cases")] if isinstance(value, Mapping) else items(value)
    if len(found) == 2 and all(isinstance(n, int) for n in found) and found[1] > 0:
        return found[0], found[1]
    return None


def mapping(value: Any) -> Mapping[str, Any]:
    """A mapping, empty where there is none."""
    return value if isinstance(value, Mapping) else {}


def items(value: Any) -> list[Any]:
    """A list, empty where there is none."""
    return list(value) if isinstance(value, (list, tuple)) else []

"""What is kept with a model for its readers, and with its run: the card, the evidence, the pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from typing import TYPE_CHECKING, Any

from treatystance.evidence.behaviour import BehaviourReport
from treatystance.evidence.card import PICTURES, CardFacts, model_card
from treatystance.evidence.pictures import behaviour_figure
from treatystance.evidence.report import report_figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Documents", "gather"]


@dataclass(frozen=True)
class Documents:
    """A model's card, the evidence that it tells of, and its pictures by file name."""

    card: str
    evidence: Mapping[str, Any]
    behaviour: BehaviourReport | None
    figures: Mapping[str, Figure]

    def files(self) -> dict[str, bytes]:
        """By file name, for `save_artifact`; of the behavioural tests the rates, not the failures."""
        kept = dict(self.evidence)
        if self.behaviour:
            kept["behaviour"] = {key: value for key, value in self.behaviour.to_dict().items() if key != "failures"}
        evidence = json.dumps(kept, ensure_ascii=False, allow_nan=False) + "\n"
        pictures = {name: _png(figure) for name, figure in self.figures.items()}
        return {"README.md": self.card.encode(), "evidence.json": evidence.encode(), **pictures}


def gather(facts: CardFacts, evidence: Mapping[str, Any], behaviour: BehaviourReport | None) -> Documents:
    """Draw the pictures and write the card.

    Args:
        facts: of the model.
        evidence: what `evidence_report` gives.
        behaviour: None for a model whose labels the behavioural tests do not know.
    """
    figures = report_figures(evidence)
    if behaviour:
        figures["behaviour.png"] = behaviour_figure(behaviour.phenomena)
    told = replace(
        facts,
        evidence=evidence,
        behaviour=behaviour.to_dict() if behaviour else {},
        pictures=tuple(name for name in PICTURES if name in figures),
    )
    return Documents(model_card(told), evidence, behaviour, figures)


def _png(figure: Figure) -> bytes:
    content = BytesIO()
    # Without the version of the library that drew it: the same picture, the same bytes.
    figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()

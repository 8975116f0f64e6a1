"""The promotion gate: an alias moves only to a model that is not worse on the same rows."""

from __future__ import annotations

from dataclasses import dataclass

from treatystance.artifact import Artifact
from treatystance.errors import GateError
from treatystance.registry import aliased_version, load_reference, model_version, set_alias

__all__ = ["GateRules", "judge", "promote"]


@dataclass(frozen=True, slots=True)
class GateRules:
    """Largest fall of macro-F1 and of any label's F1 against the current model; least macro-F1 of a first model."""

    macro_fall: float = 0.01
    label_fall: float = 0.05
    first_macro_f1: float = 0.3


def judge(challenger: Artifact, champion: Artifact | None, rules: GateRules) -> list[str]:
    """Reasons against the challenger, with figures; none means that it may pass.

    Both are judged by the cross-validation that their training recorded, which must be on the same rows and labels.
    """
    for artifact in (challenger, champion):
        if artifact and not {"cross_validation", "evaluated_sha256"} <= set(artifact.provenance):
            return [f"{artifact.full_name} carries no record of its cross-validation; train it again"]
    mine = challenger.provenance["cross_validation"]
    if champion is None:
        if mine["macro_f1"] < rules.first_macro_f1:
            return [
                f"macro-F1 {mine['macro_f1']:.3f} is under {rules.first_macro_f1} (no current model to compare with)"
            ]
        return []
    if challenger.labels != champion.labels:
        return [f"labels {list(challenger.labels.names)} differ from the current {list(champion.labels.names)}"]
    if challenger.provenance["evaluated_sha256"] != champion.provenance["evaluated_sha256"]:
        return ["cross-validated on other rows or labels than the current model; train both on the same corpus"]
    current = champion.provenance["cross_validation"]
    reasons = []
    if mine["macro_f1"] < current["macro_f1"] - rules.macro_fall:
        reasons.append(
            f"macro-F1 {mine['macro_f1']:.3f} falls by more than {rules.macro_fall} under {current['macro_f1']:.3f}"
        )
    for label, part in mine["per_label"].items():
        before = current["per_label"][label]["f1"]
        if part["f1"] < before - rules.label_fall:
            reasons.append(f"F1 of {label} {part['f1']:.3f} falls by more than {rules.label_fall} under {before:.3f}")
    return reasons


def promote(reference: str, alias: str = "champion", rules: GateRules = GateRules()) -> str:
    """Move an alias to a registered model, if the gate lets it.

    Returns:
        One line that says what moved and why it could.

    Raises:
        GateError: the gate refused; the message says why, with figures.
        ModelReferenceError: no such registered model.
    """
    name, version = model_version(reference)
    challenger = load_reference(f"models:/{name}/{version}")
    current = aliased_version(name, alias)
    champion = load_reference(f"models:/{name}/{current}") if current else None
    reasons = judge(challenger, champion, rules)
    if reasons:
        raise GateError(f"models:/{name}/{version} is not promoted to {alias}: " + "; ".join(reasons))
    figures = f"macro-F1 {challenger.provenance['cross_validation']['macro_f1']:.3f}"
    against = (
        f"against {champion.provenance['cross_validation']['macro_f1']:.3f} of version {current}"
        if champion
        else "first"
    )
    set_alias(name, alias, version, {f"gate.{alias}": f"passed: {figures}, {against}"})
    return f"models:/{name}@{alias} is now version {version} ({figures}, {against})"

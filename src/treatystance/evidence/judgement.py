"""What speaks for and against a challenger that would take a champion's place: every criterion, with figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from treatystance.config import GateRules
from treatystance.errors import InputError
from treatystance.evaluation import f1_scores
from treatystance.evidence.paired import Difference, PairedComparison, aligned, compare, compare_parts
from treatystance.evidence.paired_calibration import compare_calibration
from treatystance.evidence.reliability import calibration_error
from treatystance.evidence.scored import ScoredRows

__all__ = ["Candidate", "Finding", "judge"]

_COUNTED = ("as drawn", "in ordinary text")
_SHOWN = 3  # of a list of faults, in a sentence
_ROUNDING = 1e-9  # in floats, a fall from 7 to 4 of 12 cases is a little more than a quarter


@dataclass(frozen=True)
class Candidate:
    """A model before the gate: its out-of-fold table, and (passed, cases) of behavioural tests by phenomenon.

    `behaviour` is None for a model whose labels the behavioural tests do not know; `suite_sha256` says which tests.
    """

    name: str
    scored: ScoredRows
    behaviour: Mapping[str, tuple[int, int]] | None
    suite_sha256: str | None = None


@dataclass(frozen=True)
class Finding:
    """What the gate found on one criterion: a sentence with figures, and the figures."""

    criterion: str
    passed: bool
    sentence: str
    figures: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{'passed' if self.passed else 'FAILED'}  {self.criterion}: {self.sentence}"


def judge(challenger: Candidate, champion: Candidate | None, rules: GateRules) -> list[Finding]:
    """Judge a challenger by every criterion; it may pass the gate if it passes all.

    Args:
        challenger: the model that would get the alias.
        champion: the model that has it, if one has.
        rules: the bounds.
    """
    mine = challenger.scored
    if champion is None:
        return [_first_macro_f1(mine, rules), _first_calibration(mine, rules), _first_behaviour(challenger, rules)]
    try:
        current = aligned(mine, champion.scored)
    except InputError as error:
        return [Finding("same_rows", False, str(error))]
    overall = compare(mine, current, rules.resamples, rules.confidence)
    return [
        Finding("same_rows", True, f"{overall.n} sentences of {overall.documents} documents, out of fold for both"),
        _non_inferiority(overall, rules),
        _labels(overall, rules),
        _slices(mine, current, rules),
        _calibration(mine, current, rules),
        *_behaviour(challenger, champion, rules),
    ]


def _non_inferiority(overall: PairedComparison, rules: GateRules) -> Finding:
    macro = overall.macro_f1
    low, high = macro.interval
    return Finding(
        "non_inferiority",
        low > -rules.non_inferiority,
        f"macro-F1 {_change(macro, rules.confidence)}; the lower end must be above {-rules.non_inferiority:+.3f}",
        {
            "challenger": macro.challenger,
            "champion": macro.champion,
            "difference": macro.difference,
            "low": low,
            "high": high,
        },
    )


def _labels(overall: PairedComparison, rules: GateRules) -> Finding:
    said, passed = [], True
    figures: dict[str, float] = {}
    for label, part in overall.per_label.items():
        test = overall.mcnemar[label]
        passed &= part.difference >= -rules.label_fall
        figures |= {f"{label}.difference": part.difference, f"{label}.mcnemar_p": test.p_value}
        said.append(
            f"{label} {_change(part, rules.confidence)}, alone right on {test.challenger_only} rows against "
            f"{test.champion_only} (McNemar p {test.p_value:.2g})"
        )
    return Finding("labels", passed, f"F1 of {'; '.join(said)}; none may fall by more than {rules.label_fall}", figures)


def _slices(mine: ScoredRows, current: ScoredRows, rules: GateRules) -> Finding:
    """A fall beyond the bound counts where its interval, all slices' holding together (Bonferroni), excludes none."""
    if not all(mine.facts):
        return Finding("slices", False, "the out-of-fold table tells no facts to slice by; train the model again")
    slices = _members(mine, rules.slice_rows, rules.slice_positives)
    bound = (
        f"in slices of {rules.slice_rows} rows or more macro-F1 may fall by {rules.slice_fall}, further where the "
        "interval includes no change"
    )
    if not slices:
        return Finding("slices", True, f"there is none; {bound}", {"slices": 0})
    confidence = 1 - (1 - rules.confidence) / len(slices)
    compared = compare_parts(mine, current, slices, rules.resamples, confidence, least=rules.slice_positives)
    found = {name: part.macro_f1 for name, part in compared.items()}
    ranked = sorted(found, key=lambda name: found[name].difference)
    broken = [n for n in ranked if -found[n].difference > rules.slice_fall and found[n].interval[1] < 0]
    shown = [f"{n} {_change(found[n], confidence)} on {len(slices[n])} rows" for n in broken or ranked[:1]]
    head = f"{len(broken)} broken of {len(slices)}: " if broken else f"none broken of {len(slices)}, the lowest change "
    figures = {"slices": len(slices), "broken": len(broken), "lowest_difference": found[ranked[0]].difference}
    return Finding("slices", not broken, f"{head}{_listed(shown)}; {bound}", figures)


def _members(scored: ScoredRows, least: int, positives: int) -> dict[str, list[int]]:
    """Places of the rows of each slice with at least `least` rows, and `positives` of a label.

    A dimension with a single value has no slices.
    """
    members: dict[str, dict[str, list[int]]] = {}
    for place, facts in enumerate(scored.facts):
        for dimension, value in facts.items():
            members.setdefault(dimension, {}).setdefault(value, []).append(place)
    return {
        f"{dimension} {value}": rows
        for dimension, values in members.items()
        for value, rows in values.items()
        if len(values) > 1 and len(rows) >= least and scored.targets[rows].sum(axis=0).max() >= positives
    }


def _calibration(mine: ScoredRows, current: ScoredRows, rules: GateRules) -> Finding:
    counted_as = _COUNTED[:1] if np.ptp(mine.drawn) == 0 else _COUNTED  # drawn alike, rows count alike
    confidence = 1 - (1 - rules.confidence) / (2 * len(mine.labels) * len(counted_as))
    found = compare_calibration(mine, current, rules.resamples, confidence)
    # By measure: how much worse, whether that refuses, and in words.
    measures: dict[str, list[tuple[float, bool, str]]] = {"expected calibration error": [], "Brier skill score": []}
    figures = {}
    for counted, changes in zip(counted_as, found, strict=False):
        for label, change in changes.items():
            error, skill = change.calibration_error, change.brier_skill
            for name, part, worse, proven, bound in (
                ("expected calibration error", error, error.difference, error.interval[0] > 0, rules.ece_rise),
                ("Brier skill score", skill, -skill.difference, skill.interval[1] < 0, rules.brier_skill_fall),
            ):
                text = f"{label} {counted} {_change(part, confidence, 4)}"
                measures[name].append((worse, worse > bound and proven, text))
                figures[f"{name.replace(' ', '_')}.{label}.{counted.replace(' ', '_')}"] = part.difference
    said, passed = [], True
    for name, changed in measures.items():
        ranked = sorted(changed, key=lambda one: -one[0])
        broken = [one for one in ranked if one[1]]
        passed &= not broken
        said.append(f"{name} {'worse' if broken else 'at worst'}: {_listed([one[2] for one in broken or ranked[:1]])}")
    bounds = (
        f"the error may rise by {rules.ece_rise} and the skill fall by {rules.brier_skill_fall}, further where the "
        "interval includes no change"
    )
    return Finding("calibration", passed, f"{'; '.join(said)}; {bounds}", figures)


def _behaviour(challenger: Candidate, champion: Candidate, rules: GateRules) -> list[Finding]:
    if challenger.behaviour is None or champion.behaviour is None:
        return [_no_behaviour()]
    mine, theirs = _rates(challenger.behaviour), _rates(champion.behaviour)
    if mine.keys() != theirs.keys():
        return [Finding("behaviour", False, "the models were put to different behavioural tests")]
    before, after = _mean(theirs), _mean(mine)
    falls = sorted(((theirs[name] - mine[name], name) for name in mine), key=lambda item: -item[0])
    broken = [item for item in falls if item[0] > rules.phenomenon_fall + _ROUNDING]
    said = [f"{name} {theirs[name]:.0%} to {mine[name]:.0%}" for _, name in broken or falls[:1]]
    return [
        Finding(
            "behaviour",
            before - after <= rules.behaviour_fall + _ROUNDING,
            f"mean pass rate {before:.1%} to {after:.1%} over {len(mine)} phenomena; it may fall by "
            f"{rules.behaviour_fall:.1%}",
            {"challenger": after, "champion": before},
        ),
        Finding(
            "phenomena",
            not broken,
            f"{'fallen too far' if broken else 'the largest fall'}: {_listed(said)}; each may fall by "
            f"{rules.phenomenon_fall:.0%}",
            {"largest_fall": falls[0][0]},
        ),
    ]


def _first_macro_f1(mine: ScoredRows, rules: GateRules) -> Finding:
    f1 = np.nan_to_num(f1_scores(mine.targets, mine.tags, np.ones((1, len(mine)))))[0]
    value = float(f1.mean())
    return Finding(
        "first_macro_f1",
        value >= rules.first_macro_f1,
        f"macro-F1 {value:.3f}, with no current model to compare with; it must be at least {rules.first_macro_f1}",
        {"challenger": value},
    )


def _first_calibration(mine: ScoredRows, rules: GateRules) -> Finding:
    errors = {
        f"{label} {counted}": calibration_error(mine.probabilities[:, k], mine.targets[:, k], weights)
        for counted, weights in zip(_COUNTED, (np.ones(len(mine)), mine.weights), strict=True)
        for k, label in enumerate(mine.labels.names)
    }
    worst = max(errors, key=lambda name: errors[name])
    return Finding(
        "first_calibration",
        errors[worst] <= rules.first_ece,
        f"largest expected calibration error {errors[worst]:.4f} ({worst}); it may be {rules.first_ece}",
        {"largest": errors[worst]},
    )


def _first_behaviour(challenger: Candidate, rules: GateRules) -> Finding:
    if challenger.behaviour is None:
        return _no_behaviour()
    rate = _mean(_rates(challenger.behaviour))
    sentence = f"mean pass rate {rate:.1%}; it must be at least {rules.first_pass_rate:.0%}"
    return Finding("first_behaviour", rate >= rules.first_pass_rate, sentence, {"challenger": rate})


def _no_behaviour() -> Finding:
    return Finding("behaviour", True, "not applicable: the behavioural tests are about the default tags")


def _rates(counts: Mapping[str, tuple[int, int]]) -> dict[str, float]:
    return {name: passed / cases for name, (passed, cases) in counts.items()}


def _mean(rates: Mapping[str, float]) -> float:
    return sum(rates.values()) / len(rates)


def _listed(texts: list[str]) -> str:
    more = len(texts) - _SHOWN
    return ", ".join(texts[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _change(part: Difference, confidence: float, digits: int = 3) -> str:
    low, high = part.interval
    return (
        f"{part.champion:.{digits}f} to {part.challenger:.{digits}f}: {part.difference:+.{digits}f} "
        f"({100 * confidence:.4g} % interval {low:+.{digits}f} to {high:+.{digits}f})"
    )

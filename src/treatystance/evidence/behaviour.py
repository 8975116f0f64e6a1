"""Behavioural tests of a model (CheckList, Ribeiro et al. 2020): pass rates by phenomenon, and every failure.

- Minimum functionality: the statement's tags are exactly those named.
- Invariance: every variant has the tags of the first text. A model that never gives a tag passes these.
- Directional: the tag is given on the wanted side alone; or, with the same answer on both sides, the calibrated
  log-odds of the statement's score move by at least `MARGIN` in the wanted direction. A probability below `FLOOR`
  counts as `FLOOR`: where no reader has cause to look, a move tells nothing, so two tiny scores fail.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from treatystance.errors import InputError
from treatystance.evidence.suite import Case, Directional, Invariance, MinimumFunctionality, Suite, load_suite
from treatystance.statement import Prediction, Statement

__all__ = ["FLOOR", "MARGIN", "Answer", "BehaviourReport", "Failure", "check", "load_suite", "wilson_interval"]

MARGIN = 0.1
FLOOR = 0.02
_CEILING = 1 - 1e-9  # where a float's log-odds are still finite

Counts = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model says of one text of a case."""

    text: str
    government: str | None
    tags: tuple[str, ...]
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Failure:
    """A case that did not pass: what was expected, what was given, and the answers that show it."""

    id: str
    phenomenon: str
    test: str
    rule: str | None
    expected: str
    given: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class BehaviourReport:
    """The outcome of a suite: (passed, cases) by phenomenon and by kind of test, and the cases that did not pass.

    `suite_sha256` identifies the cases.
    """

    model: str
    suite_sha256: str
    phenomena: dict[str, Counts]
    tests: dict[str, Counts]
    failures: tuple[Failure, ...]

    @property
    def cases(self) -> int:
        """How many cases there are."""
        return sum(cases for _, cases in self.phenomena.values())

    @property
    def passed(self) -> int:
        """How many of them pass."""
        return sum(passed for passed, _ in self.phenomena.values())

    @property
    def pass_rate(self) -> float:
        """Mean of the phenomena's pass rates, each counting alike however many cases it has."""
        return sum(passed / cases for passed, cases in self.phenomena.values()) / len(self.phenomena)

    @property
    def case_rate(self) -> float:
        """Share of all cases that pass."""
        return self.passed / self.cases

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {
            "model": self.model,
            "suite_sha256": self.suite_sha256,
            "cases": self.cases,
            "passed": self.passed,
            "pass_rate": self.pass_rate,
            "case_rate": self.case_rate,
            "phenomena": {name: _rate(counts) for name, counts in self.phenomena.items()},
            "tests": {name: _rate(counts) for name, counts in self.tests.items()},
            "failures": [_plain(failure) for failure in self.failures],
        }


def wilson_interval(passed: int, cases: int, confidence: float = 0.95) -> tuple[float, float]:
    """The interval of a rate (Wilson 1927)."""
    from scipy.stats import binomtest

    interval = binomtest(passed, cases).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def check(predict: Callable[[Sequence[Statement]], list[Prediction]], suite: Suite) -> BehaviourReport:
    """Ask a model every text of a suite, in one call, and judge the cases.

    Args:
        predict: one prediction per statement, in the same order, such as `Predictor.predict`.
        suite: the cases.

    Raises:
        InputError: the suite has no case, or names a tag that the model does not give.
    """
    asked = [case.statements for case in suite]
    if not asked:
        raise InputError("the suite has no case")
    said = iter(predict([statement for statements in asked for statement in statements]))
    answers = [[(statement, next(said)) for statement in statements] for statements in asked]
    first = answers[0][0][1]
    if unknown := sorted(set(suite.tags) - set(first.scores)):
        raise InputError(
            f"the suite tests {', '.join(unknown)}, which {first.model} does not give (its labels: "
            f"{', '.join(first.scores)}); bring cases for these labels with --suite FOLDER"
        )
    judged = [(case, _judge(case, given)) for case, given in zip(suite, answers, strict=True)]
    return BehaviourReport(
        model=first.model,
        suite_sha256=suite.sha256,
        phenomena=_counts((case.phenomenon, failure is None) for case, failure in judged),
        tests=_counts((case.test, failure is None) for case, failure in judged),
        failures=tuple(failure for _, failure in judged if failure),
    )


def _counts(outcomes: Iterable[tuple[str, bool]]) -> dict[str, Counts]:
    counts: dict[str, Counts] = {}
    for name, passes in outcomes:
        passed, cases = counts.get(name, (0, 0))
        counts[name] = passed + passes, cases + 1
    return counts


def _judge(case: Case, given: Sequence[tuple[Statement, Prediction]]) -> Failure | None:
    answers = [Answer(s.text, s.government, p.tags, dict(p.scores)) for s, p in given]
    first, *rest = answers

    def failure(expected: str, got: str, shown: Sequence[Answer]) -> Failure:
        return Failure(case.id, case.phenomenon, case.test, case.rule, expected, got, tuple(shown))

    match case:
        case MinimumFunctionality(tags=tags):
            if set(first.tags) != set(tags):
                return failure(_named(tags), _named(first.tags), [first])
        case Invariance():
            changed = [answer for answer in rest if set(answer.tags) != set(first.tags)]
            if changed:
                others = "; ".join(dict.fromkeys(_named(answer.tags) for answer in changed))
                got = f"{others} for {len(changed)} of {len(rest)} variants"
                return failure(f"{_named(first.tags)} for every variant", got, [first, *changed])
        case Directional(tag=tag, direction=direction):
            last = rest[0]
            if not _moves(first, last, tag, direction):
                got = f"{_side(first, tag)} → {_side(last, tag)}"
                return failure(f"{tag} {direction}", got, [first, last])
    return None


def _moves(before: Answer, after: Answer, tag: str, direction: str) -> bool:
    wanted = 1 if direction == "higher" else -1
    flip = (tag in after.tags) - (tag in before.tags)
    if flip:
        return flip == wanted
    return wanted * (_log_odds(after.scores[tag]) - _log_odds(before.scores[tag])) >= MARGIN


def _log_odds(probability: float) -> float:
    p = min(max(probability, FLOOR), _CEILING)
    return math.log(p / (1 - p))


def _side(answer: Answer, tag: str) -> str:
    return f"{answer.scores[tag]:.3f} ({'given' if tag in answer.tags else 'not given'})"


def _named(tags: Sequence[str]) -> str:
    return ", ".join(tags) or "no tag"


def _rate(counts: Counts) -> dict[str, Any]:
    passed, cases = counts
    return {"passed": passed, "cases": cases, "rate": passed / cases, "interval": list(wilson_interval(passed, cases))}


def _plain(failure: Failure) -> dict[str, Any]:
    record = asdict(failure)
    record["answers"] = [{**answer, "tags": list(answer["tags"])} for answer in record["answers"]]
    return record

"""The promotion gate: an alias moves only to a model that is proven not worse, and every decision is recorded."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable
from typing import Any

from treatystance.artifact import Artifact
from treatystance.config import GateRules
from treatystance.errors import GateError, InputError
from treatystance.evidence.behaviour import check, load_suite
from treatystance.evidence.judgement import Candidate, Finding, judge
from treatystance.evidence.scored import read_scored
from treatystance.evidence.suite import Suite
from treatystance.predictor import Predictor
from treatystance.provenance import git_commit
from treatystance.registry import aliased_version, load_reference, log_decision, model_version, run_file
from treatystance.statement import LabelSet

__all__ = ["Candidate", "Finding", "judge", "promote"]


def promote(
    reference: str,
    alias: str = "champion",
    rules: GateRules | None = None,
    say: Callable[[str], Any] = lambda line: None,
    suite: Suite | None = None,
) -> str:
    """Move an alias to a registered model, if the gate lets it. The decision is tracked in MLflow, a refusal too.

    Args:
        reference: the challenger.
        alias: what it would be called; the model that has it is the champion.
        rules: the bounds; by default those of `GateRules`.
        say: told each finding, as a line.
        suite: the behavioural tests of the default tags; by default those that the package ships.

    Returns:
        One line that says what moved.

    Raises:
        GateError: the gate refused; the message says why, with figures.
        InputError: there is no such registered model, or one of the two cannot be judged: its files or its
            out-of-fold table are missing or damaged. No decision is made, none tracked.
        TreatystanceError: MLflow refused, or the alias moved while the challenger was judged. The alias stays.
    """
    rules = rules or GateRules()
    name, version = model_version(reference)
    current = aliased_version(name, alias)
    artifact, challenger = _candidate(name, version, suite)
    champion = _candidate(name, current, suite)[1] if current else None
    findings = judge(challenger, champion, rules)
    for finding in findings:
        say(str(finding))
    failed = [finding for finding in findings if not finding.passed]
    deciding = failed or [findings[0 if champion is None else 1]]
    why = "; ".join(f"{finding.criterion}: {finding.sentence}" for finding in deciding)
    decision = {
        "challenger": challenger.name,
        "champion": champion.name if champion else None,
        "alias": alias,
        "promoted": not failed,
        "rules": rules.model_dump(),
        "behaviour": {
            c.name: {"phenomena": c.behaviour, "suite_sha256": c.suite_sha256}
            for c in (challenger, champion)
            if c and c.behaviour
        },
        "findings": [
            {"criterion": f.criterion, "passed": f.passed, "sentence": f.sentence, "figures": dict(f.figures)}
            for f in findings
        ],
    }
    log_decision(
        name,
        version,
        alias,
        current,
        not failed,
        why,
        parameters={
            "challenger": challenger.name,
            "champion": champion.name if champion else "",
            "alias": alias,
            **{f"rules.{key}": value for key, value in rules.model_dump().items()},
        },
        metrics={f"{f.criterion}.{key}": float(value) for f in findings for key, value in f.figures.items()},
        tags={
            "who": _who(),
            "git_commit": git_commit(),
            "folds_sha256": challenger.scored.folds_sha256,
            **{key: str(artifact.provenance.get(key, "")) for key in ("evaluated_sha256", "corpus_sha256")},
        },
        texts={"decision.json": json.dumps(decision, ensure_ascii=False, indent=1)},
    )
    if failed:
        raise GateError(f"{challenger.name} is not promoted to {alias}: {why}")
    return f"models:/{name}@{alias} is now version {version} ({why})"


def _candidate(name: str, version: str, suite: Suite | None) -> tuple[Artifact, Candidate]:
    reference = f"models:/{name}/{version}"
    artifact = load_reference(reference)
    path = run_file(name, version, "out_of_fold.jsonl")
    try:
        scored = read_scored(path, artifact.labels)
    except InputError as error:  # the path is a copy's: it does not tell which model's
        raise InputError(f"{reference}: {error}") from None
    if scored.evaluated_sha256 != artifact.provenance.get("evaluated_sha256"):
        raise InputError(f"{reference}: the run's out_of_fold.jsonl is not the table that this model was tested on")
    if artifact.labels != LabelSet():
        return artifact, Candidate(reference, scored, None)
    suite = suite or load_suite()
    behaviour = check(Predictor(artifact).predict, suite).phenomena
    return artifact, Candidate(reference, scored, behaviour, suite.sha256)


def _who() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"

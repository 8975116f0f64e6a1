"""From a recipe to a model: load, split, cross-validate, fit on everything, decide thresholds, and (train) track it."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from treatystance.artifact import Artifact
from treatystance.config import Recipe, Source
from treatystance.corpus.load import codebook_sha256, expand, load_rows
from treatystance.corpus.public import PUBLISHERS
from treatystance.corpus.rows import Corpus, Row, infer_labels
from treatystance.corpus.stats import corpus_stats
from treatystance.crossval import (
    CrossValidation,
    cross_validate,
    finish,
    out_of_fold,
)
from treatystance.errors import CorpusError, InputError, ModelReferenceError, TreatystanceError
from treatystance.evaluation import Report, evaluate_scores
from treatystance.evidence.behaviour import check, load_suite
from treatystance.evidence.card import CardFacts
from treatystance.evidence.documents import Documents, gather
from treatystance.evidence.paired import compare
from treatystance.evidence.report import AS_DRAWN, ORDINARY, calibration_metrics, evidence_report
from treatystance.evidence.scored import ScoredRows, read_scored
from treatystance.fitting import Fitter, Progress, Track
from treatystance.models.base import Batch
from treatystance.predictor import Predictor
from treatystance.provenance import environment_lock, run_facts
from treatystance.recording import flat, report_metrics
from treatystance.split import near_duplicates
from treatystance.statement import LabelSet

__all__ = ["Trained", "document", "evaluate", "fit", "load_data", "train"]

CHAMPION = "champion"


@dataclass(frozen=True)
class Trained:
    """A fitted artifact, its cross-validation, and the corpus it was fitted on."""

    artifact: Artifact
    validation: CrossValidation
    corpus: Corpus


def load_data(config: Recipe, say: Progress = lambda message: None) -> Corpus:
    """The corpus of a recipe's sources; an optional source whose public corpus is absent is left out, with a message.

    Where that leaves no row to evaluate on, all rows are evaluated on, with a message.

    Raises:
        CorpusError: with every fault of every source.
        InputError: a source is missing and not optional.
    """
    rows: list[Row] = []
    sources: list[dict[str, None]] = []
    faults: list[str] = []
    for source in config.data:
        corpora = {name: Path(path) for name, path in source.corpora.items()}
        try:
            found = load_rows([source.path], corpora, faults, config.label_set)
        except InputError as error:
            if not source.optional:
                raise
            say(f"left out {source.path}: {error}")
            continue
        sources.append(dict.fromkeys(row.id for row in found))
        shared = _rows_of_files(source)
        rows += [
            replace(
                row,
                weight=source.weight,
                evaluate=source.evaluate,
                auxiliary=not source.evaluate and row.id not in shared,
            )
            for row in found
        ]
    for row_id, count in Counter(row_id for ids in sources for row_id in ids).items():
        if count > 1:
            faults.append(f"{row_id!r} stands in several sources; give each row its own id, or name a file once")
    if faults:
        raise CorpusError(faults)
    if rows and not any(row.evaluate for row in rows):
        say("no real text is at hand to test on: cross-validating on the composed text, which says little of real text")
        rows = [replace(row, evaluate=True, auxiliary=False) for row in rows]
    labels = config.label_set or infer_labels((label for row in rows for label in row.labels), config.exclusive)
    if labels.exclusive and (wrong := [row for row in rows if len(row.labels) != 1]):
        raise CorpusError([f"{row.id}: exactly one label is wanted, not {len(row.labels)}" for row in wrong])
    return Corpus(tuple(rows), labels, codebook_sha256())


def _rows_of_files(source: Source) -> set[str]:
    """Ids of the rows in the source's files that share the intercept of ordinary text."""
    files = [
        path
        for path in expand([source.path])
        if any(fnmatch(path.name, pattern) for pattern in source.shared_intercept)
    ]
    return {row.id for row in load_rows(files, {}, [])} if files else set()


def fit(
    config: Recipe,
    corpus: Corpus,
    version: str,
    say: Progress = lambda message: None,
    folder: Path | None = None,
    track: Track = lambda metrics, step: None,
) -> Trained:
    """Cross-validate, fit on every row, and take calibration and thresholds from the out-of-fold scores.

    Args:
        config: the recipe.
        corpus: its data.
        version: version of the artifact.
        say: told of each step.
        folder: where fitted encoders are kept, so that a broken run goes on where it stopped.
        track: given metrics and step of each epoch.
    """
    pairs = near_duplicates([row.text for row in corpus.rows])
    # What one step fits, a later one takes, kept or not.
    with tempfile.TemporaryDirectory(prefix="treatystance-") as spare:
        fitter = Fitter(corpus, config.seed, folder or Path(spare), say, track)
        validation = cross_validate(config, corpus, pairs, say, fitter)
        say("fitting on all rows")
        model, rule = finish(config, corpus, validation, fitter)
    counts = corpus_stats(corpus)
    provenance = {
        "config": config.model_dump(mode="json"),
        "config_sha256": config.sha256,
        "corpus_sha256": corpus.sha256,
        "codebook_sha256": corpus.codebook_sha256,
        "evaluated_sha256": out_of_fold(corpus, validation).evaluated_sha256,
        "sentences": len(corpus),
        "counts": {key: counts[key] for key in ("statements", "labels", "no_label", "governments", "by_origin")},
        "seed": config.seed,
        "cross_validation": validation.report.to_dict(),
        "ordinary_text": validation.ordinary.to_dict(),
        **run_facts(),
    }
    return Trained(Artifact(config.name, version, model, rule, provenance), validation, corpus)


def document(trained: Trained, evidence: Mapping[str, Any], say: Progress = lambda message: None) -> Documents:
    """The card of a trained model, with pictures; models of the default tags go through the behavioural tests.

    Args:
        trained: the model.
        evidence: what `evidence_report` says of its out-of-fold table.
        say: told what the tests found.
    """
    artifact, behaviour = trained.artifact, None
    if artifact.labels == LabelSet():
        behaviour = check(Predictor(artifact).predict, load_suite())
        say(f"behavioural tests: {behaviour.passed} of {behaviour.cases} pass")
    return gather(CardFacts.of_manifest(artifact.to_dict()), evidence, behaviour)


def train(config: Recipe, say: Progress = lambda message: None, folder: Path | None = None) -> tuple[Trained, str]:
    """Train a recipe, track the run in MLflow and register the model.

    Args:
        config: the recipe.
        say: told of each step.
        folder: where fitted encoders are kept, so that a broken run goes on where it stopped.

    Returns:
        What was trained, and its reference `models:/NAME/VERSION`.

    Raises:
        InputError: the data cannot be used.
        TreatystanceError: MLflow refused.
    """
    from treatystance.figures import confusion_figure, precision_recall_figure
    from treatystance.registry import log_run, open_run

    corpus = load_data(config, say)
    say(f"{len(corpus)} labelled sentences, sha256 {corpus.sha256[:12]}")
    with open_run(config.name) as opened:
        trained = fit(config, corpus, f"{config.seed}.{corpus.sha256[:8]}.{config.sha256[:8]}", say, folder, opened.log)
        validation, artifact = trained.validation, trained.artifact
        targets = corpus.label_matrix()[validation.tested]
        decisions = validation.decisions
        origins = ", ".join(sorted({PUBLISHERS.get(row.origin, row.origin) for row in corpus.rows}))
        say("measuring calibration, slices and abstention")
        scored = out_of_fold(corpus, validation)
        settings = (config.evaluation.resamples, config.evaluation.confidence, config.seed)
        evidence = evidence_report(scored, *settings)
        for weak in evidence["worst_slices"]:
            say(f"weak: {weak['line']}")
        texts = _against_champion(config, scored, say)
        documents = document(trained, evidence, say)
        if documents.behaviour:
            texts["behaviour.json"] = json.dumps(documents.behaviour.to_dict(), indent=1, ensure_ascii=False)
        say("tracking and registering")
        with tempfile.TemporaryDirectory(prefix="treatystance-") as work:
            run = log_run(
                artifact,
                run_id=opened.run_id,
                parameters=flat(config.model_dump(mode="json")) | flat(artifact.model.describe(), "model."),
                metrics=report_metrics(validation.report)
                | report_metrics(validation.ordinary, "ordinary_")
                | calibration_metrics(evidence)
                | ({"behaviour.pass_rate": documents.behaviour.pass_rate} if documents.behaviour else {}),
                fold_metrics=[report_metrics(report, "fold_", intervals=False) for report in validation.fold_reports],
                tags={key: value for key, value in artifact.provenance.items() if isinstance(value, str)},
                dataset_sha256=corpus.sha256,
                dataset_source=origins,
                texts={
                    "report.json": json.dumps(validation.report.to_dict(), indent=1),
                    "report_ordinary_text.json": json.dumps(validation.ordinary.to_dict(), indent=1),
                    "out_of_fold.jsonl": scored.to_jsonl(),
                    "evidence.json": json.dumps(evidence, indent=1, ensure_ascii=False, allow_nan=False),
                    "environment.txt": environment_lock(),
                    "README.md": documents.card,
                    **texts,
                },
                figures={
                    "confusion.png": confusion_figure(corpus.labels, targets, decisions.tags),
                    "precision_recall.png": precision_recall_figure(
                        corpus.labels, targets, decisions.probabilities, decisions.tags
                    ),
                    **documents.figures,
                },
                work=Path(work),
                documents=documents.files(),
            )
    say(f"run {run.run_id}")
    return trained, run.reference


def _against_champion(config: Recipe, scored: ScoredRows, say: Progress) -> dict[str, str]:
    """The paired comparison with the model that is champion now, as a file for the run; none where there is none."""
    from treatystance.registry import aliased_version, run_file

    try:
        champion = aliased_version(config.name, CHAMPION)
    except ModelReferenceError:  # nothing of this name is registered yet
        return {}
    if champion is None:
        return {}
    name = f"models:/{config.name}/{champion}"
    try:
        current = read_scored(run_file(config.name, champion, "out_of_fold.jsonl"), scored.labels)
        settings = config.evaluation.resamples, config.evaluation.confidence, config.seed
        ways = {way: compare(scored, current, *settings, way == ORDINARY) for way in (AS_DRAWN, ORDINARY)}
    except TreatystanceError as error:
        say(f"not compared with the champion {name}: {error}")
        return {}
    change = ways[AS_DRAWN].macro_f1
    low, high = change.interval
    say(
        f"against the champion {name}: macro-F1 {change.champion:.3f} to {change.challenger:.3f}, "
        f"difference {change.difference:+.3f} [{low:+.3f}, {high:+.3f}]"
    )
    record = {"champion": name} | {way: comparison.to_dict() for way, comparison in ways.items()}
    return {"comparison_with_champion.json": json.dumps(record, indent=1)}


def evaluate(reference: str, path: Path, resamples: int = 1000, seed: int = 0) -> tuple[Report, str]:
    """Evaluate a model on a file of labelled sentences.

    Args:
        reference: the model.
        path: JSON Lines with `text`, `labels`; optional `id`, `doc_id`, `prev`, `next`, `government`, `year`, `kind`.
        resamples: bootstrap resamples over documents.
        seed: of the resampling.

    Returns:
        The report and the model's name and version.

    Raises:
        CorpusError: with every fault of the file.
        InputError: the file or the model cannot be read.
    """
    from treatystance.registry import load_reference

    artifact = load_reference(reference)
    faults: list[str] = []
    rows = load_rows([path], {}, faults, artifact.labels)
    if faults:
        raise CorpusError(faults)
    corpus = Corpus(tuple(rows), artifact.labels)
    decisions = artifact.decide(Batch.of(corpus.rows))
    report = evaluate_scores(
        corpus.labels,
        corpus.label_matrix(),
        decisions.probabilities,
        decisions.tags,
        [row.doc_id for row in corpus.rows],
        resamples,
        0.95,
        seed,
    )
    return report, artifact.full_name

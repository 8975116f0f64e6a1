"""How often 95 % bootstrap intervals over documents hold the truth, on simulated corpora like the annotated one.

`python experiments/intervals/run.py` from the repository's root; 4 minutes of one core. Documents have as many
annotated sentences as the annotated documents; in most of them a tag is absent, in the others it is frequent; a
document's difficulty is shared by its sentences. Rates are set so that the counts of true and false positives and
negatives, and of documents with a tag, are near those of `../bundled/out_of_fold.jsonl`. The truth is the score on four
million documents.

For rows counted as often as they stand for a sentence of ordinary text, and to check the model of documents, the
annotated documents themselves are the population, drawn anew with replacement; the truth is their score.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import expit
from scipy.stats import norm

from treatystance.evaluation import evaluate_scores, percentile_interval, resample_weights
from treatystance.evidence.scored import ScoredRows, read_scored
from treatystance.provenance import run_facts
from treatystance.statement import LabelSet

HERE = Path(__file__).parent
SEED, REPETITIONS, RESAMPLES, CONFIDENCE = 11, 2000, 1000, 0.95
DOCUMENTS = 3895
SIZES = np.repeat(
    np.arange(1, 11), [2671, 865, 237, 68, 30, 5, 4, 6, 1, 8]
)  # sentences of each document; the last: 10 or more
METHODS = ("percentile", "basic", "bca")


@dataclass(frozen=True)
class Tag:
    """How a tag occurs and is found.

    Args:
        documents: share of documents that can carry it.
        share: of their sentences that do, the mean.
        recall: mean over documents, on the scale of log-odds at the centre.
        false: log-odds of a sentence without it to be given it, at the centre.
        spread: standard deviation of a document's difficulty, in log-odds.
    """

    documents: float
    share: float
    recall: float
    false: float
    spread: float


TAGS = {
    "intent_to_withdraw": Tag(0.0109, 0.95, -1.0, -5.73, 1.0),
    "reaffirmation": Tag(0.19, 0.7, 1.4, -3.95, 1.0),
    "humanitarian_commitment": Tag(0.115, 0.71, 1.05, -4.0, 1.0),
}


def simulated(rng: np.random.Generator, documents: int) -> np.ndarray:
    """True positives, false positives and false negatives of each document: shape (documents, tags, 3)."""
    size = rng.choice(SIZES, documents)
    counts = np.zeros((documents, len(TAGS), 3), np.float32)
    for k, (name, tag) in enumerate(TAGS.items()):
        carries = rng.random(documents) < tag.documents
        if name == "intent_to_withdraw":
            # As annotated: documents that announce an exit have several sentences of it.
            size = np.where(carries, np.maximum(size, rng.geometric(0.52, documents)), size)
        share = rng.beta(4 * tag.share, 4 * (1 - tag.share), documents)
        positives = np.where(carries, rng.binomial(size, share), 0)
        difficulty = rng.normal(0, tag.spread, documents)
        found = rng.binomial(positives, expit(tag.recall - difficulty))
        false = rng.binomial(size - positives, expit(tag.false + difficulty))
        counts[:, k] = np.column_stack([found, false, positives - found])
    return counts


def f1(sums: np.ndarray) -> np.ndarray:
    """F1 of each tag from sums of counts, and their mean: shape (..., tags + 1)."""
    true, false, missed = np.moveaxis(sums, -1, 0)
    sizes = 2 * true + false + missed
    each = np.divide(2 * true, sizes, out=np.zeros_like(sizes), where=sizes > 0)
    return np.concatenate([each, each.mean(axis=-1, keepdims=True)], axis=-1)


def intervals(counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Ends by method: shape (methods, tags + 1, 2)."""
    total = counts.sum(axis=0, dtype=np.float64)
    point = f1(total)
    # Most documents count nothing: they only need to be drawn.
    some = np.flatnonzero(counts.any(axis=(1, 2)))
    sums = weights[:, some] @ counts[some].reshape(len(some), -1)
    replicates = f1(sums.reshape(-1, *counts.shape[1:]).astype(np.float64))
    left_out = f1(total - counts[some])
    found = np.zeros((len(METHODS), len(point), 2))
    for j in range(len(point)):
        low, high = percentile_interval(replicates[:, j], CONFIDENCE)
        found[0, j] = low, high
        found[1, j] = 2 * point[j] - high, 2 * point[j] - low
        # Bias-corrected and accelerated (Efron 1987), the acceleration from leaving out one document at a time.
        below = (replicates[:, j] < point[j]).mean() + (replicates[:, j] == point[j]).mean() / 2
        bias = norm.ppf(np.clip(below, 1e-3, 1 - 1e-3))
        change = np.pad(left_out[:, j] - point[j], (0, len(counts) - len(some)))
        spread = change.mean() - change
        acceleration = (spread**3).sum() / (6 * (spread**2).sum() ** 1.5) if spread.any() else 0.0
        z = bias + norm.ppf([(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        found[2, j] = np.quantile(replicates[:, j], norm.cdf(bias + z / (1 - acceleration * z)))
    return found


def as_rows(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Targets, tags and documents of rows with these counts of one tag each, for `evaluate_scores`."""
    targets, tags, documents = [], [], []
    for (document, k), cells in zip(np.ndindex(counts.shape[:2]), counts.reshape(-1, 3).astype(int), strict=True):
        for cell, times in enumerate(cells):
            for _ in range(times):
                truth, given = np.zeros((2, len(TAGS)), bool)
                truth[k], given[k] = cell != 1, cell != 2
                targets.append(truth)
                tags.append(given)
                documents.append(str(document))
    return np.array(targets), np.array(tags), documents


def of_documents(scored: ScoredRows, each: np.ndarray) -> np.ndarray:
    """Weighted true positives, false positives and false negatives of each annotated document."""
    documents, place = np.unique(scored.documents, return_inverse=True)
    counts = np.zeros((len(documents), len(TAGS), 3))
    cells = (scored.targets & scored.tags, ~scored.targets & scored.tags, scored.targets & ~scored.tags)
    for cell, there in enumerate(cells):
        np.add.at(counts[..., cell], place, there * each[:, None])
    return counts


def covered(sample: Callable[[], np.ndarray], truth: np.ndarray, repetitions: int) -> dict[str, object]:
    """How often the intervals of samples hold the truth."""
    names = [*TAGS, "macro"]
    held = np.zeros((len(METHODS), len(names)))
    sides = np.zeros((len(names), 2))
    width = np.zeros(len(names))
    seen = []
    for repetition in range(repetitions):
        counts = sample()
        if repetition % 100 == 0:  # new resamples from time to time; documents are new every time
            ids = [str(i).zfill(6) for i in range(len(counts))]
            weights = resample_weights(ids, RESAMPLES, SEED + repetition).astype(np.float32)
        found = intervals(counts.astype(np.float32), weights)
        held += (found[..., 0] <= truth) & (truth <= found[..., 1])
        sides += np.column_stack([truth < found[0, :, 0], truth > found[0, :, 1]])
        width += found[0, :, 1] - found[0, :, 0]
        positives = counts[:, :, [0, 2]].sum(axis=2)
        seen.append([*positives.sum(axis=0), *(positives > 0).sum(axis=0)])
    result: dict[str, object] = {"repetitions": repetitions}
    means = np.mean(seen, axis=0)
    for k, name in enumerate(names):
        if k < len(TAGS):
            result[f"{name}.positives"] = round(float(means[k]), 1)
            result[f"{name}.documents_with_it"] = round(float(means[len(TAGS) + k]), 1)
        for method, part in zip(METHODS, held, strict=True):
            result[f"{name}.{method}_coverage"] = round(float(part[k] / repetitions), 4)
        result[f"{name}.percentile_misses_below_above"] = (sides[k] / repetitions).round(4).tolist()
        result[f"{name}.percentile_width"] = round(float(width[k] / repetitions), 4)
    return result


def main() -> None:
    """Simulate and write result.json."""
    rng = np.random.default_rng(SEED)
    truth = f1(sum(simulated(rng, 500_000).sum(axis=0, dtype=np.float64) for _ in range(8)))
    names = [*TAGS, "macro"]
    result: dict[str, object] = {"seed": SEED, "resamples": RESAMPLES, "confidence": CONFIDENCE, **run_facts()}
    result |= {f"truth.{name}": round(float(value), 4) for name, value in zip(names, truth, strict=True)}
    for times, repetitions in ((0.25, 1000), (0.5, 1000), (1, REPETITIONS), (2, 1000), (4, 1000)):
        documents = int(DOCUMENTS * times)
        part = covered(lambda documents=documents: simulated(rng, documents), truth, repetitions)
        result |= {f"documents_{documents}.{key}": value for key, value in part.items()}
        print(documents, part, flush=True)
    scored = read_scored(HERE.parent / "bundled" / "out_of_fold.jsonl", LabelSet(tuple(TAGS)))
    for counted, each in (("drawn", np.ones(len(scored))), ("ordinary", scored.weights)):
        population = of_documents(scored, each)
        part = covered(
            lambda population=population: population[rng.integers(len(population), size=len(population))],
            f1(population.sum(axis=0)),
            REPETITIONS,
        )
        result |= {f"annotated.{counted}.{key}": value for key, value in part.items()}
        print(counted, part, flush=True)
    # The same intervals from the package, row by row.
    counts = simulated(rng, DOCUMENTS)
    targets, tags, documents_of_rows = as_rows(counts)
    report = evaluate_scores(
        LabelSet(tuple(TAGS)), targets, tags * 1.0, tags, documents_of_rows, RESAMPLES, CONFIDENCE, SEED
    )
    ids = [str(i).zfill(6) for i in range(DOCUMENTS)]
    mine = intervals(counts, resample_weights(ids, 10 * RESAMPLES, SEED).astype(np.float32))[0]
    theirs = [*(report.per_label[name].f1_ci for name in TAGS), report.macro_f1_ci]
    result["largest_difference_from_evaluate_scores"] = round(float(np.abs(mine - np.array(theirs)).max()), 4)
    (HERE / "result.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()

"""Wordings that the training text has none of: python experiments/phenomena/run.py [KEEP]. Needs TREATYSTANCE_CORPORA.

Composed sentences are tested by phenomenon, in two halves: a model trains on all real rows and on the composed
sentences of the other half's phenomena (and those of none).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedGroupKFold

from treatystance.calibration import best_f1_threshold
from treatystance.config import EncoderConfig, LinearConfig, load_config
from treatystance.fitting import Fitter
from treatystance.models.base import Batch
from treatystance.provenance import run_facts
from treatystance.train import load_data


def main() -> None:
    """Fit both families twice and record."""
    keep = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    linear, encoder = load_config(Path("configs/linear.yaml")), load_config(Path("configs/encoder.yaml"))
    if not isinstance(linear, LinearConfig) or not isinstance(encoder, EncoderConfig):
        sys.exit("the recipes are not those of the shipped models")
    encoder = encoder.model_copy(update={"export": encoder.export.model_copy(update={"vocabulary": "whole"})})
    scores: dict[str, list[Any]] = {"linear": [], "encoder": []}
    targets: list[Any] = []
    corpora = {"linear": load_data(linear), "encoder": load_data(encoder)}
    corpus = corpora["linear"]
    named = np.array([i for i, row in enumerate(corpus) if not row.evaluate and row.phenomenon])
    matrix = corpus.label_matrix()
    rarest = np.array([int(np.flatnonzero(matrix[i])[0]) if matrix[i].any() else 3 for i in named])
    groups = [corpus.rows[i].phenomenon for i in named]
    halves = StratifiedGroupKFold(2, shuffle=True, random_state=0).split(named, rarest, groups)
    for number, (_, test) in enumerate(halves):
        tested = named[test]
        train = np.setdiff1d(np.arange(len(corpus)), tested)
        for name, data in corpora.items():
            fitter = Fitter(data, linear.seed, keep, lambda line: print(line, file=sys.stderr, flush=True))
            model = (
                fitter.linear(linear, train) if name == "linear" else fitter.encoder(encoder, train, f"half_{number}")
            )
            scores[name].append(model.logits(Batch.of(corpus.take(tested))))
        targets.append(matrix[tested])
    truth = np.concatenate(targets)
    record: dict[str, Any] = {"rows": len(truth), "phenomena": len(set(groups)), **run_facts()}
    for name, parts in scores.items():
        found = []
        for k, label in enumerate(corpus.labels.names):
            tags = []
            for part, target in zip(parts, targets, strict=True):
                p = 1 / (1 + np.exp(-part[:, k]))
                tags.append(p >= best_f1_threshold(p, target[:, k], np.ones(len(p))))
            given = np.concatenate(tags)
            f1 = 2 * (given & truth[:, k]).sum() / (given.sum() + truth[:, k].sum())
            precision = average_precision_score(truth[:, k], np.concatenate(parts)[:, k])
            record |= {
                f"{name}.{label}.f1": round(float(f1), 4),
                f"{name}.{label}.average_precision": round(precision, 4),
            }
            found.append(f1)
        record[f"{name}.macro_f1"] = round(float(np.mean(found)), 4)
    Path(__file__).with_name("result.json").write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()

"""The encoder on "Trillion Dollar Words": python experiments/fomc_encoder/run.py FOLDER (with its six files) [KEEP]."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

from treatystance.config import load_config
from treatystance.corpus import load_corpus
from treatystance.evaluation import evaluate_scores
from treatystance.models.base import Batch
from treatystance.provenance import run_facts
from treatystance.train import fit, load_data

SPLITS = (5768, 78516, 944601)


def main() -> None:
    """Fit on each training file, evaluate on its test file."""
    folder = Path(sys.argv[1])
    keep = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    record: dict[str, object] = {
        "question": "What does the encoder's recipe reach on another codebook, with only a config?",
        "corpus": "Trillion Dollar Words (Shah et al. 2023), three official splits, one label of three",
    }
    found = []
    for split in SPLITS:
        changes = [f"data.0.path={folder / f'combine-{split}-train.jsonl'}", f"seed={split}"]
        config = load_config(Path("configs/fomc-encoder.yaml"), changes)
        start = time.perf_counter()
        trained = fit(config, load_data(config), "0", lambda line: print(line, file=sys.stderr, flush=True), keep)
        record[f"split_{split}.training_seconds"] = round(time.perf_counter() - start, 1)
        labels = trained.artifact.labels
        test = load_corpus([folder / f"combine-{split}-test.jsonl"], labels=labels)
        decided = trained.artifact.decide(Batch.of(test.rows))
        documents = [row.doc_id for row in test.rows]
        report = evaluate_scores(
            labels, test.label_matrix(), decided.probabilities, decided.tags, documents, 1000, 0.95, 0
        )
        record |= {f"split_{split}.{name}": round(getattr(report, name), 4) for name in ("weighted_f1", "macro_f1")}
        found.append(report.weighted_f1)
        print(split, record[f"split_{split}.weighted_f1"], flush=True)
    record |= {"mean_weighted_f1": round(float(np.mean(found)), 4), **run_facts()}
    Path(__file__).with_name("result.json").write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    print(record)


if __name__ == "__main__":
    main()

"""Compare models by their committed out-of-fold tables: python experiments/encoder_comparison/run.py NAME=TABLE…

The first is what the others are held against. Intervals and differences by a paired bootstrap over documents.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score

from treatystance.calibration import best_f1_threshold
from treatystance.statement import DEFAULT_LABELS

RESAMPLES = 2000


def read(path: Path) -> dict[str, dict[str, Any]]:
    """Rows by id."""
    return {row["id"]: row for row in map(json.loads, path.read_text("utf-8").splitlines())}


def macro_f1(tags: Any, targets: Any, weights: Any) -> float:
    """Mean F1 over labels, rows counted so many times."""
    both, given, true = (weights @ part for part in (tags & targets, tags, targets))
    return float(np.mean(2 * both / np.maximum(given + true, 1e-12)))


def main() -> None:
    """Compare and record."""
    tables = {name: read(Path(path)) for name, _, path in (word.partition("=") for word in sys.argv[1:])}
    first = next(iter(tables))
    ids = sorted(tables[first])
    if any(set(table) != set(ids) for table in tables.values()):
        sys.exit("the tables hold different rows")
    rows = [tables[first][i] for i in ids]
    targets = np.array([[label in row["labels"] for label in DEFAULT_LABELS] for row in rows])
    _, document = np.unique([row["doc_id"] for row in rows], return_inverse=True)
    ordinary = np.array([1 / row["probability"] for row in rows])
    tags, record = {}, {"rows": len(rows), "documents": int(document.max()) + 1, "resamples": RESAMPLES, "seed": 0}
    best = {}
    for name, table in tables.items():
        tags[name] = np.array([[label in table[i]["tags"] for label in DEFAULT_LABELS] for i in ids])
        scores = np.array([table[i]["probabilities"] for i in ids])
        cuts = [best_f1_threshold(scores[:, k], targets[:, k], np.ones(len(ids))) for k in range(len(DEFAULT_LABELS))]
        best[name] = scores >= np.array(cuts)
        record[f"{name}.best_thresholds_macro_f1"] = round(macro_f1(best[name], targets, np.ones(len(ids))), 4)
        for k, label in enumerate(DEFAULT_LABELS):
            record[f"{name}.{label}.average_precision"] = round(average_precision_score(targets[:, k], scores[:, k]), 4)
            for what, w in (("f1", np.ones(len(ids))), ("ordinary_f1", ordinary)):
                value = macro_f1(tags[name][:, [k]], targets[:, [k]], w)
                record[f"{name}.{label}.{what}"] = round(value, 4)
    rng = np.random.default_rng(0)
    size = document.max() + 1
    draws = [np.bincount(rng.integers(0, size, size), minlength=size)[document] for _ in range(RESAMPLES)]
    for kind, chosen in (("", tags), ("best_thresholds_", best)):
        found = {name: np.array([macro_f1(given, targets, draw) for draw in draws]) for name, given in chosen.items()}
        for name, values in found.items():
            low, high = np.percentile(values, [2.5, 97.5])
            record[f"{name}.{kind}macro_f1"] = round(macro_f1(chosen[name], targets, np.ones(len(ids))), 4)
            record |= {f"{name}.{kind}macro_f1_low": round(low, 4), f"{name}.{kind}macro_f1_high": round(high, 4)}
            if name != first:
                gain = values - found[first]
                low, high = np.percentile(gain, [2.5, 97.5])
                record |= {
                    f"{name}.{kind}gain": round(float(gain.mean()), 4),
                    f"{name}.{kind}gain_low": round(low, 4),
                    f"{name}.{kind}gain_high": round(high, 4),
                    f"{name}.{kind}share_of_resamples_not_better": round(float((gain <= 0).mean()), 4),
                }
    Path(__file__).with_name("result.json").write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()

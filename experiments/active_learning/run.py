"""What each round of active learning found, beside the random sample: `python experiments/active_learning/run.py`."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from treatystance.corpus.load import read_annotations
from treatystance.provenance import run_facts
from treatystance.statement import LabelSet

HERE = Path(__file__).parent


def main() -> None:
    """Count tags by round and by what rows were drawn for, and write result.json."""
    labels = LabelSet()
    files = [f"package:annotations/{name}.jsonl" for name in ("random_sample", "active_learning", "tagged_sample")]
    rows = read_annotations(files, labels)
    drawn: Counter[str] = Counter()
    found: Counter[tuple[str, str]] = Counter()
    totals: Counter[str] = Counter()
    for row in rows:
        keys = {f"round_{row.round}", f"round_{row.round}.{row.stratum}"}
        drawn.update(keys)
        found.update((key, label) for key in keys for label in row.labels)
        for label in row.labels:
            totals[label] += 1 / (row.probability or 1.0)
    result: dict[str, object] = {**run_facts()}
    for key in sorted(drawn):
        result[f"{key}.sentences"] = drawn[key]
        for label in labels.names:
            result[f"{key}.{label}"] = found[key, label]
    for label in labels.names:
        result[f"estimated_total.{label}"] = round(totals[label])
    (HERE / "result.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    for key in sorted(drawn):
        print(f"{key:45} {drawn[key]:5}", *(found[key, label] for label in labels.names))


if __name__ == "__main__":
    main()

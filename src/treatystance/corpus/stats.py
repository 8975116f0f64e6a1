"""What a corpus holds: counts by label, origin, kind, government, decade and phenomenon."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from typing import Any

from treatystance.corpus.rows import Corpus

__all__ = ["corpus_stats"]


def corpus_stats(corpus: Corpus) -> dict[str, Any]:
    """Counts, as a dictionary ready for JSON: statements, sentences, and a table for each way of slicing."""
    rows = corpus.rows
    words = sorted(len(row.text.split()) for row in rows)

    def table(values: Iterable[Hashable]) -> dict[str, int]:
        return {str(key): count for key, count in Counter(v for v in values if v is not None).most_common()}

    return {
        "sha256": corpus.sha256,
        "codebook_sha256": corpus.codebook_sha256,
        "statements": len({row.doc_id for row in rows}),
        "sentences": len(rows),
        "labels": {name: sum(name in row.labels for row in rows) for name in corpus.labels.names},
        "several_labels": sum(len(row.labels) > 1 for row in rows),
        "no_label": sum(not row.labels for row in rows),
        "words_median": words[len(words) // 2] if words else 0,
        "governments": len({code for row in rows for code in row.governments}),
        "by_origin": table(row.origin for row in rows),
        "by_kind": table(row.kind for row in rows),
        "by_decade": table(f"{row.year // 10 * 10}s" if row.year else None for row in rows),
        "by_treaty": table(row.treaty for row in rows),
        "by_phenomenon": table(row.phenomenon for row in rows),
    }

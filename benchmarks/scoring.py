"""Scoring speed, side by side in one run: ours, and scikit-learn's TF-IDF with logistic regression.

    python benchmarks/scoring.py [--sentences 50000] [--text FILE.parquet]

Sentences come from the public corpus where TREATYSTANCE_CORPORA names it, otherwise from the composed corpus, repeated.
All use the same number of processes (one). The report is a table and a JSON record on standard output.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline, make_union

from treatystance import Predictor
from treatystance.corpus import load_corpus
from treatystance.corpus.public import locate
from treatystance.models.base import Batch
from treatystance.segment import segment


def sentences(count: int, path: Path | None) -> list[str]:
    """Real sentences where there are any, else composed ones."""
    found: list[str] = []
    if path:
        import pyarrow.parquet as pq

        for batch in pq.ParquetFile(path).iter_batches(batch_size=64, columns=["text"]):
            for text in batch.column(0).to_pylist():
                found += [text[start:end] for start, end in segment(text)]
            if len(found) >= count:
                return found[:count]
    else:
        composed = [row.text for row in load_corpus(["package:composed"])]
        while len(found) < count:
            found += composed
    return found[:count]


def rate(run: Callable[[], Any], count: int, repeats: int = 3) -> float:
    """Sentences a second, the best of a few runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return count / min(times)


def process_time(*command: str) -> float:
    """Seconds of a whole process, the best of five."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", type=int, default=50_000)
    parser.add_argument("--text", type=Path, default=locate("ungdc"))
    options = parser.parse_args()
    texts = sentences(options.sentences, options.text)
    corpus = load_corpus(["package:composed"])
    train, targets = [row.text for row in corpus], corpus.label_matrix().astype(int)
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), min_df=2, sublinear_tf=True)
    peers = {
        "scikit-learn, words": make_pipeline(words, OneVsRestClassifier(LogisticRegression())),
        "scikit-learn, words and characters": make_pipeline(
            make_union(words, characters), OneVsRestClassifier(LogisticRegression())
        ),
    }
    predictor = Predictor.load()
    nothing: list[str | None] = [None] * len(texts)
    rates = {"treatystance, bundled": rate(lambda: predictor.decide(Batch(texts, nothing, nothing)), len(texts))}
    for name, peer in peers.items():
        peer.fit(train, targets)
        rates[name] = rate(lambda peer=peer: peer.predict_proba(texts), len(texts), 2)  # type: ignore[misc]
    print(f"{'one process':36} sentences/s   ratio")
    for name, value in rates.items():
        print(f"{name:36} {value:11,.0f}  {value / rates['scikit-learn, words and characters']:6.2f}")
    starts = {
        "treatystance predict": process_time(sys.executable, "-m", "treatystance.cli", "predict", "We will leave."),
        "import sklearn.linear_model": process_time(sys.executable, "-c", "import sklearn.linear_model"),
    }
    print(f"\n{'whole process':36}     seconds")
    for name, value in starts.items():
        print(f"{name:36} {value:11.2f}")
    print(json.dumps({"sentences": len(texts), "real_text": bool(options.text), "rates": rates, "starts": starts}))


if __name__ == "__main__":
    main()

"""Cross-validate recipes and record them: python experiments/encoder_relatives/run.py [--keep FOLDER] RECIPE…

Writes NAME.json (figures) and NAME.out_of_fold.jsonl (no text) beside this file. Needs TREATYSTANCE_CORPORA.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path

from treatystance.config import load_config
from treatystance.crossval import cross_validate, out_of_fold
from treatystance.fitting import Fitter
from treatystance.provenance import run_facts
from treatystance.train import load_data


def main() -> None:
    """Run each recipe."""
    parser = argparse.ArgumentParser()
    parser.add_argument("recipes", nargs="+", type=Path)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    for path in options.recipes:
        config = load_config(path, options.set)
        corpus = load_data(config)

        def say(message: str) -> None:
            print(message, file=sys.stderr, flush=True)

        start = time.perf_counter()
        found = cross_validate(config, corpus, say=say, fitter=Fitter(corpus, config.seed, options.keep, say))
        record = {
            "recipe": path.name,
            "overrides": " ".join(options.set),
            "config_sha256": config.sha256,
            "corpus_sha256": corpus.sha256,
            "seed": config.seed,
            "seconds": round(time.perf_counter() - start, 1),
            "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
            "macro_f1": round(found.report.macro_f1, 4),
            "macro_f1_low": round(found.report.macro_f1_ci[0], 4),
            "macro_f1_high": round(found.report.macro_f1_ci[1], 4),
            **{
                f"{label}.{name}": round(getattr(part, name), 4)
                for label, part in found.report.per_label.items()
                for name in ("f1", "average_precision")
            },
            "ordinary.macro_f1": round(found.ordinary.macro_f1, 4),
            **run_facts(),
        }
        here = Path(__file__).parent
        (here / f"{path.stem}.json").write_text(json.dumps(record, indent=1) + "\n", "utf-8")
        (here / f"{path.stem}.out_of_fold.jsonl").write_text(out_of_fold(corpus, found).to_jsonl(), "utf-8")
        print(path.stem, record["macro_f1"], flush=True)


if __name__ == "__main__":
    main()

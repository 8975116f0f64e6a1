"""The command `treatystance`: parse, call one library function, print.

Libraries load only in the command that needs them.

Standard output is for data, standard error for progress and messages. Exit codes: 0 done, 2 wrong usage or input,
1 anything else.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from treatystance.console import add_command, positive, print_json, say
from treatystance.errors import InputError, MissingExtraError, TreatystanceError

if TYPE_CHECKING:
    from treatystance.evaluation import Report
    from treatystance.statement import Prediction

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], None] = options.run
    try:
        command(options)
        if sys.stdout:  # None where the caller closed it
            sys.stdout.flush()
    except TreatystanceError as error:
        print(f"treatystance: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # The reader of our output went away (such as `head`); nothing is wrong, and nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("treatystance: interrupted", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    from treatystance import __version__
    from treatystance.corpus_cli import add_corpus_commands
    from treatystance.evidence_cli import add_evidence_commands

    parser = argparse.ArgumentParser(
        prog="treatystance",
        description="Who is leaving a treaty, who stands by it, who commits to protect people.",
    )
    parser.add_argument("--version", action="version", version=f"treatystance {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    reference = (
        "bundled, minilm, minilm-cascade, a model folder, models:/NAME@ALIAS, models:/NAME/VERSION or runs:/ID/model"
    )

    train = add_command(commands, "train", _train, "train, evaluate, track in MLflow, register")
    train.add_argument("config", type=Path, metavar="CONFIG", help="recipe, such as configs/linear.yaml")
    train.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override, such as classifier.c=3"
    )
    train.add_argument("--keep", type=Path, metavar="FOLDER", help="keep fitted encoders there; a broken run goes on")

    evaluate = add_command(commands, "evaluate", _evaluate, "scores on a labelled file, with confidence intervals")
    comparison = f"{reference}; to compare with: nli, nli:CHECKPOINT, chat:MODEL"
    evaluate.add_argument("--model", default="bundled", metavar="REF", help=comparison)
    evaluate.add_argument("--data", type=Path, required=True, metavar="FILE", help="JSON Lines with text and labels")
    evaluate.add_argument("--json", action="store_true", help="print one JSON object")

    promote = add_command(commands, "promote", _promote, "move an alias to a registered model, through the gate")
    promote.add_argument("model", metavar="REF", help="models:/NAME/VERSION or models:/NAME@ALIAS")
    promote.add_argument("--alias", default="champion")
    promote.add_argument("--rules", type=Path, metavar="FILE", help="bounds, such as configs/gate.yaml: the defaults")

    predict = add_command(commands, "predict", _predict, "tag statements, given as arguments, a file or standard input")
    predict.add_argument("text", nargs="*", metavar="TEXT", help="a statement each")
    predict.add_argument("--file", type=Path, metavar="PATH", help="a text file: one statement")
    predict.add_argument("--model", default="bundled", metavar="REF", help=comparison)
    predict.add_argument("--government", metavar="ISO3", help="speaking government, such as POL")
    predict.add_argument("--date", metavar="DATE", help="ISO 8601")
    predict.add_argument("--kind", help="kind of text, such as speech or communique")
    predict.add_argument("--json", action="store_true", help="print one JSON array, an element per statement")

    score = add_command(commands, "score", _score, "score a table (or a folder of tables) of statements")
    score.add_argument("input", type=Path, metavar="INPUT", help=".jsonl, .csv or .parquet, or a folder of them")
    score.add_argument("output", type=Path, metavar="OUTPUT", help="file by ending, or a folder")
    score.add_argument("--model", default="bundled", metavar="REF", help=reference)
    score.add_argument("--unit", choices=("statement", "sentence"), default="statement")
    score.add_argument("--text-column", default="text", metavar="NAME")
    score.add_argument("--id-column", metavar="NAME", help="default: id where there is one, else the row's number")
    score.add_argument("--government-column", default="government", metavar="NAME", help="used where there is one")
    score.add_argument("--processes", type=positive, metavar="N", help="default: one per core")
    score.add_argument("--engine", choices=("local", "ray"), default="local")
    score.add_argument("--restart", action="store_true", help="start anew; this version always does")

    add_corpus_commands(commands, reference)
    add_evidence_commands(commands, reference)
    return parser


def _train(options: argparse.Namespace) -> None:
    from treatystance.config import load_config
    from treatystance.train import train

    trained, reference = train(load_config(options.config, options.set), say, options.keep)
    _print_report(trained.validation.report, "cross-validated")
    if any(row.probability < 1 for row in trained.corpus.rows):
        _print_report(trained.validation.ordinary, "weighted to ordinary text")
    print(reference)


def _evaluate(options: argparse.Namespace) -> None:
    from treatystance.train import evaluate

    report, model = evaluate(options.model, options.data)
    if options.json:
        print_json({**report.to_dict(), "model": model})
    else:
        _print_report(report, model)


def _print_report(report: Report, title: str) -> None:
    low, high = report.macro_f1_ci
    print(f"{title}: {report.n} sentences of {report.documents} documents")
    print(f"macro-F1 {report.macro_f1:.3f} ({report.confidence:.0%} interval {low:.3f} to {high:.3f})")
    width = max(map(len, report.per_label))
    print(f"{'':{width}}  precision  recall     F1  interval        average precision  support")
    for label, part in report.per_label.items():
        low, high = part.f1_ci
        print(
            f"{label:{width}}  {part.precision:9.3f}  {part.recall:6.3f}  {part.f1:5.3f}  {low:.3f} to {high:.3f}"
            f"  {part.average_precision:17.3f}  {part.support:7d}"
        )


def _promote(options: argparse.Namespace) -> None:
    from treatystance.config import GateRules, load_gate_rules
    from treatystance.gate import promote

    rules = load_gate_rules(options.rules) if options.rules else GateRules()
    print(promote(options.model, options.alias, rules, print))


def _predict(options: argparse.Namespace) -> None:
    from treatystance.predictor import Predictor
    from treatystance.statement import Statement

    facts = {"government": options.government, "date": options.date, "kind": options.kind}
    statements = [Statement(text=text, **facts) for text in _texts(options)]
    predictions = Predictor.load(options.model).predict(statements)
    if options.json:
        print_json([prediction.to_dict() for prediction in predictions])
    else:
        for number, prediction in enumerate(predictions):
            if number:
                print()
            _print_prediction(prediction)


def _texts(options: argparse.Namespace) -> list[str]:
    if options.file and options.text:
        raise InputError("give TEXT or --file, not both")
    if options.text:
        texts, where = list(options.text), "the text"
    elif options.file:
        try:
            texts, where = [_decoded(options.file.read_bytes(), str(options.file))], str(options.file)
        except OSError as error:
            raise InputError(f"{options.file}: cannot be read ({error.strerror})") from None
    else:
        texts, where = [_decoded(sys.stdin.buffer.read(), "standard input")], "standard input"
    if not all(text.strip() for text in texts):
        raise InputError(f"{where}: empty; give a statement's text")
    return texts


def _decoded(content: bytes, where: str) -> str:
    if b"\0" in content[:4096]:
        raise InputError(f"{where}: binary, not text; give plain text in UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: not UTF-8 at byte {error.start + 1}; convert it to UTF-8") from None


def _print_prediction(prediction: Prediction) -> None:
    doubt = f" (uncertain: {', '.join(prediction.uncertain)})" if prediction.uncertain else ""
    print(f"{', '.join(prediction.tags) or 'no tag'}{doubt}")
    for sentence in prediction.sentences:
        if sentence.tags:
            tags = ", ".join(f"{tag} {sentence.scores[tag]:.2f}" for tag in sentence.tags)
            print(f"  [{sentence.start}-{sentence.end}] {tags}")
            print(f"    {' '.join(sentence.text.split())}")
    print(f"  {len(prediction.sentences)} sentences, model {prediction.model}")


def _score(options: argparse.Namespace) -> None:
    from tqdm import tqdm

    from treatystance.batch import score_files
    from treatystance.tables import Columns

    if options.engine == "ray":
        raise MissingExtraError("--engine ray is not part of this version; use --engine local")
    columns = Columns(
        text=options.text_column,
        id=options.id_column or "id",
        id_required=options.id_column is not None,
        government=options.government_column,
    )
    # disable=None: no bar where standard error is not a terminal.
    with tqdm(unit=" rows", unit_scale=True, file=sys.stderr, disable=None) as bar:

        def progress(rows: int, total: int | None) -> None:
            bar.total = total
            bar.update(rows)

        done = score_files(
            options.input, options.output, options.model, options.unit, columns, options.processes, progress
        )
    say(
        f"{done.rows_in} rows in, {done.rows_scored} scored, {done.rows_rejected} rejected; "
        f"{done.rows_out} rows written to {options.output}"
    )


if __name__ == "__main__":
    sys.exit(main())

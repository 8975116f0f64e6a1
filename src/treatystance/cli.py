"""The command `treatystance`: parse, call one library function, print.

Libraries load only in the command that needs them.

Standard output is for data, standard error for progress and messages. Exit codes: 0 done, 2 wrong usage or input,
1 anything else.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from treatystance.errors import CorpusError, InputError, MissingExtraError, TreatystanceError

if TYPE_CHECKING:
    from treatystance.evaluation import Report
    from treatystance.statement import LabelSet, Prediction

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

    parser = argparse.ArgumentParser(
        prog="treatystance",
        description="Who is leaving a treaty, who stands by it, who commits to protect people.",
    )
    parser.add_argument("--version", action="version", version=f"treatystance {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    reference = (
        "bundled, minilm, minilm-cascade, a model folder, models:/NAME@ALIAS, models:/NAME/VERSION or runs:/ID/model"
    )

    train = _command(commands, "train", _train, "train, evaluate, track in MLflow, register")
    train.add_argument("config", type=Path, metavar="CONFIG", help="recipe, such as configs/linear.yaml")
    train.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override, such as classifier.c=3"
    )
    train.add_argument("--keep", type=Path, metavar="FOLDER", help="keep fitted encoders there; a broken run goes on")

    evaluate = _command(commands, "evaluate", _evaluate, "scores on a labelled file, with confidence intervals")
    comparison = f"{reference}; to compare with: nli, nli:CHECKPOINT, chat:MODEL"
    evaluate.add_argument("--model", default="bundled", metavar="REF", help=comparison)
    evaluate.add_argument("--data", type=Path, required=True, metavar="FILE", help="JSON Lines with text and labels")
    evaluate.add_argument("--json", action="store_true", help="print one JSON object")

    promote = _command(commands, "promote", _promote, "move an alias to a registered model, through the gate")
    promote.add_argument("model", metavar="REF", help="models:/NAME/VERSION or models:/NAME@ALIAS")
    promote.add_argument("--alias", default="champion")

    predict = _command(commands, "predict", _predict, "tag statements, given as arguments, a file or standard input")
    predict.add_argument("text", nargs="*", metavar="TEXT", help="a statement each")
    predict.add_argument("--file", type=Path, metavar="PATH", help="a text file: one statement")
    predict.add_argument("--model", default="bundled", metavar="REF", help=comparison)
    predict.add_argument("--government", metavar="ISO3", help="speaking government, such as POL")
    predict.add_argument("--date", metavar="DATE", help="ISO 8601")
    predict.add_argument("--kind", help="kind of text, such as speech or communique")
    predict.add_argument("--json", action="store_true", help="print one JSON array, an element per statement")

    score = _command(commands, "score", _score, "score a table (or a folder of tables) of statements")
    score.add_argument("input", type=Path, metavar="INPUT", help=".jsonl, .csv or .parquet, or a folder of them")
    score.add_argument("output", type=Path, metavar="OUTPUT", help="file by ending, or a folder")
    score.add_argument("--model", default="bundled", metavar="REF", help=reference)
    score.add_argument("--unit", choices=("statement", "sentence"), default="statement")
    score.add_argument("--text-column", default="text", metavar="NAME")
    score.add_argument("--id-column", metavar="NAME", help="default: id where there is one, else the row's number")
    score.add_argument("--government-column", default="government", metavar="NAME", help="used where there is one")
    score.add_argument("--processes", type=_positive, metavar="N", help="default: one per core")
    score.add_argument("--engine", choices=("local", "ray"), default="local")
    score.add_argument("--restart", action="store_true", help="start anew; this version always does")

    corpus = commands.add_parser("corpus", help="validate, describe and build labelled data")
    parts = corpus.add_subparsers(metavar="COMMAND", required=True)
    for name, run, what in (
        ("validate", _corpus_validate, "name every fault of labelled files, with file, line and reason"),
        ("stats", _corpus_stats, "counts by label, kind, government, decade and phenomenon, as JSON"),
    ):
        part = _command(parts, name, run, what)
        part.add_argument("files", nargs="+", metavar="FILE", help="file, folder, or package:NAME")
        _labels_option(part)
        _corpus_option(part)
    build = _command(parts, "build", _corpus_build, "join stand-off annotations with local copies of public corpora")
    build.add_argument("--annotations", nargs="+", required=True, metavar="FILE")
    _corpus_option(build)
    build.add_argument("--out", type=Path, required=True, metavar="FILE", help=".parquet or .jsonl")
    export = _command(parts, "export", _corpus_export, "the shipped corpus as a folder for datasets.load_dataset")
    export.add_argument("out", type=Path, metavar="FOLDER", help="a new folder")
    export.add_argument("--real", action="store_true", help="also the annotations joined with the public corpora")
    _corpus_option(export)
    quality = _command(parts, "quality", _corpus_quality, "repeats, variety and likeness to real text, as JSON")
    quality.add_argument("files", nargs="+", metavar="FILE", help="file, folder, or package:NAME")
    _labels_option(quality)
    quality.add_argument("--real", nargs="+", default=[], metavar="FILE", help="labelled real text to hold it against")
    _corpus_option(quality)
    audit = _command(parts, "audit", _corpus_audit, "the labels that cross-validated scores doubt most, as JSON Lines")
    audit.add_argument("table", type=Path, metavar="FILE", help="out_of_fold.jsonl of a training run")
    audit.add_argument("--data", nargs="+", default=[], metavar="FILE", help="the labelled data, to show the text")
    _corpus_option(audit)
    audit.add_argument("--top", type=_positive, default=150, metavar="N", help="how many rows (150)")
    _labels_option(audit)
    draw = _command(parts, "draw", _corpus_draw, "sentences to annotate next, from a table of scores, as JSON Lines")
    draw.add_argument("scores", type=Path, metavar="SCORES", help="what score --unit sentence wrote")
    draw.add_argument("out", type=Path, metavar="OUT", help="a new file")
    draw.add_argument("--model", default="bundled", metavar="REF", help=f"whose thresholds --unsure takes: {reference}")
    draw.add_argument("--random", metavar="N", help="a uniform sample of all sentences")
    for option, what in (("--top", "the highest scores of a tag"), ("--unsure", "the scores nearest its threshold")):
        draw.add_argument(option, nargs="+", action="extend", default=[], metavar="TAG=N", help=what)
    draw.add_argument("--exclude", nargs="+", action="extend", default=[], metavar="FILE", help="rows not to draw")
    draw.add_argument("--seed", type=int, default=0, metavar="S", help="of the sample and of the order (0)")
    agreement = _command(
        parts, "agreement", _corpus_agreement, "alpha per label, confusion and adjudications of two annotators, as JSON"
    )
    agreement.add_argument("files", nargs="+", metavar="FILE")
    _labels_option(agreement)
    return parser


def _command(commands: Any, name: str, run: Callable[[argparse.Namespace], None], what: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=what, description=what)
    parser.set_defaults(run=run)
    return parser


def _labels_option(part: argparse.ArgumentParser) -> None:
    part.add_argument("--labels", metavar="A,B,...", help="label names in their order; default: the three tags")


def _corpus_option(part: argparse.ArgumentParser) -> None:
    what = "a public corpus's file, such as ungdc=ungdc.parquet"
    part.add_argument("--corpus", action="append", default=[], metavar="NAME=FILE", help=what)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not at least 1")
    return number


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=1))


def _named_files(pairs: Sequence[str]) -> dict[str, Path]:
    named = {}
    for pair in pairs:
        name, equals, path = pair.partition("=")
        if not (name and equals and path):
            raise InputError(f"--corpus {pair}: write NAME=FILE, such as ungdc=ungdc.parquet")
        named[name] = Path(path)
    return named


def _train(options: argparse.Namespace) -> None:
    from treatystance.config import load_config
    from treatystance.train import train

    trained, reference = train(load_config(options.config, options.set), _say, options.keep)
    _print_report(trained.validation.report, "cross-validated")
    if any(row.probability < 1 for row in trained.corpus.rows):
        _print_report(trained.validation.ordinary, "weighted to ordinary text")
    print(reference)


def _evaluate(options: argparse.Namespace) -> None:
    from treatystance.train import evaluate

    report, model = evaluate(options.model, options.data)
    if options.json:
        _print_json({**report.to_dict(), "model": model})
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
    from treatystance.gate import promote

    print(promote(options.model, options.alias))


def _predict(options: argparse.Namespace) -> None:
    from treatystance.predictor import Predictor
    from treatystance.statement import Statement

    facts = {"government": options.government, "date": options.date, "kind": options.kind}
    statements = [Statement(text=text, **facts) for text in _texts(options)]
    predictions = Predictor.load(options.model).predict(statements)
    if options.json:
        _print_json([prediction.to_dict() for prediction in predictions])
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
    _say(
        f"{done.rows_in} rows in, {done.rows_scored} scored, {done.rows_rejected} rejected; "
        f"{done.rows_out} rows written to {options.output}"
    )


def _corpus_validate(options: argparse.Namespace) -> None:
    corpus = _load(options)
    print(f"{len(corpus)} sentences of {len({row.doc_id for row in corpus})} statements: no fault")


def _corpus_stats(options: argparse.Namespace) -> None:
    from treatystance.corpus.stats import corpus_stats

    _print_json(corpus_stats(_load(options)))


def _load(options: argparse.Namespace) -> Any:
    from treatystance.corpus.load import load_corpus

    return load_corpus(options.files, _label_set(options.labels), _named_files(options.corpus))


def _label_set(names: str | None) -> LabelSet:
    from treatystance.statement import DEFAULT_LABELS, LabelSet

    return LabelSet(tuple(names.split(",")) if names else DEFAULT_LABELS)


def _corpus_quality(options: argparse.Namespace) -> None:
    from treatystance.corpus.load import load_corpus
    from treatystance.quality import corpus_quality

    corpora = _named_files(options.corpus)
    labels = _label_set(options.labels)
    real = load_corpus(options.real, labels, corpora) if options.real else None
    _print_json(corpus_quality(load_corpus(options.files, labels, corpora), real))


def _corpus_audit(options: argparse.Namespace) -> None:
    from treatystance.corpus.audit import audit, read_out_of_fold
    from treatystance.corpus.load import load_corpus

    labels = _label_set(options.labels)
    data = load_corpus(options.data, labels, _named_files(options.corpus)) if options.data else ()
    texts = {row.id: row.text for row in data}
    for row in audit(read_out_of_fold(options.table), labels, texts, options.top):
        print(json.dumps(row, ensure_ascii=False))


def _corpus_build(options: argparse.Namespace) -> None:
    from treatystance.corpus.build import build_corpus

    built, faults = build_corpus(options.annotations, _named_files(options.corpus), options.out)
    if built:
        _say(f"{built} rows written to {options.out}")
    if faults:
        raise CorpusError(faults)


def _corpus_export(options: argparse.Namespace) -> None:
    from treatystance.corpus.export import export_corpus

    counts = export_corpus(options.out, _named_files(options.corpus), options.real)
    for name, count in counts.items():
        _say(f"{name}: {count} rows")


def _corpus_draw(options: argparse.Namespace) -> None:
    from treatystance.corpus.draw import draw
    from treatystance.registry import load_reference

    unsure = _numbers_by_tag(options.unsure, "--unsure")
    artifact = load_reference(options.model) if unsure else None
    counts = draw(
        options.scores,
        options.out,
        random=None if options.random is None else _whole(options.random, "--random"),
        top=_numbers_by_tag(options.top, "--top"),
        unsure=unsure,
        thresholds=dict(zip(artifact.labels.names, artifact.decision.threshold, strict=True)) if artifact else None,
        model=artifact.full_name if artifact else None,
        exclude=options.exclude,
        seed=options.seed,
    )
    for stratum, count in counts.items():
        _say(f"{stratum}: {count} rows")


def _numbers_by_tag(pairs: Sequence[str], option: str) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for pair in pairs:
        tag, equals, number = pair.rpartition("=")
        if not (tag and equals) or tag in numbers:
            raise InputError(f"{option} {pair}: write TAG=N, each tag once")
        numbers[tag] = _whole(number, option)
    return numbers


def _whole(text: str, option: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InputError(f"{option}: a positive whole number is wanted, not {text!r}") from None


def _corpus_agreement(options: argparse.Namespace) -> None:
    from treatystance.corpus.agreement import adjudications, agreement, confusion
    from treatystance.corpus.load import read_annotations

    labels = _label_set(options.labels)
    records = read_annotations(options.files, labels)
    found = confusion(records)
    _print_json(
        {
            "rows": sum(part["count"] for part in found),
            "labels": [part.to_dict() for part in agreement(records, labels)],
            "confusion": found,
            "adjudicated": adjudications(records),
        }
    )


if __name__ == "__main__":
    sys.exit(main())

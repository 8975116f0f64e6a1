"""The commands `treatystance corpus …`: parse, call one library function, print. `cli` declares them with its own."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from treatystance.console import add_command, positive, print_json, say
from treatystance.errors import CorpusError, InputError

if TYPE_CHECKING:
    from treatystance.corpus import Corpus
    from treatystance.statement import LabelSet

__all__ = ["add_corpus_commands"]


def add_corpus_commands(commands: Any, reference: str) -> None:
    """Declare the corpus commands.

    Args:
        commands: what `ArgumentParser.add_subparsers` gave.
        reference: how a model may be named, for the help.
    """
    corpus = commands.add_parser("corpus", help="validate, describe and build labelled data")
    parts = corpus.add_subparsers(metavar="COMMAND", required=True)
    for name, run, what in (
        ("validate", _validate, "name every fault of labelled files, with file, line and reason"),
        ("stats", _stats, "counts by label, kind, government, decade and phenomenon, as JSON"),
    ):
        part = add_command(parts, name, run, what)
        part.add_argument("files", nargs="+", metavar="FILE", help="file, folder, or package:NAME")
        _labels_option(part)
        _corpus_option(part)
    build = add_command(parts, "build", _build, "join stand-off annotations with local copies of public corpora")
    build.add_argument("--annotations", nargs="+", required=True, metavar="FILE")
    _corpus_option(build)
    build.add_argument("--out", type=Path, required=True, metavar="FILE", help=".parquet or .jsonl")
    export = add_command(parts, "export", _export, "the shipped corpus as a folder for datasets.load_dataset")
    export.add_argument("out", type=Path, metavar="FOLDER", help="a new folder")
    export.add_argument("--real", action="store_true", help="also the annotations joined with the public corpora")
    _corpus_option(export)
    quality = add_command(parts, "quality", _quality, "repeats, variety and likeness to real text, as JSON")
    quality.add_argument("files", nargs="+", metavar="FILE", help="file, folder, or package:NAME")
    _labels_option(quality)
    quality.add_argument("--real", nargs="+", default=[], metavar="FILE", help="labelled real text to hold it against")
    _corpus_option(quality)
    audit = add_command(parts, "audit", _audit, "the labels that cross-validated scores doubt most, as JSON Lines")
    audit.add_argument("table", type=Path, metavar="FILE", help="out_of_fold.jsonl of a training run")
    audit.add_argument("--data", nargs="+", default=[], metavar="FILE", help="the labelled data, to show the text")
    _corpus_option(audit)
    audit.add_argument("--top", type=positive, default=150, metavar="N", help="how many rows (150)")
    _labels_option(audit)
    draw = add_command(parts, "draw", _draw, "sentences to annotate next, from a table of scores, as JSON Lines")
    draw.add_argument("scores", type=Path, metavar="SCORES", help="what score --unit sentence wrote")
    draw.add_argument("out", type=Path, metavar="OUT", help="a new file")
    draw.add_argument("--model", default="bundled", metavar="REF", help=f"whose thresholds --unsure takes: {reference}")
    draw.add_argument("--random", metavar="N", help="a uniform sample of all sentences")
    for option, what in (("--top", "the highest scores of a tag"), ("--unsure", "the scores nearest its threshold")):
        draw.add_argument(option, nargs="+", action="extend", default=[], metavar="TAG=N", help=what)
    draw.add_argument("--exclude", nargs="+", action="extend", default=[], metavar="FILE", help="rows not to draw")
    draw.add_argument("--seed", type=int, default=0, metavar="S", help="of the sample and of the order (0)")
    agreement = add_command(
        parts, "agreement", _agreement, "alpha per label, confusion and adjudications of two annotators, as JSON"
    )
    agreement.add_argument("files", nargs="+", metavar="FILE")
    _labels_option(agreement)


def _labels_option(part: argparse.ArgumentParser) -> None:
    part.add_argument("--labels", metavar="A,B,...", help="label names in their order; default: the three tags")


def _corpus_option(part: argparse.ArgumentParser) -> None:
    what = "a public corpus's file, such as ungdc=ungdc.parquet"
    part.add_argument("--corpus", action="append", default=[], metavar="NAME=FILE", help=what)


def _named_files(pairs: Sequence[str]) -> dict[str, Path]:
    named = {}
    for pair in pairs:
        name, equals, path = pair.partition("=")
        if not (name and equals and path):
            raise InputError(f"--corpus {pair}: write NAME=FILE, such as ungdc=ungdc.parquet")
        named[name] = Path(path)
    return named


def _validate(options: argparse.Namespace) -> None:
    corpus = _load(options)
    print(f"{len(corpus)} sentences of {len({row.doc_id for row in corpus})} statements: no fault")


def _stats(options: argparse.Namespace) -> None:
    from treatystance.corpus.stats import corpus_stats

    print_json(corpus_stats(_load(options)))


def _load(options: argparse.Namespace) -> Corpus:
    from treatystance.corpus.load import load_corpus

    return load_corpus(options.files, _label_set(options.labels), _named_files(options.corpus))


def _label_set(names: str | None) -> LabelSet:
    from treatystance.statement import DEFAULT_LABELS, LabelSet

    return LabelSet(tuple(names.split(",")) if names else DEFAULT_LABELS)


def _quality(options: argparse.Namespace) -> None:
    from treatystance.corpus.load import load_corpus
    from treatystance.quality import corpus_quality

    corpora = _named_files(options.corpus)
    labels = _label_set(options.labels)
    real = load_corpus(options.real, labels, corpora) if options.real else None
    print_json(corpus_quality(load_corpus(options.files, labels, corpora), real))


def _audit(options: argparse.Namespace) -> None:
    from treatystance.corpus.audit import audit, read_out_of_fold
    from treatystance.corpus.load import load_corpus

    labels = _label_set(options.labels)
    data = load_corpus(options.data, labels, _named_files(options.corpus)) if options.data else ()
    texts = {row.id: row.text for row in data}
    for row in audit(read_out_of_fold(options.table), labels, texts, options.top):
        print(json.dumps(row, ensure_ascii=False))


def _build(options: argparse.Namespace) -> None:
    from treatystance.corpus.build import build_corpus

    built, faults = build_corpus(options.annotations, _named_files(options.corpus), options.out)
    if built:
        say(f"{built} rows written to {options.out}")
    if faults:
        raise CorpusError(faults)


def _export(options: argparse.Namespace) -> None:
    from treatystance.corpus.export import export_corpus

    counts = export_corpus(options.out, _named_files(options.corpus), options.real)
    for name, count in counts.items():
        say(f"{name}: {count} rows")


def _draw(options: argparse.Namespace) -> None:
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
        say(f"{stratum}: {count} rows")


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


def _agreement(options: argparse.Namespace) -> None:
    from treatystance.corpus.agreement import adjudications, agreement, confusion
    from treatystance.corpus.load import read_annotations

    labels = _label_set(options.labels)
    records = read_annotations(options.files, labels)
    found = confusion(records)
    print_json(
        {
            "rows": sum(part["count"] for part in found),
            "labels": [part.to_dict() for part in agreement(records, labels)],
            "confusion": found,
            "adjudicated": adjudications(records),
        }
    )

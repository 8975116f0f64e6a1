"""The commands `treatystance check | card | errors | experiments`: parse, call one library function, print."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from treatystance.console import add_command, positive, print_json, say
from treatystance.errors import CorpusError, InputError, TreatystanceError

if TYPE_CHECKING:
    from treatystance.evidence.behaviour import BehaviourReport

__all__ = ["add_evidence_commands"]


def add_evidence_commands(commands: Any, reference: str) -> None:
    """Declare the commands.

    Args:
        commands: what `ArgumentParser.add_subparsers` gave.
        reference: how a model may be named, for the help.
    """
    check = add_command(commands, "check", _check, "behavioural tests: pass rate by phenomenon of the codebook")
    check.add_argument("model", metavar="MODEL", help=reference)
    check.add_argument("--json", action="store_true", help="print one JSON object, failures included")
    check.add_argument("--failures", action="store_true", help="also the cases that fail: what was expected and given")
    check.add_argument(
        "--phenomenon", nargs="+", action="extend", default=[], metavar="NAME", help="these alone; default: all"
    )
    check.add_argument("--picture", type=Path, metavar="FILE", help="pass rates as a picture, such as check.png")
    check.add_argument("--suite", type=Path, metavar="FOLDER", help="your own cases; default: those of the package")
    check.add_argument("--min-pass", type=_share, metavar="RATE", help="exit code 1 if the overall rate is lower")

    card = add_command(commands, "card", _card, "the model's card")
    card.add_argument("model", metavar="MODEL", help=reference)
    card.add_argument("--pictures", type=Path, metavar="FOLDER", help="write the card's pictures there")

    errors = add_command(commands, "errors", _errors, "the model's worst errors on a labelled file, as an HTML page")
    errors.add_argument("model", metavar="MODEL", help=reference)
    errors.add_argument("--data", type=Path, required=True, metavar="FILE", help="JSON Lines with text and labels")
    errors.add_argument("--out", type=Path, default=Path("errors.html"), metavar="FILE", help="default: errors.html")
    errors.add_argument("--top", type=positive, default=100, metavar="N", help="errors shown of each tag; default: 100")
    errors.add_argument(
        "--neighbours",
        nargs="*",
        metavar="FILE",
        help="labelled files to look for like sentences in; default: what the package trains on; none for no look",
    )

    experiments = add_command(commands, "experiments", _experiments, "recorded experiments, as a table")
    experiments.add_argument("folder", nargs="?", type=Path, default=Path("experiments"), metavar="FOLDER")
    experiments.add_argument("--json", action="store_true", help="print one JSON array, a record each")


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return share


def _check(options: argparse.Namespace) -> None:
    from treatystance.evidence.behaviour import check, load_suite
    from treatystance.predictor import Predictor

    suite = load_suite(options.suite)
    if options.phenomenon:
        suite = suite.only(options.phenomenon)
    report = check(Predictor.load(options.model).predict, suite)
    if options.picture:
        _save_behaviour(report, options.picture)
    if options.json:
        print_json(report.to_dict())
    else:
        _print_behaviour(report)
        if options.failures:
            _print_failures(report)
    if options.min_pass is not None and report.pass_rate < options.min_pass:
        raise TreatystanceError(f"{report.model}: pass rate {report.pass_rate:.4f} is below {options.min_pass:g}")


def _save_behaviour(report: BehaviourReport, path: Path) -> None:
    from treatystance.evidence.pictures import behaviour_figure

    try:
        behaviour_figure(report.phenomena).savefig(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise InputError(f"{path}: cannot be written ({reason}); give a path such as check.png") from None


def _print_behaviour(report: BehaviourReport) -> None:
    from treatystance.evidence.behaviour import wilson_interval

    width = max(map(len, [*report.phenomena, *report.tests]))
    for title, group in (("phenomenon", report.phenomena), ("test", report.tests)):
        print(f"{title:{width}}  passed  cases   rate  95 % interval")
        for name, (passed, cases) in group.items():
            low, high = wilson_interval(passed, cases)
            print(f"{name:{width}}  {passed:6d}  {cases:5d}  {passed / cases:5.3f}  {low:.3f} to {high:.3f}")
        print()
    print(
        f"{report.model}: pass rate {report.pass_rate:.3f}, the mean of {len(report.phenomena)} phenomena; "
        f"{report.passed} of {report.cases} cases pass ({report.case_rate:.3f})"
    )


def _print_failures(report: BehaviourReport) -> None:
    for failure in report.failures:
        rule = f", rule {failure.rule}" if failure.rule else ""
        print(f"\n{failure.id} ({failure.test}{rule}): expected {failure.expected}; got {failure.given}")
        for answer in failure.answers:
            scores = ", ".join(f"{tag} {score:.3f}" for tag, score in answer.scores.items())
            speaker = f"{answer.government}: " if answer.government else ""
            print(f"  {speaker}{' '.join(answer.text.split())}\n    {scores}")


def _card(options: argparse.Namespace) -> None:
    from treatystance.artifact import CARD, read_documents, read_manifest
    from treatystance.evidence.card import CardFacts, model_card
    from treatystance.registry import resolve

    folder = resolve(options.model)
    documents = read_documents(folder)
    if options.pictures:
        pictures = {name: content for name, content in documents.items() if name.endswith(".png")}
        _save_pictures(pictures, options.pictures)
    kept = documents.get(CARD)
    card = kept.decode("utf-8", "replace") if kept else model_card(CardFacts.of_manifest(read_manifest(folder)))
    print(card, end="")


def _save_pictures(pictures: Mapping[str, bytes], folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in pictures.items():
            (folder / name).write_bytes(content)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); give another folder") from None
    say(f"{len(pictures)} pictures written to {folder}" if pictures else "no picture is kept with this model")


def _errors(options: argparse.Namespace) -> None:
    from treatystance.artifact import load_artifact
    from treatystance.corpus.load import load_rows
    from treatystance.evidence.error_page import error_page
    from treatystance.evidence.mistakes import worst_mistakes
    from treatystance.evidence.neighbours import known_rows
    from treatystance.registry import resolve

    if options.out.is_dir() or not options.out.parent.is_dir():
        raise InputError(f"{options.out}: cannot be written; give a file in a folder that exists")
    artifact = load_artifact(resolve(options.model))
    faults: list[str] = []
    rows = load_rows([options.data], {}, faults, artifact.labels)
    if faults:
        raise CorpusError(faults)
    known = known_rows(options.neighbours, artifact.labels, say)
    counts, mistakes = worst_mistakes(artifact.model, artifact.decision, rows, known, options.top)
    page = error_page(artifact.full_name, options.data.name, len(rows), counts, mistakes)
    try:
        options.out.write_text(page, "utf-8")
    except OSError as error:
        raise InputError(f"{options.out}: cannot be written ({error.strerror})") from None
    say(f"{len(mistakes)} of {sum(c.misses + c.false_alarms for c in counts)} errors on {len(rows)} sentences")
    print(options.out)


def _experiments(options: argparse.Namespace) -> None:
    from shutil import get_terminal_size

    from treatystance.evidence.records import read_experiments, table

    records = read_experiments(options.folder)
    if options.json:
        print_json([experiment.to_dict() for experiment in records.experiments])
    else:
        for line in table(records.experiments, get_terminal_size((120, 1)).columns):
            print(line)
    for fault in records.faults:
        say(fault)
    if records.faults:
        total = len(records.experiments) + len(records.faults)
        raise InputError(f"{options.folder}: {len(records.faults)} of {total} records cannot be read")

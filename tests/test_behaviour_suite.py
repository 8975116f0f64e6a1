"""The behavioural tests that ship with the package: enough, of known tags, and apart from all training text."""

import json
import os
import re
from collections import Counter
from collections.abc import Sequence

import pytest

from treatystance.corpus import Row, data_path, load_corpus
from treatystance.corpus.public import CORPORA_VARIABLE
from treatystance.evidence.suite import Suite, load_suite, near_copies, overlaps
from treatystance.statement import DEFAULT_LABELS

PHENOMENA, CASES = 20, 12
SECTIONS = {"unit", "whose stance", "treaty", "tags"}


@pytest.fixture(scope="module")
def suite() -> Suite:
    return load_suite()


def test_there_are_phenomena_and_cases_enough(suite: Suite) -> None:
    counts = Counter(case.phenomenon for case in suite)
    assert len(counts) >= PHENOMENA
    assert {name: count for name, count in counts.items() if count < CASES} == {}


def test_all_three_kinds_of_test_are_there(suite: Suite) -> None:
    counts = Counter(case.test for case in suite)
    assert set(counts) == {"minimum_functionality", "invariance", "directional"}
    assert min(counts.values()) >= CASES


def test_a_file_holds_one_phenomenon_and_is_named_after_it(suite: Suite) -> None:
    files = sorted(data_path("package:behaviour").iterdir())
    assert [path.name for path in files] == sorted(f"{name}.jsonl" for name in suite.phenomena)
    for path in files:
        found = {json.loads(line)["phenomenon"] for line in path.read_text("utf-8").splitlines()}
        assert found == {path.stem}


def test_every_id_says_its_phenomenon(suite: Suite) -> None:
    ids = [case.id for case in suite]
    assert len(set(ids)) == len(ids)
    assert [case.id for case in suite if not re.fullmatch(rf"{case.phenomenon}-\d\d", case.id)] == []


def test_the_tags_are_the_codebook_s_and_each_is_tested(suite: Suite) -> None:
    assert set(suite.tags) == set(DEFAULT_LABELS)


def test_every_rule_is_in_the_codebook(suite: Suite) -> None:
    codebook = data_path("package:codebook.md").read_text("utf-8")
    numbered = set(re.findall(r"^(\d+)\. ", codebook, re.MULTILINE))
    assert numbered == {str(number) for number in range(1, 18)}
    assert [case.id for case in suite if case.rule not in numbered | SECTIONS] == []


def test_no_two_cases_of_a_phenomenon_are_near_copies(suite: Suite) -> None:
    assert near_copies(suite) == []


def assert_apart(suite: Suite, rows: Sequence[Row]) -> None:
    assert len(rows) > 5000
    assert [f"{found.case} repeats {found.row}" for found in overlaps(suite, rows)] == []


def test_no_case_stands_in_the_composed_training_text(suite: Suite) -> None:
    assert_apart(suite, load_corpus(["package:composed"]).rows)


@pytest.mark.corpora
def test_no_case_stands_in_the_annotated_real_text(suite: Suite) -> None:
    if not os.environ.get(CORPORA_VARIABLE):
        pytest.skip(f"{CORPORA_VARIABLE} IS NOT SET: the behavioural tests were NOT held against the annotated text")
    assert_apart(suite, load_corpus(["package:annotations"]).rows)

"""The packaged composed corpus: enough of everything the codebook speaks of, and nothing twice."""

from collections import Counter

import pytest

from treatystance.corpus import Corpus, load_corpus
from treatystance.corpus.records import KINDS
from treatystance.split import near_duplicates
from treatystance.statement import DEFAULT_LABELS, LabelSet

# What looks like a stance and is none, after the codebook's "does not count" lists.
HARD_NEGATIVES = (
    "troops_withdrawn",
    "reservation_withdrawn",
    "other_exit",
    "treaty_expiring",
    "withdrawal_clause",
    "denounce_condemn",
    "predecessor",
    "call_on_others",
    "treaty_history",
    "treaty_not_adopted",
    "agreement_between_others",
    "refusing_to_join",
    "suffering_described",
    "thanks",
    "norm_stated",
    "development_aid",
    "domestic_relief",
    "peacekeeping_troops",
    "journalist_question",
)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """Every packaged composed statement, read with the label set declared, so that an unknown label is a fault."""
    return load_corpus(["package:composed"], LabelSet())


def test_size_and_tags(corpus: Corpus) -> None:
    assert len(corpus) >= 500
    counts = Counter(label for row in corpus for label in row.labels)
    assert all(counts[label] >= 200 for label in DEFAULT_LABELS)
    assert sum(not row.labels for row in corpus) >= 500
    assert sum(len(row.labels) > 1 for row in corpus) >= 50


@pytest.mark.parametrize("phenomenon", HARD_NEGATIVES)
def test_hard_negatives_are_there_and_carry_no_exit_or_other_tag(corpus: Corpus, phenomenon: str) -> None:
    rows = [row for row in corpus if row.phenomenon == phenomenon]
    assert len(rows) >= 10
    assert not [row.id for row in rows if row.labels]


@pytest.mark.parametrize(
    ("phenomenon", "label"),
    [
        ("exit_denied", "reaffirmation"),
        ("conditional_threat", "intent_to_withdraw"),
        ("suspension", "intent_to_withdraw"),
        ("completed_exit", "intent_to_withdraw"),
        ("ratified", "reaffirmation"),
        ("refugees_hosted", "humanitarian_commitment"),
        ("mine_clearance", "humanitarian_commitment"),
    ],
)
def test_hard_positives_carry_their_tag(corpus: Corpus, phenomenon: str, label: str) -> None:
    rows = [row for row in corpus if row.phenomenon == phenomenon]
    assert len(rows) >= 10
    assert sum(label in row.labels for row in rows) >= 0.7 * len(rows)


def test_both_sides_of_a_despite_are_tagged(corpus: Corpus) -> None:
    rows = [row for row in corpus if row.phenomenon == "despite"]
    assert sum(len(row.labels) > 1 for row in rows) >= 20


def test_governments_kinds_and_decades_are_many(corpus: Corpus) -> None:
    assert len({code for row in corpus for code in row.governments}) >= 100
    assert {row.kind for row in corpus} == KINDS
    assert {row.year // 10 for row in corpus if row.year} >= set(range(195, 203))


def test_no_near_duplicates(corpus: Corpus) -> None:
    pairs = near_duplicates([row.text for row in corpus], 0.7)
    assert not [(corpus.rows[a].id, corpus.rows[b].id) for a, b in pairs]

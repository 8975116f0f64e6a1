"""The packaged composed corpus: enough of everything the codebook speaks of, and nothing twice."""

import re
from collections import Counter
from typing import Any

import pytest

from treatystance.corpus import Corpus, load_corpus
from treatystance.corpus.records import KINDS
from treatystance.quality import corpus_quality
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
    "un_praised",
    "accordance_with_charter",
)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """Every packaged composed statement, read with the label set declared, so that an unknown label is a fault."""
    return load_corpus(["package:composed"], LabelSet())


def test_size_and_tags(corpus: Corpus) -> None:
    assert len({row.doc_id for row in corpus}) >= 400
    assert len(corpus) >= 4000
    counts = Counter(label for row in corpus for label in row.labels)
    assert counts["intent_to_withdraw"] >= 700
    assert min(counts["reaffirmation"], counts["humanitarian_commitment"]) >= 900
    assert sum(len(row.labels) > 1 for row in corpus) >= 150


def test_hard_negatives_are_many(corpus: Corpus) -> None:
    assert sum(not row.labels and row.phenomenon is not None for row in corpus) >= 1500


def test_most_tagged_sentences_avoid_the_obvious_words(corpus: Corpus) -> None:
    obvious = re.compile(r"withdr|reaffirm|remain(s|ed)? (\w+ly )?committed|humanitarian", re.I)
    tagged = [row for row in corpus if row.labels]
    assert sum(bool(obvious.search(row.text)) for row in tagged) <= len(tagged) / 3


@pytest.mark.parametrize("phenomenon", HARD_NEGATIVES)
def test_hard_negatives_are_there_and_carry_no_exit_or_other_tag(corpus: Corpus, phenomenon: str) -> None:
    rows = [row for row in corpus if row.phenomenon == phenomenon]
    assert len(rows) >= 60
    # A sentence may hold a double and, in another clause, a stance: then it is tagged for that.
    assert sum("intent_to_withdraw" in row.labels for row in rows) <= 0.05 * len(rows)
    assert sum(not row.labels for row in rows) >= 0.9 * len(rows)


@pytest.mark.parametrize("phenomenon", ["exit_denied", "exit_reversed"])
def test_exits_denied_or_reversed_reaffirm(corpus: Corpus, phenomenon: str) -> None:
    rows = [row for row in corpus if row.phenomenon == phenomenon]
    assert len(rows) >= 60
    assert sum("reaffirmation" in row.labels for row in rows) >= 0.9 * len(rows)


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


@pytest.fixture(scope="module")
def quality(corpus: Corpus) -> dict[str, Any]:
    return corpus_quality(corpus)


def test_varied_and_no_frame_twice(corpus: Corpus, quality: dict[str, Any]) -> None:
    assert quality["near_duplicates"] == 0
    assert quality["distinct_4grams"] >= 0.94
    assert quality["largest_cluster"] <= 5
    # The closing courtesy of a note verbale is one formula in every ministry.
    texts = {row.id: row.text for row in corpus}
    repeated = [ids for ids in quality["repeated_frames"] if "avails itself" not in texts[ids[0]]]
    assert not repeated


def test_every_kind_and_region_has_every_tag(quality: dict[str, Any]) -> None:
    for table in (quality["labels_by_kind"], quality["labels_by_region"]):
        assert all(set(DEFAULT_LABELS) | {"none"} <= set(counts) for counts in table.values()), table
    assert "unknown" not in quality["labels_by_region"]

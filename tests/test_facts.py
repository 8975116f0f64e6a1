"""`treatystance.evidence.facts`: what rows are sliced by."""

from typing import Any

import pytest

from treatystance.corpus.rows import Row
from treatystance.evidence.facts import DIMENSIONS, facts_of


def fact(dimension: str, text: str, **known: Any) -> str:
    return facts_of(Row("r", "d", text, **known))[dimension]


def test_every_dimension_has_a_value_whatever_is_known() -> None:
    bare = facts_of(Row("r", "d", "The sea was calm."))
    assert tuple(bare) == DIMENSIONS
    assert bare == {
        "region": "unknown",
        "decade": "unknown",
        "kind": "unknown",
        "treaty_family": "none named",
        "language": "unknown",
        "length": "1-15 words",
        "person": "third",
    }
    known = facts_of(Row("r", "d", "", government="KEN", year=1989, kind="speech", language="en"))
    assert known | {"region": "Africa", "decade": "1980s", "kind": "speech", "language": "en"} == known


def test_values_hold_no_text() -> None:
    word = "Zubrowka"
    facts = facts_of(Row("r", "d", f"We joined the {word} Treaty.", prev=word, treaty=f"{word} Treaty"))
    assert word not in str(facts)


@pytest.mark.parametrize(
    ("words", "length"),
    [
        (1, "1-15 words"),
        (15, "1-15 words"),
        (16, "16-30 words"),
        (30, "16-30 words"),
        (31, "31-45 words"),
        (45, "31-45 words"),
        (46, "46 words or more"),
        (400, "46 words or more"),
    ],
)
def test_length(words: int, length: str) -> None:
    assert fact("length", "word " * words) == length


@pytest.mark.parametrize(
    ("text", "person"),
    [
        ("We stay.", "first"),
        ("OUR COUNTRY STAYS.", "first"),
        ("It matters to us.", "first"),
        ("It matters to the US.", "third"),
        ("I signed it.", "first"),
        ("World War I ended; Article I was void.", "third"),
        ("Clearing a mine takes a day.", "third"),
        ("Norway stays in the pact.", "first"),
        ("Norwegian troops left.", "first"),
        ("Chad stays in the pact.", "third"),
    ],
)
def test_person(text: str, person: str) -> None:
    assert fact("person", text, government="NOR") == person


def test_a_joint_statement_speaks_for_each_of_its_governments() -> None:
    text = "Chad stays in the pact."
    assert fact("person", text, government="NOR", co_governments=("TCD",)) == "first"
    assert fact("person", text) == "third"


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ("We ratified the NPT.", "nuclear and disarmament"),
        ("The Comprehensive Nuclear-Test-Ban Treaty binds us.", "nuclear and disarmament"),
        ("The Chemical Weapons Convention binds us.", "nuclear and disarmament"),
        ("We honour the Geneva Conventions.", "humanitarian law and mines"),
        ("The anti-personnel mine ban binds us.", "humanitarian law and mines"),
        ("We signed the Rome Statute.", "courts"),
        ("The ICC has our support.", "courts"),
        ("The Convention on the Rights of the Child binds us.", "human rights"),
        ("The Paris Agreement is ours.", "environment and climate"),
        ("We will leave NAFTA.", "trade and economy"),
        ("The Charter of the United Nations is our guide.", "UN Charter"),
        ("We will leave UNESCO.", "alliances and regional bodies"),
        ("We left the WHO.", "alliances and regional bodies"),
        ("Those who left came back.", "none named"),
        ("We remain in the Ruritanian Accord.", "other named treaty"),
        ("We denounce the Extradition Treaty of 1903.", "other named treaty"),
        ("A treaty is a treaty.", "none named"),
    ],
)
def test_treaty_family(text: str, family: str) -> None:
    assert fact("treaty_family", text) == family


def test_what_the_sentence_names_comes_before_what_the_row_and_the_sentence_before_name() -> None:
    assert fact("treaty_family", "We remain bound by it.", prev="The NPT is vital.") == "nuclear and disarmament"
    assert fact("treaty_family", "NATO protects us.", prev="The NPT is vital.") == "alliances and regional bodies"
    assert fact("treaty_family", "We leave it.", treaty="Kyoto Protocol", prev="NATO.") == "environment and climate"
    assert fact("treaty_family", "We leave the Pact.", prev="The ICC sat.") == "courts"

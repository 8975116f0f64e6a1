"""`treatystance.models.ngrams`: from a sentence to tokens and n-grams."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treatystance.models.ngrams import (
    COUNTRY,
    REPORT,
    SELF,
    Tokenizer,
    anchored,
    char_ngrams,
    country_names,
    word_ngrams,
)
from treatystance.statement import ANY_GOVERNMENT


@pytest.fixture(scope="module")
def tokenize() -> Tokenizer:
    return Tokenizer(country_names())


PLAIN = Tokenizer({})


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", []),
        (" \n\t", []),
        ("?! — …", []),
        ("🕊️🇵🇱", []),
        ("We will LEAVE.", ["we", "will", "leave"]),
        ("We don’t, won't.", ["we", "don't", "won't"]),
        ("The treaty's end", ["the", "treaty", "s", "end"]),
        ("The State’s right, o'clock", ["the", "state", "s", "right", "o'clock"]),
        ("half-year 1.5 (a)", ["half", "year", "1", "5", "a"]),
        ("'quoted' rock 'n' roll", ["quoted", "rock", "n", "roll"]),
        ("Änderung 条约 2025", ["änderung", "条约", "2025"]),
    ],
)
def test_tokens(text: str, tokens: list[str]) -> None:
    assert PLAIN(text) == tokens


@pytest.mark.parametrize(
    ("text", "government", "tokens"),
    [
        ("Poland stays.", None, [COUNTRY, "stays"]),
        ("Poland stays.", "POL", [SELF, "stays"]),
        ("Poland stays.", "LVA", [COUNTRY, "stays"]),
        ("Poland’s and Latvia's vow", "LVA", [COUNTRY, "s", "and", SELF, "s", "vow"]),
        ("POLISH troops", "POL", [SELF, "troops"]),
        ("The United Kingdom’s vow", "GBR", ["the", SELF, "s", "vow"]),
        ("The United States of America left", "USA", ["the", SELF, "left"]),
        ("The United States left the United Nations", "USA", ["the", SELF, "left", "the", "united", "nations"]),
        ("Papua New Guinea and New Zealand", "PNG", [SELF, "and", COUNTRY]),
        ("Guinea-Bissau, Guinea, Equatorial Guinea", "GIN", [COUNTRY, SELF, COUNTRY]),
        ("the Democratic People's Republic of Korea", "PRK", ["the", SELF]),
        ("the Soviet Union", "SUN", ["the", SELF]),
        ("Côte d’Ivoire", "CIV", [SELF]),
        ("United we stand", "USA", ["united", "we", "stand"]),
        ("South Korea", "KOR", [SELF]),
        ("South", "KOR", ["south"]),
        ("Poland stays.", ANY_GOVERNMENT, [REPORT, SELF, "stays"]),
        ("Poland’s and Latvia's vow", ANY_GOVERNMENT, [REPORT, SELF, "s", "and", SELF, "s", "vow"]),
        (
            "Papua New Guinea and New Zealand, a Kenyan said",
            ANY_GOVERNMENT,
            [REPORT, SELF, "and", SELF, "a", SELF, "said"],
        ),
        ("South and united", ANY_GOVERNMENT, [REPORT, "south", "and", "united"]),
    ],
)
def test_countries(tokenize: Tokenizer, text: str, government: str | None, tokens: list[str]) -> None:
    assert tokenize(text, government) == tokens


def test_every_name_is_one_token_and_ones_own_is_self(tokenize: Tokenizer) -> None:
    wrong = {
        name: (tokenize(name), tokenize(f"to {name}, code", code))
        for name, code in country_names().items()
        if tokenize(name) != [COUNTRY] or tokenize(f"to {name}, code", code) != ["to", SELF, "code"]
    }
    assert not wrong


def test_in_a_report_every_name_is_self(tokenize: Tokenizer) -> None:
    assert tokenize("we stay", ANY_GOVERNMENT) == [REPORT, "we", "stay"]
    wrong = {
        name for name in country_names() if tokenize(f"to {name}, code", ANY_GOVERNMENT)[1:] != ["to", SELF, "code"]
    }
    assert not wrong


def test_a_report_leaves_names_as_they_are_without_the_list() -> None:
    assert PLAIN("Estonia and New Zealand * left", ANY_GOVERNMENT) == ["estonia", "and", "new", "zealand", "left"]


def test_codes_are_well_formed() -> None:
    names = country_names()
    assert len(set(names.values())) > 200
    assert all(re.fullmatch("[A-Z]{3}", code) for code in names.values())
    assert all(name == name.lower() for name in names)


SENTENCES = [
    "{} will leave the Convention.",
    "We regret that {}’s Government left, as {} said.",
    "{}, alone or with others, stands by {}'s word.",
]


@pytest.mark.parametrize("sentence", SENTENCES)
def test_estonia_and_kenya_are_the_same_to_a_reader_who_is_neither(tokenize: Tokenizer, sentence: str) -> None:
    for government in (None, "POL"):
        assert tokenize(sentence.replace("{}", "Estonia"), government) == tokenize(
            sentence.replace("{}", "Kenya"), government
        )
    assert tokenize(sentence.replace("{}", "Estonia"), "KEN") != tokenize(sentence.replace("{}", "Kenya"), "KEN")


@given(st.sampled_from(sorted(country_names())), st.sampled_from(sorted(country_names())))
@settings(max_examples=60, deadline=None)
def test_any_two_countries_are_the_same_without_a_government(one: str, other: str) -> None:
    tokenize = Tokenizer(country_names())
    for sentence in SENTENCES:
        assert tokenize(sentence.replace("{}", one)) == tokenize(sentence.replace("{}", other))


def test_names_of_countries_stay_without_the_list() -> None:
    assert PLAIN("Estonia and New Zealand", "EST") == ["estonia", "and", "new", "zealand"]


def test_word_ngrams() -> None:
    tokens = ["we", "will", "we", "will", "go"]
    assert word_ngrams(tokens, 1) == ["we", "will", "go"]
    assert word_ngrams(tokens, 2) == ["we", "will", "go", "we will", "will we", "we will", "will go"]
    assert word_ngrams(["a", "b", "c"], 3) == ["a", "b", "c", "a b", "b c", "a b c"]
    assert word_ngrams([], 3) == []


@pytest.mark.parametrize(
    ("token", "shortest", "longest", "grams"),
    [
        ("ab", 2, 3, [" a", "ab", "b ", " ab", "ab "]),
        ("a", 3, 5, [" a "]),
        ("a", 4, 5, [" a "]),
        ("aa", 1, 1, [" ", "a", "a", " "]),
        ("abc", 5, 7, [" abc "]),
    ],
)
def test_char_ngrams(token: str, shortest: int, longest: int, grams: list[str]) -> None:
    assert char_ngrams(token, shortest, longest) == grams


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("we leave the pact", ["pact>we", "pact>leave", "pact>the"]),
        ("the pact leaves us", ["pact>the", "pact<leaves", "pact<us"]),
        ("we leave we stay pact we", ["pact>we", "pact>leave", "pact>stay", "pact<we"]),
        ("pact a accord b", ["pact>a", "pact<a", "pact<b"]),
        ("we leave we", ["pact!we", "pact!leave"]),
        ("pact", []),
        ("pact accord pact", []),
        ("", []),
        ("pact we", ["pact<we"]),
        ("we pact", ["pact>we"]),
        ("pact we pact", ["pact>we", "pact<we"]),
        ("we we pact we we", ["pact>we", "pact<we"]),
        ("a pact b accord c", ["pact>a", "pact>b", "pact<b", "pact<c"]),
    ],
)
def test_anchored(text: str, found: list[str]) -> None:
    assert anchored(text.split(), {"pact": {"pact", "accord"}}) == found


def test_each_anchor_counts_apart() -> None:
    assert anchored(["we", "leave"], {"a": {"we"}, "b": {"leave"}}) == ["a<leave", "b>we"]
    assert anchored(["we", "leave"], {"b": {"leave"}, "a": {"we"}}) == ["b>we", "a<leave"]
    assert anchored(["we", "leave"], {"a": {"we"}, "b": {"we"}, "c": set()}) == [
        "a<leave",
        "b<leave",
        "c!we",
        "c!leave",
    ]
    assert anchored(["we", "leave"], {}) == []

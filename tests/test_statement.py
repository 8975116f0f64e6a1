"""`treatystance.statement`: the records, and what they refuse."""

import json
from typing import Any

import pytest

from treatystance.errors import InputError
from treatystance.statement import (
    ANY_GOVERNMENT,
    DEFAULT_LABELS,
    LabelSet,
    Prediction,
    SentencePrediction,
    Statement,
    reads_like_report,
    speaker,
)


def test_the_tags_and_their_order() -> None:
    assert LabelSet().names == DEFAULT_LABELS == ("intent_to_withdraw", "reaffirmation", "humanitarian_commitment")
    assert len(LabelSet()) == 3
    assert not LabelSet().exclusive


@pytest.mark.parametrize("names", [(), ("a", "a")])
def test_label_set_refuses(names: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="distinct and at least one"):
        LabelSet(names)


@pytest.mark.parametrize("facts", [{}, {"government": "POL"}, {"government": "EU"}, {"date": "1999"},
                                   {"date": "1999-12"}, {"date": "2024-02-29"}])  # fmt: skip
def test_statement_accepts(facts: dict[str, str]) -> None:
    assert Statement("We stay.", **facts).text == "We stay."


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"text": None}, "must be a string, not NoneType"),
        ({"text": b"We stay."}, "must be a string, not bytes"),
        ({"government": "pol"}, "alpha-3"),
        ({"government": "Poland"}, "alpha-3"),
        ({"government": ""}, "alpha-3"),
        ({"government": "POL\n"}, "alpha-3"),
        ({"date": "2023-02-29"}, "ISO 8601"),
        ({"date": "2023-13"}, "ISO 8601"),
        ({"date": "29.2.2024"}, "ISO 8601"),
        ({"date": "2024-1-1"}, "ISO 8601"),
        ({"date": "0000"}, "ISO 8601"),
        ({"date": "２０２４"}, "ISO 8601"),
        ({"date": ""}, "ISO 8601"),
    ],
)
def test_statement_refuses(facts: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        Statement(**{"text": "We stay."} | facts)


def test_a_news_report_does_not_speak_for_one_government() -> None:
    assert speaker("POL", "speech") == speaker("POL", None) == "POL"
    assert speaker("POL", "wire_report") == speaker(None, "wire_report") == ANY_GOVERNMENT
    with pytest.raises(InputError, match="alpha-3"):
        Statement("We stay.", government=ANY_GOVERNMENT)  # no user's word
    assert speaker(None, "speech") is None


@pytest.mark.parametrize(
    ("text", "report"),
    [
        ("Poland will leave, the minister said.", True),
        ("POLAND WILL LEAVE, THE MINISTER SAID.", True),
        ("The US told Poland to stay.", True),
        ("According to the ministry, Poland stays.", True),
        ("Poland announced its exit. The minister says it is final.", True),
        ('"We leave," the minister said. "This is our right."', True),
        ("“We leave,” the minister said.", True),
        ("Poland will leave.", False),
        ("", False),
        ("We leave, as the minister said.", False),
        ("As announced, Poland will leave our treaty.", False),
        ("I said so.", False),
        ("Poland told us so.", False),
        ("My minister said so.", False),
        ("The minister is unsaid and untold.", False),
        ('"We leave," the minister said, and we mean it.', False),
    ],
)
def test_a_report_tells_what_was_said_and_nobody_says_we(text: str, report: bool) -> None:
    assert reads_like_report(text) == report


def test_prediction_to_dict_is_plain_json() -> None:
    sentence = SentencePrediction(0, 8, "We stay.", {"in": 0.9, "out": 0.1}, ("in",), ("out",))
    prediction = Prediction("x", {"in": 0.9, "out": 0.1}, ("in",), (), (sentence,), "m/1")
    record = prediction.to_dict()
    assert record == json.loads(json.dumps(record))
    assert record == {
        "id": "x",
        "scores": {"in": 0.9, "out": 0.1},
        "tags": ["in"],
        "uncertain": [],
        "sentences": [
            {
                "start": 0,
                "end": 8,
                "text": "We stay.",
                "scores": {"in": 0.9, "out": 0.1},
                "tags": ["in"],
                "uncertain": ["out"],
            }
        ],
        "model": "m/1",
    }

import json
from pathlib import Path
from typing import Any

import pytest

from treatystance import Prediction, Predictor, SentencePrediction, Statement
from treatystance.artifact import Artifact
from treatystance.errors import InputError, ModelReferenceError
from treatystance.statement import ANY_GOVERNMENT, DEFAULT_LABELS

TEXTS = [
    "Ruritania has decided to withdraw from the Convention. We shall protect civilians and clear the mines.",
    "  We remain fully committed to the treaty!\n\nThe weather was fine.  ",
    "Our trade grew by four per cent.",
]


@pytest.fixture(scope="module")
def predictor(model_folder: Path) -> Predictor:
    return Predictor.load(str(model_folder))


def sentences_of(predictor: Predictor, text: str) -> tuple[SentencePrediction, ...]:
    return predictor.predict([text])[0].sentences


def test_the_model_tells_these_texts_apart(predictor: Predictor) -> None:
    """Without this the tests below could pass on a model that tags nothing."""
    tags = {tag for prediction in predictor.predict(TEXTS) for tag in prediction.tags}
    assert tags
    assert any(not sentence.tags for p in predictor.predict(TEXTS) for sentence in p.sentences)


def test_order_and_fields(predictor: Predictor, tiny_artifact: Artifact) -> None:
    given = [Statement(text, id=f"n{i}") for i, text in enumerate(TEXTS)]
    found = predictor.predict(given)
    assert [p.id for p in found] == ["n0", "n1", "n2"]
    assert [p.id for p in predictor.predict(reversed(given))] == ["n2", "n1", "n0"]
    assert predictor.predict(list(reversed(given))) == found[::-1]
    for prediction in found:
        assert isinstance(prediction, Prediction)
        assert tuple(prediction.scores) == DEFAULT_LABELS
        assert prediction.model == f"{tiny_artifact.name}/{tiny_artifact.version}"
        assert set(prediction.uncertain) <= set(DEFAULT_LABELS)
        parts: list[Prediction | SentencePrediction] = [prediction, *prediction.sentences]
        for part in parts:
            assert all(0 <= score <= 1 and isinstance(score, float) for score in part.scores.values())
            assert list(part.tags) == [name for name in DEFAULT_LABELS if name in part.tags]


def test_offsets_lead_back_to_the_text(predictor: Predictor) -> None:
    assert [len(sentences_of(predictor, text)) for text in TEXTS] == [2, 2, 1]
    for text in TEXTS:
        places = [(s.start, s.end) for s in sentences_of(predictor, text)]
        assert places == sorted(places)
        for sentence in sentences_of(predictor, text):
            assert text[sentence.start : sentence.end] == sentence.text == sentence.text.strip()


def test_a_statement_is_the_maximum_and_union_of_its_sentences(predictor: Predictor) -> None:
    for prediction in predictor.predict([*TEXTS, " ".join(TEXTS)]):
        parts = prediction.sentences
        for name in DEFAULT_LABELS:
            assert prediction.scores[name] == max(s.scores[name] for s in parts)
            assert (name in prediction.tags) == any(name in s.tags for s in parts)
            sure = any(name in s.tags and name not in s.uncertain for s in parts)
            doubted = any(name in s.uncertain for s in parts)
            assert (name in prediction.uncertain) == (doubted and not sure)


@pytest.mark.parametrize("text", ["", " ", "\n\n", "\u00a0\t"])
def test_a_statement_without_sentences(predictor: Predictor, text: str) -> None:
    (prediction,) = predictor.predict([text])
    assert prediction.sentences == ()
    assert prediction.tags == prediction.uncertain == ()
    assert prediction.scores == dict.fromkeys(DEFAULT_LABELS, 0.0)


def test_empty_statements_do_not_shift_the_others(predictor: Predictor) -> None:
    mixed = predictor.predict(["", TEXTS[0], " ", TEXTS[1], ""])
    assert [mixed[1], mixed[3]] == predictor.predict(TEXTS[:2])


def test_nothing_in_nothing_out(predictor: Predictor) -> None:
    assert predictor.predict([]) == []
    assert predictor.predict_sentences([]) == []


def test_strings_and_statements_mix(predictor: Predictor) -> None:
    plain, known = predictor.predict([TEXTS[0], Statement(TEXTS[0], id="x")])
    assert plain.id is None
    assert known.id == "x"
    assert plain.sentences == known.sentences


@pytest.mark.parametrize("single", ["We leave.", Statement("We leave.")])
def test_a_single_statement_is_refused(predictor: Predictor, single: Any) -> None:
    with pytest.raises(TypeError, match="list"):
        predictor.predict(single)


def test_a_single_sentence_is_refused(predictor: Predictor) -> None:
    with pytest.raises(TypeError, match="list"):
        predictor.predict_sentences("We leave.")


@pytest.mark.parametrize("wrong", [None, 7, b"We leave.", ["We leave."], float("nan")])
def test_what_is_no_text_is_refused(predictor: Predictor, wrong: Any) -> None:
    with pytest.raises(InputError, match="must be a string"):
        predictor.predict([TEXTS[0], wrong])


def test_to_dict_is_json(predictor: Predictor) -> None:
    (prediction,) = predictor.predict([Statement(TEXTS[0], id="x")])
    record = prediction.to_dict()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert set(record) == {"id", "scores", "tags", "uncertain", "sentences", "model"}
    for part in record["sentences"]:
        assert set(part) == {"start", "end", "text", "scores", "tags", "uncertain"}
    assert record["tags"] == list(prediction.tags)
    assert len(record["sentences"]) == 2


def test_sentences_as_given_are_not_split(predictor: Predictor) -> None:
    found = predictor.predict_sentences(TEXTS)
    assert [(s.start, s.end, s.text) for s in found] == [(0, len(text), text) for text in TEXTS]


def test_given_and_found_sentences_score_alike(predictor: Predictor) -> None:
    parts = sentences_of(predictor, TEXTS[0])
    again = predictor.predict_sentences([s.text for s in parts])
    assert [s.scores for s in again] == [s.scores for s in parts]
    assert [s.tags for s in again] == [s.tags for s in parts]


def test_the_speaking_government_is_told_from_others(predictor: Predictor) -> None:
    text = "Poland has decided to withdraw from the Convention."
    own, other, unknown = predictor.predict(
        [Statement(text, government="POL"), Statement(text, government="FIN"), Statement(text)]
    )
    assert own.scores != other.scores
    assert other.scores == unknown.scores
    known = predictor.predict_sentences([text, text], ["POL", None])
    assert [s.scores for s in known] == [own.scores, unknown.scores]


def test_a_news_report_conveys_the_position_of_any_government(predictor: Predictor) -> None:
    text = "Poland has decided to withdraw from the Convention."
    report, foreign, own, unknown = predictor.predict(
        [
            Statement(text, kind="wire_report"),
            Statement(text, government="FIN", kind="wire_report"),
            Statement(text, government="POL", kind="speech"),
            Statement(text, kind="speech"),
        ]
    )
    assert report.scores == foreign.scores
    assert report.scores != unknown.scores
    assert report.scores != own.scores


@pytest.mark.parametrize("other", ["The US and Poland", "Poland"])
def test_a_text_of_unknown_kind_that_reports_is_read_as_a_report(predictor: Predictor, other: str) -> None:
    """The country "US" is not the word "us"."""
    text = f"{other} will withdraw from the Convention, the minister said."
    unknown, report, speech = predictor.predict(
        [text, Statement(text, kind="wire_report"), Statement(text, kind="speech")]
    )
    assert unknown.scores == report.scores
    assert unknown.scores != speech.scores


REPORT = "Poland will withdraw from the Convention, the minister said."


@pytest.mark.parametrize(
    ("statement", "speaker"),
    [
        (Statement(REPORT), ANY_GOVERNMENT),
        (Statement(REPORT, date="2025", treaty="Convention", source="a newspaper"), ANY_GOVERNMENT),
        (Statement(REPORT, kind="wire_report"), ANY_GOVERNMENT),
        (Statement(REPORT, government="POL", kind="wire_report"), ANY_GOVERNMENT),
        (Statement(REPORT, kind="speech"), None),
        (Statement(REPORT, government="POL"), "POL"),
        (Statement(REPORT, government="FIN", kind="speech"), "FIN"),
        (Statement("We leave, the minister said."), None),
        (Statement("Poland leaves."), None),
    ],
)
def test_whose_voice_is_assumed(predictor: Predictor, statement: Statement, speaker: str | None) -> None:
    assert predictor.speaker(statement) == speaker
    spans, batch = predictor.split([Statement("We stay.", government="KEN"), statement])
    assert [len(places) for places in spans] == [1, 1]
    assert list(batch.governments) == ["KEN", speaker]


def test_sentences_of_a_report_score_as_given(predictor: Predictor) -> None:
    (prediction,) = predictor.predict([REPORT])
    given, spoken = predictor.predict_sentences([REPORT, REPORT], [ANY_GOVERNMENT, "POL"])
    assert given.scores == prediction.scores
    assert spoken.scores != prediction.scores


def test_the_company_of_others_does_not_change_a_score(predictor: Predictor) -> None:
    alone = [predictor.predict([text])[0] for text in TEXTS]
    fresh = Predictor(predictor.artifact).predict([*TEXTS * 40])
    for i, prediction in enumerate(fresh):
        assert prediction.scores == pytest.approx(alone[i % 3].scores, abs=1e-12)
        assert prediction.tags == alone[i % 3].tags


def test_load(model_folder: Path, tiny_artifact: Artifact) -> None:
    assert Predictor.load(str(model_folder)).model == tiny_artifact.full_name
    assert Predictor.load().predict(TEXTS) == Predictor.load("bundled").predict(TEXTS)
    assert Predictor.load().labels.names == DEFAULT_LABELS
    with pytest.raises(ModelReferenceError):
        Predictor.load(str(model_folder / "none"))

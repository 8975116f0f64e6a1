"""`treatystance.quality`: every figure by hand on small text; the classifier's answer where it is known."""

import json
from collections import Counter
from typing import Any

import pytest

from treatystance.corpus import Corpus, Row, data_path
from treatystance.errors import InputError
from treatystance.quality import corpus_quality, frame, region_of, told_apart
from treatystance.statement import LabelSet, is_government

LABELS = LabelSet(("out", "in"))


def row(number: int, text: str, **facts: Any) -> Row:
    """A row of its own statement unless `doc_id` says otherwise."""
    return Row(**{"id": f"r{number}", "doc_id": f"d{number}", "text": text} | facts)


def corpus(*texts: str) -> Corpus:
    return Corpus(tuple(row(i, text) for i, text in enumerate(texts)), LABELS)


def quality(*rows: Row) -> dict[str, Any]:
    return corpus_quality(Corpus(rows, LABELS))


def words(first: int, last: int) -> str:
    """A sentence of the words first to last of an endless text in which no word comes twice."""
    return " ".join(chr(ord("a") + i // 26) + chr(ord("a") + i % 26) + "x" for i in range(first, last + 1))


def body(name: str, documents: int, text: str, sentences: int = 2) -> list[Row]:
    """Documents whose sentences all say `text`."""
    return [
        Row(f"{name}{d}:{i}", f"{name}{d}", text.format(d=d, i=i)) for d in range(documents) for i in range(sentences)
    ]


# --- frame ---


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("We will not leave the old pact.", "we will not _ the _"),
        ("WE will, not -- quit the: New Accord!", "we will not _ the _"),
        ("Ruritania leaves.", "_"),
        ("Leave it to us", "_ it to us"),
        ("Of the and", "of the and"),
        ("Ruritania's pact is void", "_ is _"),
        ("It's over, we’ll own it", "_ over _ own it"),  # a word with an apostrophe is one word
        ("Pact 12 lapsed", "_"),  # a number is no word and parts none
        ("the_end", "the _"),
        ("Été is not over", "_ is not over"),
        ("1984 ... 12!", ""),
        ("", ""),
    ],
)
def test_frame(text: str, wanted: str) -> None:
    assert frame(text) == wanted


def test_frames_differ_in_the_order_of_function_words_and_in_blanks() -> None:
    frames = {frame(text) for text in ("The pact is of us", "The pact of us is", "Is the pact of us", "The is of us")}
    assert frames == {"the _ is of us", "the _ of us is", "is the _ of us", "the is of us"}


def test_repeated_frames_want_eight_function_words() -> None:
    eight = ["We will not {} it for them or us.", "we WILL not {} it, for them or us!"]  # we will not it for them or us
    seven = ["You are {} by me and not her", "You are {} by me and not her"]  # you are by me and not her
    texts = [eight[0].format("sell"), seven[0].format("fed"), eight[1].format("lease out rusty boats to")]
    assert frame(texts[0]) != frame(texts[2])  # "out" and "to" are function words too
    texts[2] = eight[1].format("lease rusty boats")
    found = quality(*(row(i, text) for i, text in enumerate([*texts, seven[1].format("led"), "Rain fell."])))
    assert found["repeated_frames"] == [["r0", "r2"]]


def test_repeated_frames_list_each_frame_once_with_all_its_sentences() -> None:
    one, two = "We will not {} it for them or us", "{} is what they had and what we have not"
    texts = [two.format("Bread"), one.format("buy"), two.format("Water"), one.format("sell"), one.format("rent")]
    assert quality(*(row(i, text) for i, text in enumerate(texts)))["repeated_frames"] == [
        ["r0", "r2"],
        ["r1", "r3", "r4"],
    ]
    alone = [one.format("buy"), two.format("Bread")]
    assert quality(*(row(i, text) for i, text in enumerate(alone)))["repeated_frames"] == []


# --- repeats ---


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        (["Boats sail far north today."], 1.0),  # 2 4-grams
        (["Boats sail far north today.", "BOATS, sail far north"], 0.6667),  # 3, of which 1 comes again
        (["Boats sail far north"] * 4, 0.25),
        (["Boats sail 12 far north", "boats sail far 7 north"], 0.5),  # numbers are no words
        (["Boats sail far", "north today boats sail far"], 1.0),  # no 4-gram reaches over the end of a sentence
        (["Boats sail far"], 1.0),  # none at all
        ([], 1.0),
    ],
)
def test_distinct_4grams(texts: list[str], wanted: float) -> None:
    assert corpus_quality(corpus(*texts))["distinct_4grams"] == wanted


def test_near_duplicates_are_counted_from_seven_tenths_between_statements() -> None:
    whole = words(0, 8)  # 7 3-grams
    last = f"{words(0, 7)} other"  # 6 in common of 8: 0.75
    two = f"{words(0, 6)} quite other"  # with `whole` 5 in common of 9: 0.56; with `last` the same
    assert corpus_quality(corpus(whole, last, two))["near_duplicates"] == 1
    assert corpus_quality(corpus(whole, two))["near_duplicates"] == 0
    assert corpus_quality(corpus(whole, whole, whole.upper()))["near_duplicates"] == 3
    assert quality(row(0, whole), row(1, whole, doc_id="d0"))["near_duplicates"] == 0
    assert quality(row(0, whole), row(1, whole, doc_id="d0"), row(2, last))["near_duplicates"] == 2


def test_largest_cluster_follows_chains() -> None:
    # 6 3-grams each. Two words on: 4 in common of 8, 0.5; four words on: 2 of 10, 0.2.
    chain = [words(start, start + 7) for start in (0, 2, 4)]
    assert corpus_quality(corpus(*chain, "Rain fell all day", "Rain fell"))["largest_cluster"] == 3
    assert corpus_quality(corpus(chain[0], chain[2]))["largest_cluster"] == 1
    assert quality(row(0, chain[0]), row(1, chain[1], doc_id="d0"))["largest_cluster"] == 2


def test_largest_cluster_wants_a_similarity_of_35_hundredths() -> None:
    # Three words on: 3 in common of 9, 0.33. With 7 3-grams each, three words on: 4 of 10, 0.4.
    assert corpus_quality(corpus(words(0, 7), words(3, 10)))["largest_cluster"] == 1
    assert corpus_quality(corpus(words(0, 8), words(3, 11)))["largest_cluster"] == 2


def test_the_largest_of_two_clusters_counts() -> None:
    pair, three = words(0, 8), words(30, 38)
    assert corpus_quality(corpus(pair, three, pair, three, "Rain fell", three))["largest_cluster"] == 3


# --- length and vocabulary ---


def test_text_profile_by_hand() -> None:
    texts = [" ".join(["rain"] * length) for length in (*range(1, 11), 22)]
    assert corpus_quality(corpus(*texts))["text"] == {
        "words_mean": 7.0,
        "words_p10_p50_p90": [2, 6, 10],
        "types_in_20000_words": 1,
        "words": 77,
    }


def test_numbers_lengthen_a_sentence_but_are_no_words_and_case_makes_no_type() -> None:
    found = corpus_quality(corpus("Rain fell in 1984.", "RAIN  fell\tagain"))["text"]
    assert (found["words_mean"], found["words"], found["types_in_20000_words"]) == (3.5, 6, 4)


def test_types_are_counted_in_the_first_20000_words() -> None:
    long = " ".join(["rain"] * 19_999)
    found = corpus_quality(corpus(long, "snow", "hail", "sleet"))["text"]
    assert (found["types_in_20000_words"], found["words"]) == (2, 20_002)


def test_an_empty_corpus_has_nothing() -> None:
    found = corpus_quality(corpus())
    assert (found["statements"], found["sentences"], found["largest_cluster"], found["near_duplicates"]) == (0, 0, 0, 0)
    assert found["text"]["words"] == 0
    assert found["labels_by_kind"] == found["labels_by_region"] == found["labels_by_decade"] == {}


def test_sentences_without_words_are_no_crash() -> None:
    found = corpus_quality(corpus("...", "12 %", "–"))
    assert (found["sentences"], found["text"]["words"], found["largest_cluster"]) == (3, 0, 1)
    assert (found["repeated_frames"], found["near_duplicates"]) == ([], 0)


# --- labels ---


def test_labels_by_kind_region_and_decade() -> None:
    found = quality(
        row(0, "Boats left.", labels=("out",), kind="speech", government="POL", year=1999),
        row(1, "Boats stay.", labels=("in", "out"), kind="speech", government="KEN", year=1990, doc_id="d0"),
        row(2, "Rain fell.", kind="interview", government="POL", year=2000),
        row(3, "Snow fell.", labels=("in",), government="ZZZ"),
        row(4, "Hail fell.", co_governments=("POL",), kind="speech", year=1989),
        row(5, "Fog rose.", kind="speech", government="POL", year=1991),
    )
    assert (found["statements"], found["sentences"]) == (5, 6)
    assert found["labels_by_kind"] == {
        "interview": {"none": 1},
        "speech": {"out": 2, "in": 1, "none": 2},
        "unknown": {"in": 1},
    }
    assert found["labels_by_region"] == {
        "Africa": {"in": 1, "out": 1},
        "Europe": {"out": 1, "none": 2},
        "unknown": {"in": 1, "none": 1},
    }
    assert found["labels_by_decade"] == {
        "1980s": {"none": 1},
        "1990s": {"out": 2, "in": 1, "none": 1},
        "2000s": {"none": 1},
        "unknown": {"in": 1},
    }
    assert list(found["labels_by_decade"]) == ["1980s", "1990s", "2000s", "unknown"]


@pytest.mark.parametrize(
    ("government", "region"),
    [
        ("KEN", "Africa"),
        ("PER", "Americas"),
        ("JPN", "Asia"),
        ("POL", "Europe"),
        ("EU", "Europe"),
        ("SUN", "Europe"),
        ("NZL", "Oceania"),
        ("POL ", "unknown"),
        ("pol", "unknown"),
        ("ZZZ", "unknown"),
        ("Europe", "unknown"),
        ("", "unknown"),
        (None, "unknown"),
    ],
)
def test_region_of(government: str | None, region: str) -> None:
    assert region_of(government) == region


def test_the_table_of_regions_names_each_government_once() -> None:
    lines = data_path("package:regions.txt").read_text("utf-8").splitlines()
    named = [line.split() for line in lines if not line.startswith("#")]
    assert [region for region, *_ in named] == ["Africa", "Americas", "Asia", "Europe", "Oceania"]
    counts = Counter(code for _, *codes in named for code in codes)
    assert not [code for code, count in counts.items() if count > 1]
    assert all(map(is_government, counts))


def test_every_packaged_government_has_a_region(tiny_corpus: Corpus) -> None:
    demonyms = data_path("package:demonyms.txt").read_text("utf-8").splitlines()
    codes = {line.split()[0] for line in demonyms if line and not line.startswith("#")}
    codes |= {code for row in tiny_corpus for code in row.governments}
    assert not [code for code in sorted(codes) if region_of(code) == "unknown"]


# --- beside real text ---

# Six documents a side; no word in common but "the".
OURS = body("a", 6, "Boats sail the river")
THEIRS = body("b", 6, "Snow fell on the hills and roads")


def test_without_real_text_nothing_is_compared() -> None:
    assert not {"real_text", "words_known_to_real_text", "told_apart_auc"} & set(corpus_quality(corpus("Rain fell.")))


def test_beside_real_text() -> None:
    ours, theirs = Corpus(tuple(OURS), LABELS), Corpus(tuple(THEIRS), LABELS)
    found = corpus_quality(ours, theirs)
    assert found["told_apart_auc"] == 1.0
    assert found["words_known_to_real_text"] == 0.25  # "the", of four words
    assert found["text"]["words"] == 12 * 4
    assert found["real_text"] == {
        "words_mean": 7.0,
        "words_p10_p50_p90": [7, 7, 7],
        "types_in_20000_words": 7,
        "words": 12 * 7,
    }
    assert found | corpus_quality(ours) == found
    json.dumps(found, allow_nan=False)


def test_known_words_are_counted_each_time_and_whatever_their_case() -> None:
    ours = [
        *body("a", 5, "RAIN rain fell 12"),
        row(0, "Boats"),
    ]  # 31 words: 30 known, with each of two sentences' three
    found = corpus_quality(Corpus(tuple(ours), LABELS), Corpus(tuple(body("b", 6, "Rain never fell")), LABELS))
    assert found["words_known_to_real_text"] == round(30 / 31, 4)


def test_text_of_other_words_is_always_told_apart() -> None:
    assert told_apart(OURS, THEIRS) == pytest.approx(1)
    assert told_apart(THEIRS, OURS) == pytest.approx(1)


def test_a_word_order_of_its_own_tells_text_apart() -> None:
    found = told_apart(body("a", 6, "boats follow rain"), body("b", 6, "rain follow boats"))
    assert found == pytest.approx(1)  # by 2-grams


def test_the_same_text_is_not_told_apart() -> None:
    texts = ["boats sail rivers", "rivers rise", "rain feeds rivers", "boats rot", "rain rots boats", "rivers sail"]
    rows = [Row(f"{d}:{i}", f"d{d}", texts[(d + i) % 6]) for d in range(10) for i in range(3)]
    # The same documents stand in the same fold, so each sentence and its copy get the same score.
    assert told_apart(rows, rows) == pytest.approx(0.5)


def test_documents_are_kept_together() -> None:
    # Each document speaks of its own subject only: nothing seen in other documents tells its side.
    ours = [Row(f"a{d}:{i}", f"a{d}", f"boat{d} river{d}") for d in range(10) for i in range(6)]
    theirs = [Row(f"b{d}:{i}", f"b{d}", f"snow{d} hill{d}") for d in range(10) for i in range(6)]
    assert told_apart(ours, theirs) < 0.65
    apart = [Row(r.id, r.id, r.text) for r in (*ours, *theirs)]  # each sentence its own document: they do give it away
    assert told_apart(apart[:60], apart[60:]) > 0.99


def test_the_seed_draws_the_sentences_of_the_larger_body() -> None:
    ours = body("a", 6, "boats sail rivers")
    theirs = [Row(f"b{i}", f"b{i}", "boats sail rivers" if i % 2 else "snow fell here") for i in range(60)]
    found = [told_apart(ours, theirs, seed) for seed in (0, 1)]  # as many as are drawn of those that are like ours
    assert found[0] != found[1]
    for seed in (0, 1):
        result = corpus_quality(Corpus(tuple(ours), LABELS), Corpus(tuple(theirs), LABELS), seed)
        assert result["told_apart_auc"] == round(found[seed], 4)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (1, 20),  # one fold trains on one side only
        (20, 1),
        (2, 2),  # fewer documents than folds
        (2, 20),  # the fold without one of the two is taught that the other's side is rare: below 0.5
        (0, 20),
    ],
)
def test_too_few_documents_to_tell_apart(ours: int, theirs: int) -> None:
    text = "boats sail rivers {i}"
    with pytest.raises(InputError, match="documents"):
        told_apart(body("a", ours, text, 20), body("b", theirs, text, 20))


@pytest.mark.parametrize(("ours", "theirs", "folds"), [(4, 9, 5), (9, 4, 5), (6, 6, 7)])
def test_fewer_documents_than_folds_are_counted_on_the_smaller_side(ours: int, theirs: int, folds: int) -> None:
    with pytest.raises(InputError) as caught:
        told_apart(body("a", ours, "boats sail rivers"), body("b", theirs, "snow fell here"), folds=folds)
    fewest = min(ours, theirs)
    assert str(caught.value) == f"telling two bodies of text apart needs {folds} documents on each side, not {fewest}"


@pytest.mark.parametrize("text", ["rain{d}{side} fell{d}{side}", "...", "a {d}"])
def test_texts_without_a_common_word_cannot_be_told_apart(text: str) -> None:
    # Every word stands in one document only; there is none; each is too short to be one.
    ours, theirs = ([Row(f"{side}{d}", f"{side}{d}", text.format(d=d, side=side)) for d in range(6)] for side in "ab")
    with pytest.raises(InputError, match="no word in common") as caught:
        told_apart(ours, theirs)
    assert "\n" not in str(caught.value)


def test_five_documents_a_side_are_enough() -> None:
    assert told_apart(OURS[:10], THEIRS[:10]) == pytest.approx(1)

"""`treatystance.corpus.agreement`: Krippendorff's alpha of two annotators, their confusion, and adjudications."""

import json
from pathlib import Path
from typing import Any

import pytest

from treatystance.corpus.agreement import adjudications, agreement, confusion
from treatystance.corpus.load import read_annotations
from treatystance.corpus.records import Annotation
from treatystance.errors import CorpusError, InputError
from treatystance.statement import LabelSet

LABELS = LabelSet(("out", "in"))
OUT, NONE = ("out",), ()


def annotation(number: int, first: tuple[str, ...] | None, second: tuple[str, ...] | None) -> Annotation:
    return Annotation(
        corpus="debate",
        doc_id=f"d{number // 2}",
        start=number,
        end=number + 1,
        sha256="0" * 64,
        labels=first or (),
        first=first,
        second=second,
    )


# Ten sentences: both say "out" on three, one annotator alone on one each, neither on five.
PAIRS = [(OUT, OUT)] * 3 + [(OUT, NONE), (NONE, OUT)] + [(NONE, NONE)] * 5
ANNOTATIONS = [annotation(i, *pair) for i, pair in enumerate(PAIRS)]


def test_alpha_by_hand() -> None:
    out = agreement(ANNOTATIONS, LABELS)[0]
    # 20 values, 8 of them "out". Observed disagreement 2 * 2 / 20; expected 2 * 8 * 12 / (20 * 19).
    assert out.alpha == pytest.approx(1 - (4 / 20) / (2 * 8 * 12 / (20 * 19)))
    assert (out.both, out.first_only, out.second_only, out.neither, out.raw) == (3, 1, 1, 5, 0.8)


def test_interval_contains_alpha_and_follows_the_seed() -> None:
    more = [annotation(i, *pair) for i, pair in enumerate(PAIRS * 5)]
    one, again, other = (agreement(more, LABELS, resamples=200, seed=seed)[0] for seed in (0, 0, 1))
    assert one == again
    assert one.alpha_ci != other.alpha_ci
    assert one.alpha is not None
    assert one.alpha_ci is not None
    assert one.alpha_ci[0] < one.alpha < one.alpha_ci[1]


def test_labels_keep_their_order_and_each_its_figures() -> None:
    swapped = [annotation(i, ("in",) if i == 9 else a, b) for i, (a, b) in enumerate(PAIRS)]
    out, inside = agreement(swapped, LABELS, resamples=50)
    assert (out.label, inside.label) == ("out", "in")
    assert (inside.both, inside.first_only, inside.neither) == (0, 1, 9)


def test_full_agreement_and_systematic_disagreement() -> None:
    same = agreement([annotation(i, a, a) for i, (a, _) in enumerate(PAIRS)], LABELS, resamples=50)[0]
    assert (same.alpha, same.raw) == (1.0, 1.0)
    opposite = agreement([annotation(i, *pair) for i, pair in enumerate([(OUT, NONE), (NONE, OUT)] * 5)], LABELS)[0]
    assert opposite.alpha is not None
    assert opposite.alpha < 0
    assert opposite.raw == 0


def test_rows_of_one_annotator_do_not_count() -> None:
    alone = [annotation(20, OUT, None), annotation(21, None, OUT)]
    assert agreement([*ANNOTATIONS, *alone], LABELS)[0].alpha == agreement(ANNOTATIONS, LABELS)[0].alpha
    with pytest.raises(InputError, match="two annotators"):
        agreement(alone, LABELS)


@pytest.mark.parametrize(("given", "both"), [(OUT, 4), (NONE, 0)])
def test_a_label_that_does_not_vary_has_no_alpha(given: tuple[str, ...], both: int) -> None:
    out = agreement([annotation(i, given, given) for i in range(4)], LABELS, resamples=50)[0]
    assert out.alpha is None
    assert out.alpha_ci is None
    assert (out.raw, out.both, out.neither) == (1.0, both, 4 - both)
    assert out.to_dict()["alpha"] is out.to_dict()["alpha_ci"] is None


def test_result_is_json_also_where_a_label_never_occurs() -> None:
    for part in agreement(ANNOTATIONS, LABELS, resamples=50):
        json.dumps(part.to_dict(), allow_nan=False)


IN, BOTH = ("in",), ("out", "in")


def test_confusion_by_hand() -> None:
    # Counts as they stand above, and one each of two pairs more.
    more = [annotation(10, IN, OUT), annotation(11, IN, NONE)]
    assert confusion([*more, *ANNOTATIONS]) == [
        {"first": [], "second": [], "count": 5},
        {"first": ["out"], "second": ["out"], "count": 3},
        {"first": [], "second": ["out"], "count": 1},
        {"first": ["in"], "second": [], "count": 1},
        {"first": ["in"], "second": ["out"], "count": 1},
        {"first": ["out"], "second": [], "count": 1},
    ]


def test_confusion_takes_labels_as_a_set_but_annotators_in_order() -> None:
    found = confusion([annotation(0, BOTH, OUT), annotation(1, BOTH[::-1], OUT), annotation(2, OUT, BOTH)])
    assert found == [
        {"first": ["in", "out"], "second": ["out"], "count": 2},
        {"first": ["out"], "second": ["in", "out"], "count": 1},
    ]


def test_confusion_adds_up_to_the_rows_of_two_annotators() -> None:
    alone = [annotation(20, OUT, None), annotation(21, None, OUT), annotation(22, None, None)]
    assert confusion([*alone, *ANNOTATIONS]) == confusion(ANNOTATIONS)
    assert sum(part["count"] for part in confusion(ANNOTATIONS)) == len(ANNOTATIONS)


def decided(number: int, first: tuple[str, ...], second: tuple[str, ...], labels: tuple[str, ...]) -> Annotation:
    return annotation(number, first, second).model_copy(update={"labels": labels})


def test_adjudications_are_where_the_annotators_differed_or_a_label_was_changed() -> None:
    rows = [
        decided(0, OUT, OUT, OUT),
        decided(1, OUT, IN, IN),  # differed: the second was right
        decided(2, NONE, NONE, OUT),  # agreed, changed later
        decided(3, NONE, NONE, NONE),
        decided(4, OUT, NONE, OUT),  # differed: the first was right
        decided(5, BOTH, BOTH[::-1], BOTH),  # the same labels in another order
        decided(6, OUT, OUT, NONE),  # agreed, taken away later
        decided(7, IN, OUT, BOTH),  # differed: both were right
        decided(8, BOTH, BOTH, OUT),
    ]
    found = adjudications(rows)
    assert [row["start"] for row in found] == [1, 2, 4, 6, 7, 8]
    assert found[0] == {
        "corpus": "debate",
        "doc_id": "d0",
        "start": 1,
        "first": ["out"],
        "second": ["in"],
        "labels": ["in"],
    }
    assert found[1]["doc_id"] == "d1"
    assert (found[1]["first"], found[1]["second"], found[1]["labels"]) == ([], [], ["out"])
    assert found[4]["labels"] == ["out", "in"]
    assert json.loads(json.dumps(found)) == found


def test_adjudications_leave_out_rows_of_one_annotator() -> None:
    assert adjudications([decided(0, OUT, OUT, OUT), annotation(1, OUT, None), annotation(2, None, IN)]) == []


@pytest.mark.parametrize("count", [confusion, adjudications])
def test_confusion_and_adjudications_need_two_annotators(count: Any) -> None:
    for rows in ([], [annotation(0, OUT, None), annotation(1, None, OUT)]):
        with pytest.raises(InputError, match="two annotators"):
            count(rows)


# --- read_annotations ---


def place(start: int, labels: Any = (), first: Any = None, second: Any = None, **facts: Any) -> dict[str, Any]:
    where = {"corpus": "debate", "doc_id": "d0", "start": start, "end": start + 1, "sha256": "0" * 64}
    return {**where, "labels": labels, "first": first, "second": second, **facts}


def write(path: Path, *values: Any) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values), "utf-8")
    return path


def faults_of(*paths: Path, labels: LabelSet = LABELS) -> tuple[str, ...]:
    with pytest.raises(CorpusError) as caught:
        read_annotations(paths, labels)
    return caught.value.faults


def test_a_folder_of_annotations_is_read_in_order_of_its_files(tmp_path: Path) -> None:
    write(tmp_path / "b.jsonl", place(1, OUT, OUT, NONE), place(0, NONE))
    write(tmp_path / "a.jsonl", place(2, IN, None, IN))
    (tmp_path / "notes.txt").write_text("no annotation")
    (tmp_path / "reserved.json").write_text("{}")
    found = read_annotations([tmp_path], LABELS)
    assert [(a.start, a.labels, a.first, a.second) for a in found] == [
        (2, IN, None, IN),
        (1, OUT, OUT, NONE),
        (0, NONE, None, None),
    ]
    assert found == read_annotations([tmp_path / "a.jsonl", str(tmp_path / "b.jsonl")], LABELS)


def test_a_folder_without_annotations_and_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no \.jsonl file in this folder"):
        read_annotations([tmp_path], LABELS)
    with pytest.raises(InputError, match="cannot be read"):
        read_annotations([tmp_path / "none.jsonl"], LABELS)


def test_packaged_annotations_are_read_by_name() -> None:
    whole = read_annotations(["package:annotations"], LabelSet())
    part = read_annotations(["package:annotations/random_sample.jsonl"], LabelSet())
    assert 0 < len(part) < len(whole)
    assert {(a.corpus, a.doc_id, a.start) for a in part} < {(a.corpus, a.doc_id, a.start) for a in whole}


@pytest.mark.parametrize(
    ("labels", "first", "second", "unknown"),
    [
        (["out"], ["out"], ["up"], ["up"]),
        (["out"], ["up"], ["out"], ["up"]),
        (["up"], ["out"], ["out"], ["up"]),
        (["up"], ["up"], ["up", "out"], ["up"]),  # named once
        ([], ["up"], ["by"], ["by", "up"]),
        (["up"], None, ["by"], ["up", "by"]),
    ],
)
def test_an_unknown_label_is_a_fault_whoever_gave_it(
    tmp_path: Path, labels: list[str], first: list[str] | None, second: list[str], unknown: list[str]
) -> None:
    path = write(tmp_path / "a.jsonl", place(0, OUT, OUT, NONE), place(1, labels, first, second))
    assert faults_of(path) == tuple(f"{path}:2: unknown label {name!r}; the labels are out, in" for name in unknown)
    assert len(read_annotations([path], LabelSet(("out", "up", "by")))) == 2


def test_a_place_named_twice_is_a_fault(tmp_path: Path) -> None:
    again = place(0, NONE, NONE, OUT, end=9)
    a = write(tmp_path / "a.jsonl", place(0, OUT, OUT, OUT), place(3), again)
    others = [place(0, doc_id="d1"), place(0, corpus="speeches"), place(1)]
    b = write(tmp_path / "b.jsonl", *others, place(3, IN))
    assert faults_of(a, b) == (
        f"{a}:3: this place is annotated already at {a}:1; name a file once",
        f"{b}:4: this place is annotated already at {a}:2; name a file once",
    )
    assert faults_of(b, b) == tuple(
        f"{b}:{i}: this place is annotated already at {b}:{i}; name a file once" for i in range(1, 5)
    )


def test_rows_of_other_kinds_are_left_out_and_their_faults_are_not(tmp_path: Path) -> None:
    statement = {"id": "x", "sentences": [{"text": "We leave.", "labels": ["elsewhere"]}]}
    labelled = {"text": "We stay.", "labels": ["elsewhere"]}
    a = write(tmp_path / "a.jsonl", statement, place(4, OUT, OUT, OUT), labelled, labelled)
    assert [annotation.start for annotation in read_annotations([a], LABELS)] == [4]
    b = write(tmp_path / "b.jsonl", statement, labelled)
    assert read_annotations([b], LABELS) == []
    c = write(tmp_path / "c.jsonl", {"text": "We stay."}, place(0, end=0), [1])
    faults = faults_of(a, c)
    assert [fault.split(": ")[0] for fault in faults] == [f"{c}:1", f"{c}:2", f"{c}:3"]

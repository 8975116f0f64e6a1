"""`treatystance.corpus.audit`: the labels that scores doubt, worst first, worked out by hand."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from treatystance.corpus import Corpus, Row
from treatystance.corpus.audit import audit, read_out_of_fold
from treatystance.crossval import out_of_fold
from treatystance.errors import InputError, MissingExtraError
from treatystance.statement import LabelSet

LABELS = LabelSet(("out", "in"))
GOOD = '{"id": "a", "labels": ["out"], "probabilities": [0.75, 0.25]}\n'


def row(name: str, labels: list[str], *probabilities: float) -> dict[str, Any]:
    return {"id": name, "labels": labels, "probabilities": list(probabilities)}


# Self-confidence of "out" and "in": the probability where the label is given, what is left of 1 where it is not.
ROWS = [
    row("sure", ["out"], 0.875, 0.125),  # 0.875, 0.875
    row("wrong", [], 0.0625, 0.75),  # 0.9375, 0.25
    row("worst", ["in"], 0.75, 0.125),  # 0.25, 0.125
    row("missing", ["out", "in"], 0.625, 0.375),  # 0.625, 0.375
]


def names(rows: list[dict[str, Any]]) -> list[str]:
    return [found["id"] for found in rows]


# --- audit ---


def test_worst_first_by_the_least_certain_label() -> None:
    found = audit(ROWS, LABELS, {"wrong": "Boats stay.", "other": "Rain fell."})
    assert found == [
        {
            "id": "worst",
            "labels": ["in"],
            "suspect": ["out", "in"],
            "quality": 0.125,
            "scores": {"out": 0.75, "in": 0.125},
            "text": None,
        },
        {
            "id": "wrong",
            "labels": [],
            "suspect": ["in"],
            "quality": 0.25,
            "scores": {"out": 0.0625, "in": 0.75},
            "text": "Boats stay.",
        },
        {
            "id": "missing",
            "labels": ["out", "in"],
            "suspect": ["in"],
            "quality": 0.375,
            "scores": {"out": 0.625, "in": 0.375},
            "text": None,
        },
        {
            "id": "sure",
            "labels": ["out"],
            "suspect": [],
            "quality": 0.875,
            "scores": {"out": 0.875, "in": 0.125},
            "text": None,
        },
    ]
    json.dumps(found, allow_nan=False)


def test_one_wrong_label_among_many_right_ones_is_enough() -> None:
    labels = LabelSet(("a", "b", "c", "d", "e"))
    middling = row("middling", [], 0.4375, 0.4375, 0.4375, 0.4375, 0.4375)
    one = row("one", ["a", "b"], 0.96875, 0.125, 0.03125, 0.03125, 0.03125)
    first, second = audit([middling, one], labels)
    assert (first["id"], first["quality"], first["suspect"]) == ("one", 0.125, ["b"])
    assert (second["id"], second["quality"], second["suspect"]) == ("middling", 0.5625, [])


def test_as_the_definition_says_on_many_rows() -> None:
    rng = np.random.default_rng(3)
    labels = LabelSet(("a", "b", "c"))
    given = rng.random((60, 3)) < 0.4
    scores = rng.random((60, 3)).round(6)
    rows = [
        row(str(i), [n for n, there in zip(labels.names, given[i], strict=True) if there], *scores[i].tolist())
        for i in range(60)
    ]
    wanted = np.where(given, scores, 1 - scores).min(axis=1)
    found = audit(rows, labels)
    assert names(found) == [str(i) for i in np.argsort(wanted)]
    assert [part["quality"] for part in found] == pytest.approx(np.sort(wanted), abs=6e-5)
    for part in found:
        doubted = (scores[int(part["id"])] >= 0.5) != given[int(part["id"])]
        assert part["suspect"] == [n for n, yes in zip(labels.names, doubted, strict=True) if yes]
        assert bool(part["suspect"]) == (part["quality"] < 0.5)


@pytest.mark.parametrize("top", [1, 2, 4, 9])
def test_top_keeps_the_worst(top: int) -> None:
    assert names(audit(ROWS, LABELS, top=top)) == ["worst", "wrong", "missing", "sure"][:top]


def test_150_rows_unless_told_otherwise() -> None:
    found = audit([row(str(i), ["in"], 0.25, 0.25 if i % 2 else 0.5) for i in range(200)], LABELS)
    # Rows as bad as each other keep their order.
    assert names(found) == [str(i) for i in (*range(1, 200, 2), *range(0, 100, 2))]


def test_rows_may_come_one_by_one_and_stay_as_they_are() -> None:
    before = json.dumps(ROWS)
    assert audit(iter(ROWS), LABELS) == audit(ROWS, LABELS)
    assert json.dumps(ROWS) == before


def test_columns_follow_the_label_set_and_not_the_row() -> None:
    one, other = row("x", ["out", "in"], 0.75, 0.125), row("x", ["in", "out"], 0.75, 0.125)
    found, again = audit([one], LABELS)[0], audit([other], LABELS)[0]
    assert (found["suspect"], found["quality"]) == (again["suspect"], again["quality"]) == (["in"], 0.125)
    assert again["labels"] == ["in", "out"]
    swapped = audit([one], LabelSet(("in", "out")))[0]
    assert (swapped["suspect"], swapped["scores"]) == (["out"], {"in": 0.75, "out": 0.125})


def test_scores_are_rounded_to_four_places() -> None:
    found = audit([row("x", ["out"], 0.123456, 0.000049)], LABELS)[0]
    assert (found["scores"], found["quality"]) == ({"out": 0.1235, "in": 0.0}, 0.1235)


@pytest.mark.parametrize(
    ("labels", "qualities"),
    [([[], []], [0.25, 0.75]), ([["out", "in"], ["in", "out"]], [0.125, 0.25])],
)
def test_no_label_and_every_label_on_all_rows(labels: list[list[str]], qualities: list[float]) -> None:
    rows = [row("one", labels[0], 0.25, 0.25), row("two", labels[1], 0.75, 0.125)]
    found = {part["id"]: part["quality"] for part in audit(rows, LABELS)}
    assert sorted(found.values()) == qualities
    assert found["two"] == qualities[0]


def test_no_rows_give_none() -> None:
    assert audit([], LABELS) == audit(iter(()), LABELS, {"a": "Rain fell."}) == []


def test_where_no_row_carries_a_label() -> None:
    labels = LabelSet(("a", "b", "c"))
    rows = [row("low", [], 0, 0.125, 0.25), row("sure", [], 1, 0, 0), row("one", [], 0.625, 0.5, 0.375)]
    assert [(part["id"], part["quality"], part["suspect"]) for part in audit(rows, labels)] == [
        ("sure", 0.0, ["a"]),
        ("one", 0.375, ["a", "b"]),
        ("low", 0.75, []),
    ]


def test_one_label_alone() -> None:
    found = audit([row("right", ["out"], 0.75), row("wrong", [], 0.875)], LabelSet(("out",)))
    assert [(part["id"], part["quality"], part["suspect"]) for part in found] == [
        ("wrong", 0.125, ["out"]),
        ("right", 0.75, []),
    ]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row("x-1", ["out", "leaving"], 0.5, 0.5), "x-1: unknown label 'leaving'; the labels are out, in"),
        (row("x-1", [], 0.5), "x-1: 1 probabilities for 2 labels"),
        (row("x-1", ["in"], 0.5, 0.5, 0.5), "x-1: 3 probabilities for 2 labels"),
        (row("x-1", []), "x-1: 0 probabilities for 2 labels"),
    ],
)
def test_rows_of_other_labels_are_refused(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        audit([*ROWS, bad], LABELS)
    assert str(caught.value) == message


def test_without_cleanlab_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab.rank", None)
    for rows in (ROWS, []):
        with pytest.raises(MissingExtraError, match=r"cleanlab: pip install 'treatystance\[audit\]'"):
            audit(rows, LABELS)


# --- read_out_of_fold ---


def table(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


READ = {"id": "a", "labels": ["out"], "probabilities": [0.75, 0.25]}


def test_rows_are_read_and_other_keys_ignored(tmp_path: Path) -> None:
    second = '{"id": "7", "labels": [], "probabilities": [0, 1], "fold": 3, "tags": ["in"], "doc_id": null}\r\n'
    assert read_out_of_fold(table(tmp_path / "t.jsonl", GOOD + second)) == [
        READ,
        {"id": "7", "labels": [], "probabilities": [0, 1]},
    ]


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (f"\n{GOOD} \t\n\r\n{GOOD}\n\n", 2),
        (GOOD.removesuffix("\n"), 1),
        (f"\ufeff{GOOD}", 1),
        (f"\ufeff\n{GOOD}", 1),
        (GOOD.replace("\n", "\r\n") * 3, 3),
    ],
)
def test_blank_lines_and_a_byte_order_mark_are_no_fault(tmp_path: Path, content: str, rows: int) -> None:
    assert read_out_of_fold(table(tmp_path / "t.jsonl", content)) == [READ] * rows


def test_blank_lines_count_where_a_fault_is_named(tmp_path: Path) -> None:
    path = table(tmp_path / "t.jsonl", f"\ufeff\n{GOOD}\n\noops\n")
    with pytest.raises(InputError, match=r"t\.jsonl:5: not a row of an out-of-fold table"):
        read_out_of_fold(path)


@pytest.mark.parametrize("between", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1e"])
def test_only_a_line_feed_ends_a_line(tmp_path: Path, between: str) -> None:
    path = table(tmp_path / "t.jsonl", GOOD + GOOD.rstrip("\n") + between + GOOD)
    with pytest.raises(InputError, match=r"t\.jsonl:2: not a row of an out-of-fold table"):
        read_out_of_fold(path)


def test_what_training_logs_can_be_audited(tmp_path: Path) -> None:
    texts = ["Boats left.", "Boats stay.", "Rain fell."]
    given: list[tuple[str, ...]] = [("out",), (), ("in", "out")]
    rows = [Row(f"é{i}", f"d{i}", text, labels) for i, (text, labels) in enumerate(zip(texts, given, strict=True))]
    validation = SimpleNamespace(
        tested=np.array([2, 0]),
        fold=np.array([1, 0]),
        decisions=SimpleNamespace(
            tags=np.array([[True, False], [False, False]]),
            uncertain=np.array([[False, True], [False, False]]),
            probabilities=np.array([[0.625, 0.25], [0.125, 0.0625]]),
        ),
    )
    content = out_of_fold(Corpus(tuple(rows), LABELS), cast(Any, validation)).to_jsonl()
    read = read_out_of_fold(table(tmp_path / "out_of_fold.jsonl", content))
    kept = ("id", "labels", "probabilities")
    logged = [json.loads(line) for line in content.splitlines()]
    assert [{key: line[key] for key in kept} for line in logged] == read
    assert (read[0]["id"], read[0]["labels"], read[0]["probabilities"]) == ("é2", ["out", "in"], [0.625, 0.25])
    found = audit(read, LABELS, {row.id: row.text for row in rows})
    assert [(part["id"], part["quality"], part["suspect"], part["text"]) for part in found] == [
        ("é0", 0.125, ["out"], "Boats left."),
        ("é2", 0.25, ["in"], "Rain fell."),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("oops", "Invalid JSON"),
        ('{"id": "b", "labels": [], "probabilities": [0.5, 0.5]', "Invalid JSON"),
        ("7", "Input should be an object (found '7')"),
        ("null", "Input should be an object (found 'None')"),
        ('"id labels probabilities"', "Input should be an object"),
        ('["id", "labels", "probabilities"]', "Input should be an object"),
        ('{"labels": [], "probabilities": [0.5, 0.5]}', "(id is missing)"),
        ('{"id": "b", "probabilities": [0.5, 0.5]}', "(labels is missing)"),
        ('{"id": "b", "labels": []}', "(probabilities is missing)"),
        ("{}", "(id is missing; labels is missing; probabilities is missing)"),
        ('{"id": 7, "labels": [], "probabilities": [0.5, 0.5]}', "id: Input should be a valid string (found '7')"),
        ('{"id": "b", "labels": null, "probabilities": [0.5, 0.5]}', "labels: Input should be a valid array"),
        ('{"id": "b", "labels": 2, "probabilities": [0.5, 0.5]}', "labels: Input should be a valid array (found '2')"),
        ('{"id": "b", "labels": [], "probabilities": 0.5}', "probabilities: Input should be a valid array"),
        ('{"id": "b", "labels": [], "probabilities": [0.5, null]}', "probabilities.1: Input should be a valid number"),
        ('{"id": "b", "labels": [], "probabilities": [0.5, "0.5"]}', "probabilities.1: Input should be a valid number"),
        ('{"id": "b", "labels": [], "probabilities": [true, 0.5]}', "probabilities.0: Input should be a valid number"),
        ('{"id": "b", "labels": [], "probabilities": [0.5, 1.01]}', "probabilities.1: Input should be less than or eq"),
        ('{"id": "b", "labels": [], "probabilities": [-0.01, 0.5]}', "probabilities.0: Input should be greater than"),
        ('{"id": "b", "labels": [], "probabilities": [NaN, 0.5]}', "(found 'nan')"),
        ('{"id": "b", "labels": [], "probabilities": [0.5, Infinity]}', "probabilities.1: Input should be less than"),
    ],
)
def test_a_line_that_is_no_row_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = table(tmp_path / "t.jsonl", f"{GOOD}{line}\n{GOOD}")
    with pytest.raises(InputError) as caught:
        read_out_of_fold(path)
    assert str(caught.value).startswith(f"{path}:2: not a row of an out-of-fold table (")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("labels", ['"out"', '{"out": 1}', '[["out"]]', '[{"out": 1}]'])
def test_labels_that_are_no_list_of_names_are_refused_where_they_stand(tmp_path: Path, labels: str) -> None:
    path = table(tmp_path / "t.jsonl", GOOD + GOOD.replace('["out"]', labels))
    with pytest.raises(InputError, match=r"t\.jsonl:2: not a row of an out-of-fold table"):
        read_out_of_fold(path)


def test_a_line_nested_beyond_measure_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path / "t.jsonl", GOOD + "[" * 100_000)
    with pytest.raises(InputError, match=r"t\.jsonl:2: not a row of an out-of-fold table"):
        read_out_of_fold(path)


def test_an_id_may_hold_any_character_that_json_allows(tmp_path: Path) -> None:
    path = table(tmp_path / "t.jsonl", GOOD.replace('"a"', '"a\u2028b\u2029c\x85d"') + GOOD)
    assert [found["id"] for found in read_out_of_fold(path)] == ["a\u2028b\u2029c\x85d", "a"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty; give the out_of_fold.jsonl"),
        (b"\xef\xbb\xbf", "empty; give the out_of_fold.jsonl"),
        (b"\n \r\n\n", "empty; give the out_of_fold.jsonl"),
        (b"\x89PNG\xff", "cannot be read"),
        (GOOD.encode("utf-16"), "cannot"),
    ],
)
def test_a_file_that_is_no_table(tmp_path: Path, content: bytes, message: str) -> None:
    path = table(tmp_path / "t.jsonl", content)
    with pytest.raises(InputError, match=message) as caught:
        read_out_of_fold(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_file_that_is_not_there_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jsonl", tmp_path):
        with pytest.raises(InputError, match="cannot be read") as caught:
            read_out_of_fold(path)
        assert str(caught.value).startswith(f"{path}: ")

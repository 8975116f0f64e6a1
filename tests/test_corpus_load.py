"""`treatystance.corpus.load` and `rows`: files → one validated corpus."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from treatystance.corpus import Corpus, Row, codebook_sha256, data_path, load_corpus
from treatystance.corpus.rows import infer_labels, neighbours
from treatystance.corpus.stats import corpus_stats
from treatystance.errors import CorpusError, InputError
from treatystance.statement import DEFAULT_LABELS, LabelSet

LABELS = LabelSet(("out", "in"))


def write(path: Path, *values: Any) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values), "utf-8")
    return path


def statement(name: str, *sentences: tuple[str, list[str]], **facts: Any) -> dict[str, Any]:
    return {"id": name, **facts, "sentences": [{"text": text, "labels": labels} for text, labels in sentences]}


def faults_of(*paths: Path, labels: LabelSet | None = LABELS) -> tuple[str, ...]:
    with pytest.raises(CorpusError) as caught:
        load_corpus(paths, labels)
    assert str(caught.value).count("\n") == len(caught.value.faults)
    return caught.value.faults


def test_a_statement_becomes_rows_with_context(tmp_path: Path) -> None:
    value = statement(
        "x-1",
        ("We leave.", ["out"]),
        ("Rain fell.", []),
        ("We stay in the other.", ["in"]),
        government="LVA",
        co_governments=["EST"],
        date="1999-05",
        kind="speech",
        treaty="The Pact",
    )
    corpus = load_corpus([write(tmp_path / "a.jsonl", value)], LABELS)
    assert corpus.rows[1] == Row(
        id="composed:x-1:1",
        doc_id="composed:x-1",
        text="Rain fell.",
        labels=(),
        position=1,
        prev="We leave.",
        next="We stay in the other.",
        government="LVA",
        co_governments=("EST",),
        year=1999,
        kind="speech",
        treaty="The Pact",
        language="en",
        origin="composed",
    )
    assert corpus.rows[0].prev is None
    assert corpus.rows[2].next is None
    assert corpus.rows[0].governments == ("LVA", "EST")
    assert corpus.label_matrix().tolist() == [[True, False], [False, False], [False, True]]


def test_a_labelled_row_keeps_its_facts_and_gets_an_id(tmp_path: Path) -> None:
    path = write(
        tmp_path / "mine.jsonl",
        {"text": "We stay.", "labels": ["in"], "prev": "Sir!", "next": "Thanks.", "government": "POL", "year": 2001},
        {"text": "We go.", "labels": [], "id": 7, "doc_id": 9},
    )
    first, second = load_corpus([path], LABELS).rows
    assert (first.id, first.doc_id, first.origin) == ("mine.jsonl:1", "mine.jsonl:1", "mine.jsonl")
    assert (first.prev, first.next, first.government, first.year) == ("Sir!", "Thanks.", "POL", 2001)
    assert (second.id, second.doc_id) == ("7", "9")


def test_a_folder_is_read_in_order_of_its_files(tmp_path: Path) -> None:
    write(tmp_path / "b.jsonl", {"text": "Second.", "labels": ["in"]})
    write(tmp_path / "a.jsonl", {"text": "First.", "labels": ["out"]})
    (tmp_path / "notes.txt").write_text("no corpus")
    assert [row.text for row in load_corpus([tmp_path])] == ["First.", "Second."]


def test_a_folder_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no \.jsonl file"):
        load_corpus([tmp_path])


def test_faults_of_all_files_are_reported_together(tmp_path: Path) -> None:
    a = write(tmp_path / "a.jsonl", {"labels": []}, {"text": "We stay.", "labels": ["inn"]})
    b = write(tmp_path / "b.jsonl", [1])
    (tmp_path / "c.jsonl").write_bytes(b"")
    faults = faults_of(a, b, tmp_path / "c.jsonl")
    assert [fault.split(": ")[0] for fault in faults] == [f"{a}:1", f"{a}:2", f"{b}:1", str(tmp_path / "c.jsonl")]


def test_unknown_label_names_the_sentence_and_the_labels(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", statement("x", ("We stay.", ["in"]), ("We go.", ["outt"])))
    assert faults_of(path) == (f"{path}:1: sentence 2: unknown label 'outt'; the labels are out, in",)


def test_duplicate_id_across_files_names_both_places(tmp_path: Path) -> None:
    a = write(tmp_path / "a.jsonl", {"text": "We stay.", "labels": [], "id": "r1"})
    b = write(
        tmp_path / "b.jsonl", {"text": "We go.", "labels": []}, {"text": "We wait.", "labels": ["in"], "id": "r1"}
    )
    assert faults_of(a, b) == (f"{b}:2: 'r1' stands already at {a}:1; give each its own id",)


def test_duplicate_statement_across_files(tmp_path: Path) -> None:
    a = write(tmp_path / "a.jsonl", statement("x", ("We stay.", ["in"])))
    b = write(tmp_path / "b.jsonl", statement("x", ("We go.", ["out"])))
    assert faults_of(a, b) == (f"{b}:1: 'composed:x:0' stands already at {a}:1; give each its own id",)


def test_repeated_composed_sentence(tmp_path: Path) -> None:
    a = write(tmp_path / "a.jsonl", statement("x", ("We stay.", ["in"]), ("It rained.", [])))
    b = write(tmp_path / "b.jsonl", statement("y", ("It did not.", []), ("WE  stay.", ["in"])))
    assert faults_of(a, b) == (f"{b}:1: sentence 2 repeats the one at {a}:1 sentence 1",)


@pytest.mark.parametrize("labels", [[], ["out", "in"]])
def test_exclusive_wants_exactly_one_label(tmp_path: Path, labels: list[str]) -> None:
    path = write(tmp_path / "a.jsonl", {"text": "We stay.", "labels": labels})
    exclusive = LabelSet(("out", "in"), exclusive=True)
    assert faults_of(path, labels=exclusive) == (f"{path}:1: exactly one label is wanted, not {len(labels)}",)


@pytest.mark.parametrize(
    ("found", "exclusive", "wanted"),
    [
        (["reaffirmation"], False, LabelSet(DEFAULT_LABELS)),
        (["reaffirmation", "b"], False, LabelSet(("b", "reaffirmation"))),
        (["neutral", "dovish", "hawkish", "dovish"], True, LabelSet(("dovish", "hawkish", "neutral"), True)),
        (["reaffirmation"], True, LabelSet(("reaffirmation",), True)),
    ],
)
def test_infer_labels(found: list[str], exclusive: bool, wanted: LabelSet) -> None:
    assert infer_labels(found, exclusive) == wanted


def test_no_label_at_all_is_refused(tmp_path: Path) -> None:
    assert (
        "label set is unknown" in faults_of(write(tmp_path / "a.jsonl", {"text": "We.", "labels": []}), labels=None)[0]
    )


def test_fingerprint_covers_every_field_and_no_order() -> None:
    rows = (
        Row(
            "1", "d", "We stay.", ("in",), 0, "a", "b", "POL", ("LVA",), 1999, "speech", "t", "en", "p", "o", 1.0, True
        ),
        Row("2", "d", "We go."),
    )
    corpus = Corpus(rows, LABELS)
    assert Corpus(rows[::-1], LABELS).sha256 == corpus.sha256
    changes: dict[str, Any] = {
        "id": "3", "doc_id": "e", "text": "We stay!", "labels": ("out",), "position": 1, "prev": None, "next": "c",
        "government": "EST", "co_governments": (), "year": 2000, "kind": "interview", "treaty": None, "language": "fr",
        "phenomenon": "q", "origin": "z", "weight": 2.0, "evaluate": False, "probability": 0.5, "auxiliary": True,
    }  # fmt: skip
    assert set(changes) == set(Row.__dataclass_fields__)
    hashes = {Corpus((replace(rows[0], **{key: value}), rows[1]), LABELS).sha256 for key, value in changes.items()}
    assert len(hashes | {corpus.sha256}) == len(changes) + 1
    assert Corpus(rows, LabelSet(("out", "in"), exclusive=True)).sha256 != corpus.sha256


def test_empty_corpus_has_an_empty_matrix() -> None:
    assert Corpus((), LABELS).label_matrix().shape == (0, 2)


def test_neighbours() -> None:
    assert [neighbours(["a", "b", "c"], i) for i in range(3)] == [(None, "b"), ("a", "c"), ("b", None)]


def test_codebook_hash_is_that_of_the_packaged_codebook() -> None:
    assert codebook_sha256() == hashlib.sha256(data_path("package:codebook.md").read_bytes()).hexdigest()
    assert data_path("some/file.jsonl") == Path("some/file.jsonl")


def test_stats_count(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl",
        statement("x", ("We leave now.", ["out"]), ("It rained.", []), government="LVA", date="1999"),
        statement("y", ("We stay and go.", ["in", "out"]), government="POL", date="1991"),
    )
    found = corpus_stats(load_corpus([path], LABELS))
    assert (found["statements"], found["sentences"], found["governments"]) == (2, 3, 2)
    assert found["labels"] == {"out": 2, "in": 1}
    assert (found["several_labels"], found["no_label"], found["words_median"]) == (1, 1, 3)
    assert found["by_decade"] == {"1990s": 3}
    json.dumps(found, allow_nan=False)

"""`treatystance.corpus.dataset`: the corpus as a typed Dataset, and files written from it."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, List

from treatystance.corpus import Corpus, Row, load_corpus
from treatystance.corpus.dataset import features, from_dataset, to_dataset, write_corpus
from treatystance.errors import InputError
from treatystance.statement import LabelSet

LABELS = LabelSet(("out", "in"))
CORPUS = Corpus(
    (
        Row(
            id="1",
            doc_id="d",
            text="We “stay”.",
            labels=("in", "out"),
            position=3,
            prev="a",
            next="b",
            government="POL",
            co_governments=("LVA",),
            year=1999,
            kind="speech",
            treaty="t",
            language="en",
            phenomenon="p",
            origin="o",
            weight=0.3,
        ),
        Row("2", "d", "We go.", evaluate=False),
    ),
    LABELS,
    "0" * 64,
)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def test_every_field_has_a_column() -> None:
    assert set(features(LABELS)) == set(Row.__dataclass_fields__)


def test_labels_are_typed() -> None:
    typed = to_dataset(CORPUS).features["labels"]
    assert isinstance(typed, List)
    assert isinstance(typed.feature, ClassLabel)
    assert typed.feature.names == ["out", "in"]


def test_description_carries_both_fingerprints() -> None:
    description = to_dataset(CORPUS).info.description
    assert CORPUS.sha256 in description
    assert "0" * 64 in description


def test_dataset_round_trip() -> None:
    back = from_dataset(to_dataset(CORPUS))
    assert back.rows == CORPUS.rows
    assert back.sha256 == CORPUS.sha256


def test_exclusive_round_trip() -> None:
    corpus = Corpus((Row("1", "d", "We stay.", ("in",)),), LabelSet(("out", "in"), exclusive=True))
    assert from_dataset(to_dataset(corpus), exclusive=True).labels == corpus.labels


def test_parquet_round_trip(tmp_path: Path, tiny_corpus: Corpus) -> None:
    path = tmp_path / "new" / "corpus.parquet"
    write_corpus(tiny_corpus, path)
    back = from_dataset(Dataset.from_parquet(str(path), cache_dir=str(tmp_path)))
    assert back.rows == tiny_corpus.rows
    assert back.labels == tiny_corpus.labels


def test_json_lines_carry_every_field_and_label_names(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    write_corpus(CORPUS, path)
    first, second = (json.loads(line) for line in path.read_text("utf-8").splitlines())
    assert first | {"weight": None} == asdict(CORPUS.rows[0]) | {
        "labels": ["in", "out"],
        "co_governments": ["LVA"],
        "weight": None,
    }
    assert second["labels"] == []
    assert second["year"] is None


def test_json_lines_are_read_back_as_labelled_rows(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    write_corpus(CORPUS, path)
    back = load_corpus([path], LABELS)
    kept = ("id", "doc_id", "text", "labels", "prev", "next", "government", "year", "kind")
    for row, wanted in zip(back, CORPUS, strict=True):
        assert [getattr(row, name) for name in kept] == [getattr(wanted, name) for name in kept]


@pytest.mark.parametrize("name", ["corpus.csv", "corpus"])
def test_other_endings_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"must be \.parquet or \.jsonl"):
        write_corpus(CORPUS, tmp_path / name)


@pytest.mark.parametrize("name", ["corpus.jsonl", "corpus.parquet"])
def test_a_place_that_cannot_be_written_is_an_input_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        write_corpus(CORPUS, tmp_path / "file" / name)

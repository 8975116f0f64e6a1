"""`treatystance.pool`: which sentences are drawn, and which never are."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from treatystance import Predictor, Statement
from treatystance.corpus import data_path
from treatystance.corpus.public import CORPORA_VARIABLE, read_documents
from treatystance.errors import InputError
from treatystance.pool import pool_sentences
from treatystance.segment import segment

RESERVED = json.loads(data_path("package:annotations/reserved.json").read_text("utf-8"))
KEPT_ASIDE = RESERVED["documents"]["ungdc"][0]
OPEN = ["AFG", "ALB", "ARG", "BEL"]


def text_of(document: int, sentences: int = 8) -> str:
    return " ".join(f"We of country {document} spoke in part {i}." for i in range(sentences))


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Path]:
    """Forty open documents of four governments, one kept aside, one of a government kept aside; one government more."""
    ids = [f"{OPEN[i % 4]}_{i}_2000" for i in range(40)] + [KEPT_ASIDE, "AUS_99_2044"]
    columns = {"doc_id": ids, "iso3": [i[:3] for i in ids], "text": [text_of(i) for i in range(42)]}
    pq.write_table(pa.table(columns), tmp_path / "u.parquet")
    other = {"doc_id": ["a", "b"], "text": [text_of(100), text_of(101)]}
    pq.write_table(pa.table(other), tmp_path / "w.parquet")
    return {"ungdc": tmp_path / "u.parquet", "whitehouse": tmp_path / "w.parquet"}


def test_all_sentences_come_once_with_their_context(paths: dict[str, Path]) -> None:
    drawn = pool_sentences(["ungdc", "whitehouse"], 10_000, 1, [], paths)
    assert len(set(drawn.texts)) == len(drawn) == 42 * 8
    assert Counter(drawn.governments) == dict.fromkeys(OPEN, 80) | {"USA": 16}
    # The same as Predictor would give to a model.
    statements = [Statement(text_of(i), government=OPEN[i % 4]) for i in range(40)]
    statements += [Statement(text_of(100), government="USA"), Statement(text_of(101), government="USA")]
    _, batch = Predictor.load().split(statements)
    assert set(_rows(drawn)) == set(_rows(batch))


def _rows(batch: Any) -> list[tuple[str, str | None, str | None]]:
    return list(zip(batch.texts, batch.previous, batch.governments, strict=True))


def test_kept_aside_documents_and_governments_are_never_read(
    paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: set[str] = set()

    def watched(path: Path, wanted: set[str]) -> dict[str, str]:
        read.update(wanted)
        return read_documents(path, wanted)

    monkeypatch.setattr("treatystance.pool.read_documents", watched)
    drawn = pool_sentences(["ungdc", "whitehouse"], 10_000, 1, {"AFG", "USA"}, paths)
    assert set(drawn.governments) == set(OPEN[1:])
    assert len(read) == 30
    assert not {name for name in read if name[:3] in ("AFG", "AUS") or name in ("a", "b", KEPT_ASIDE)}
    assert not any("country 40 " in text or "country 41 " in text for text in drawn.texts)


def test_few_sentences_need_few_documents(paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    split: list[str] = []

    def watched(text: str) -> list[tuple[int, int]]:
        split.append(text)
        return segment(text)

    monkeypatch.setattr("treatystance.pool.segment", watched)
    drawn = pool_sentences(["ungdc"], 20, 1, [], paths)
    assert len(drawn) == 20
    assert 60 / 8 <= len(split) < 20
    # They are spread over the documents.
    assert len({text.split(" spoke")[0] for text in drawn.texts}) >= 5


def test_the_seed_decides_and_not_the_order_of_the_file(paths: dict[str, Path], tmp_path: Path) -> None:
    first = _rows(pool_sentences(["ungdc"], 50, 1, [], paths))
    assert first == _rows(pool_sentences(["ungdc"], 50, 1, [], paths))
    assert first != _rows(pool_sentences(["ungdc"], 50, 2, [], paths))
    table = pq.read_table(paths["ungdc"])
    pq.write_table(table.take(pa.array(range(41, -1, -1))), tmp_path / "turned.parquet")
    assert first == _rows(pool_sentences(["ungdc"], 50, 1, [], {"ungdc": tmp_path / "turned.parquet"}))


def test_every_sentence_is_as_likely(paths: dict[str, Path]) -> None:
    counts = Counter(text for seed in range(200) for text in pool_sentences(["ungdc"], 32, seed, [], paths).texts)
    # Each of 320 is drawn with probability 0.1: 20 times, give or take.
    assert len(counts) == 320
    assert min(counts.values()) >= 4
    assert max(counts.values()) <= 42


def test_repeats_count_once(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"doc_id": ["a", "b", "c"], "text": ["We stay. We go.", "WE  STAY.", None]}), tmp_path / "x.parquet"
    )
    drawn = pool_sentences(["mine"], 9, 1, [], {"mine": tmp_path / "x.parquet"})
    assert sorted(" ".join(text.lower().split()) for text in drawn.texts) == ["we go.", "we stay."]
    assert set(drawn.governments) == {None}


def test_a_report_by_nobody_known_may_be_of_any_government(tmp_path: Path) -> None:
    text = "The ministry said that Chad would quit the accord."
    pq.write_table(pa.table({"doc_id": ["a"], "text": [text]}), tmp_path / "x.parquet")
    drawn = pool_sentences(["mine"], 9, 1, [], {"mine": tmp_path / "x.parquet"})
    _, batch = Predictor.load().split([Statement(text)])
    assert _rows(drawn) == _rows(batch) == [(text, None, "*")]


def test_what_cannot_be_drawn_from_is_told(
    paths: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(CORPORA_VARIABLE, raising=False)
    with pytest.raises(InputError, match=f"'ungdc'.*Harvard.*{CORPORA_VARIABLE}"):
        pool_sentences(["ungdc"], 10, 1, [])
    with pytest.raises(InputError, match="every document is kept aside or left out"):
        pool_sentences(["ungdc"], 10, 1, OPEN, paths)
    with pytest.raises(InputError, match="ask for at least 1"):
        pool_sentences(["ungdc"], 0, 1, [], paths)
    with pytest.raises(InputError, match="Parquet file only"):
        pool_sentences(["ungdc"], 10, 1, [], {"ungdc": tmp_path})
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(InputError, match="not a readable Parquet file"):
        pool_sentences(["ungdc"], 10, 1, [], {"ungdc": tmp_path / "bad.parquet"})
    for missing, rest in (("doc_id", "text"), ("text", "doc_id")):
        pq.write_table(pa.table({rest: ["a"]}), tmp_path / "half.parquet")
        with pytest.raises(InputError, match=f"column '{missing}' is missing"):
            pool_sentences(["ungdc"], 10, 1, [], {"ungdc": tmp_path / "half.parquet"})


@pytest.mark.corpora
def test_the_real_corpora_give_no_document_kept_aside() -> None:
    if not os.environ.get(CORPORA_VARIABLE):
        pytest.skip(f"{CORPORA_VARIABLE} IS NOT SET: the pool was NOT drawn from the corpora")
    drawn = pool_sentences(["ungdc", "whitehouse"], 2000, 1, ["POL"])
    assert len(drawn) == 2000
    assert not set(drawn.governments) & {"POL", *RESERVED["governments"]["ungdc"]}
    assert {"USA"} < set(drawn.governments)

"""Sentences to annotate next, from a table of scores: a random sample, the highest scores, those nearest a threshold.

The random sample stands for the whole table; the others find what it would rarely hold. Every row carries its inclusion
probability, so that all of them together still tell of ordinary text (Horvitz and Thompson 1952).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from treatystance.corpus.load import data_path
from treatystance.corpus.standoff import sentence_sha256
from treatystance.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["draw"]

Ints = npt.NDArray[np.int64]
_BLOCK_BYTES = 1 << 26  # a row of a table cannot be longer
_SCORE = "score_"


def draw(
    scores: Path,
    out: Path,
    random: int | None = None,
    top: Mapping[str, int] | None = None,
    unsure: Mapping[str, int] | None = None,
    thresholds: Mapping[str, float] | None = None,
    model: str | None = None,
    exclude: Sequence[str | Path] = (),
    seed: int = 0,
) -> dict[str, int]:
    """Draw sentences from a table of scores and write them as JSON Lines, shuffled.

    `top` and `unsure` skip a row whose text (white space and case folded) one of them has taken already, or that is
    excluded, and go on to the next. What the random sample holds does not move them: their rows are certain.

    Args:
        scores: a .parquet, .jsonl or .csv table of scores with a row per sentence.
        out: a new file.
        random: how many to draw uniformly from all eligible rows.
        top: by tag, how many of the highest scores.
        unsure: by tag, how many of the scores nearest to the threshold.
        thresholds: by tag, in calibrated probability, for `unsure`.
        model: name and version of the model whose thresholds they are; what is `unsure` must be scored by it, if given.
        exclude: JSON Lines files (or "package:NAME") with `start`, `doc_id` and perhaps `corpus` of what not to draw.
        seed: of the random sample and of the order.

    Returns:
        Rows written by stratum: "top_TAG", "unsure_TAG", "random".

    Raises:
        InputError: a file cannot be read or written, or lacks a column; a tag is unknown; nothing, or no positive
            number, is asked for.
    """
    top, unsure, thresholds = top or {}, unsure or {}, thresholds or {}
    counts = _strata(random, top, unsure)
    if seed < 0:
        raise InputError(f"seed {seed}: must not be negative")
    if unknown := [tag for tag in unsure if tag not in thresholds]:
        raise InputError(f"unsure: unknown tag {unknown[0]!r}; the model's tags are {', '.join(thresholds)}")
    if out.exists():
        raise InputError(f"{out}: exists already; name a new file")
    table = _read_table(scores, {*top, *unsure}, model if unsure else None)
    excluded, seen = _read_excluded(exclude)
    out_of_reach = table.find(excluded)
    seen |= {_folded(table.texts[i].as_py()) for i in np.flatnonzero(out_of_reach)}
    eligible = np.flatnonzero(~out_of_reach)
    if not len(eligible):
        raise InputError(f"{scores}: every sentence is excluded; nothing is left to draw")

    rng = np.random.default_rng(seed)
    sample = rng.choice(eligible, min(random or 0, len(eligible)), replace=False)
    ranks = [(f"top_{tag}", number, -table.scores[tag]) for tag, number in top.items()]
    ranks += [(f"unsure_{tag}", n, np.abs(table.scores[tag] - thresholds[tag])) for tag, n in unsure.items()]
    certain: dict[int, str] = {}
    for stratum, number, rank in ranks:
        order = eligible[np.argsort(rank[eligible], kind="stable")]
        certain |= dict.fromkeys(islice(table.new_texts(order, seen), number), stratum)

    lines = []
    for i in rng.permutation(sorted({*sample.tolist(), *certain})).tolist():
        stratum = certain.get(i, "random")
        counts[stratum] += 1
        probability = 1.0 if i in certain else len(sample) / len(eligible)
        row = {**table.sentence(i), "labels": [], "stratum": stratum, "probability": probability}
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text("".join(lines), "utf-8")
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror})") from None
    return counts


def _strata(random: int | None, top: Mapping[str, int], unsure: Mapping[str, int]) -> dict[str, int]:
    """A count of 0 for each stratum asked for."""
    asked = {f"{kind}_{tag}": n for kind, tags in (("top", top), ("unsure", unsure)) for tag, n in tags.items()}
    if random is not None:
        asked["random"] = random
    if not asked:
        raise InputError("nothing to draw: give --random N, --top TAG=N or --unsure TAG=N")
    for stratum, number in asked.items():
        if number < 1:
            raise InputError(f"{stratum}: a positive whole number is wanted, not {number}")
    return dict.fromkeys(asked, 0)


@dataclass(frozen=True)
class _Table:
    """Scored sentences as columns of shape (sentences,); `document` is a place in `documents`."""

    texts: pa.ChunkedArray
    documents: pa.Array
    document: Ints
    ordinal: Ints
    start: Ints
    end: Ints
    scores: dict[str, npt.NDArray[np.float64]]

    def find(self, places: Sequence[tuple[bytes, int]]) -> npt.NDArray[np.bool_]:
        """Which sentences begin at one of these places (document as UTF-8, start): shape (sentences,)."""
        import pyarrow as pa
        import pyarrow.compute as pc

        ids = pa.array([doc_id for doc_id, _ in places], pa.string())
        document = pc.index_in(ids, value_set=self.documents).fill_null(-1).to_numpy()
        start = np.array([start for _, start in places], np.int64)
        return np.isin(_joined(self.document, self.start), _joined(document, start))

    def new_texts(self, rows: Iterable[int], seen: set[str]) -> Iterator[int]:
        """Those of the rows whose text is not in `seen`, where each is noted as it is given out."""
        for i in rows:
            text = _folded(self.texts[i].as_py())
            if text not in seen:
                seen.add(text)
                yield int(i)

    def sentence(self, i: int) -> dict[str, Any]:
        """Where the sentence stands, its text, and what stands beside it."""
        text = self.texts[i].as_py()
        return {
            "doc_id": self.documents[self.document[i]].as_py(),
            "start": int(self.start[i]),
            "end": int(self.end[i]),
            "sha256": sentence_sha256(text),
            "text": text,
            "prev": self._neighbour(i, -1),
            "next": self._neighbour(i, 1),
        }

    def _neighbour(self, i: int, step: int) -> str | None:
        j = i + step
        inside = 0 <= j < len(self.start) and self.document[j] == self.document[i]
        return self.texts[j].as_py() if inside and self.ordinal[j] == self.ordinal[i] + step else None


def _joined(document: Ints, number: Ints) -> Ints:
    """Pairs as single numbers of the same order."""
    return (document.astype(np.int64) << 32) + number


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _read_table(path: Path, tags: set[str], model: str | None) -> _Table:
    """The sentences with the scores of these tags, all by `model` if that is given."""
    import pyarrow as pa
    import pyarrow.compute as pc

    types = dict.fromkeys(("id", "text") if model is None else ("id", "text", "model"), pa.string())
    types |= dict.fromkeys(("sentence", "start", "end"), pa.int64())
    types |= {_SCORE + tag: pa.float32() for tag in sorted(tags)}
    try:
        table = _read_columns(path, types) if path.stat().st_size else None
        if not table:
            raise InputError(f"{path}: holds no sentence")
        table.validate(full=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or str(error).splitlines()[0]})") from None
    except (pa.ArrowException, csv.Error, ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: not a readable table of scores ({str(error).splitlines()[0]})") from None
    for name in types:
        if (row := pc.index(pc.is_null(table[name], nan_is_null=True), True).as_py()) >= 0:
            raise InputError(f"{path}: row {row + 1}: {name!r} is empty")
    if model is not None and (others := set(pc.unique(table["model"]).to_pylist()) - {model}):
        raise InputError(f"{path}: scored by {min(others)}, but the thresholds are those of {model}; give its --model")
    ids = table["id"].dictionary_encode().combine_chunks()
    columns = (ids.indices, table["sentence"], table["start"], table["end"])
    document, ordinal, start, end = (column.to_numpy() for column in columns)
    numbers, times = np.unique(_joined(document, ordinal), return_counts=True)
    if len(numbers) < table.num_rows:
        doc_id = ids.dictionary[numbers[times > 1][0] >> 32]
        raise InputError(f"{path}: id {str(doc_id)!r} stands for two documents; score again with an id for each")
    values = {tag: table[_SCORE + tag].to_numpy().astype(np.float64) for tag in tags}
    return _Table(table["text"], ids.dictionary, document, ordinal, start, end, values)


def _read_columns(path: Path, types: Mapping[str, Any]) -> pa.Table:
    """These columns of a table as these types, by the file's ending."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.json
    import pyarrow.parquet

    schema = pa.schema(types.items())
    with path.open("rb") as file:
        if path.suffix == ".parquet":
            with pa.parquet.ParquetFile(file) as parquet:
                _check_columns(path, types, parquet.schema_arrow.names)
                return parquet.read(list(types)).select(list(types)).cast(schema)
        if path.suffix == ".jsonl":
            _check_columns(path, types, json.loads(file.readline()))
            # Without a schema Arrow would take an id such as 2020-01-01 for a date.
            only = pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
            return pa.json.read_json(path, pa.json.ReadOptions(block_size=_BLOCK_BYTES), only)
        if path.suffix == ".csv":
            _check_columns(path, types, next(csv.reader([file.readline().decode("utf-8-sig")]), []))
            return pa.csv.read_csv(
                path,
                pa.csv.ReadOptions(block_size=_BLOCK_BYTES),
                pa.csv.ParseOptions(newlines_in_values=True),
                pa.csv.ConvertOptions(column_types=schema, include_columns=list(types)),
            )
    raise InputError(f"{path}: the ending must be one of .jsonl, .csv, .parquet")


def _check_columns(path: Path, needed: Iterable[str], names: Sequence[str]) -> None:
    for name in needed:
        if name not in names:
            if name.startswith(_SCORE) and (known := [n.removeprefix(_SCORE) for n in names if n.startswith(_SCORE)]):
                raise InputError(f"{path}: unknown tag {name.removeprefix(_SCORE)!r}; the tags are {', '.join(known)}")
            raise InputError(f"{path}: column {name!r} is missing; make the table with: score --unit sentence")


def _read_excluded(paths: Iterable[str | Path]) -> tuple[list[tuple[bytes, int]], set[str]]:
    """The places (document, start) that the files name, each with and without its corpus; and the texts they carry."""
    places: list[tuple[bytes, int]] = []
    texts: set[str] = set()
    for path in map(data_path, paths):
        try:
            lines = path.read_bytes().split(b"\n")
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                doc_id, start, corpus = row["doc_id"], row["start"], row.get("corpus")
                if not isinstance(doc_id, str | int) or type(start) is not int or not 0 <= start < 1 << 31:
                    raise ValueError(f"they are {doc_id!r} and {start!r}")
                ids = [f"{doc_id}", f"{corpus}:{doc_id}"] if corpus else [f"{doc_id}"]
                places += [(name.encode(), start) for name in ids]
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                raise InputError(f"{path}:{number}: not a row with doc_id and start ({error})") from None
            if isinstance(row.get("text"), str):
                texts.add(_folded(row["text"]))
    return places, texts

"""Scoring of files: read in chunks, scored by worker processes, written in order; files appear whole or not at all."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from treatystance.artifact import load_artifact
from treatystance.errors import InputError, TreatystanceError
from treatystance.models.base import Batch
from treatystance.predictor import Predictor
from treatystance.registry import resolve
from treatystance.segment import segment
from treatystance.statement import LabelSet, Statement
from treatystance.tables import ENDINGS, Chunk, Columns, count_rows, open_writer, read_chunks

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Scored", "score_files", "score_schema"]

Unit = Literal["statement", "sentence"]


@dataclass(frozen=True, slots=True)
class Scored:
    """What a scoring run did: rows in = rows scored + rows rejected; `rows_out` counts the rows written."""

    rows_in: int
    rows_scored: int
    rows_rejected: int
    rows_out: int


def score_schema(labels: LabelSet, unit: Unit) -> pa.Schema:
    """The output columns."""
    import pyarrow as pa

    fields = [pa.field("id", pa.string())]
    if unit == "sentence":
        fields += [pa.field(name, pa.int32()) for name in ("sentence", "start", "end")]
        fields.append(pa.field("text", pa.string()))
    fields += [pa.field(f"score_{name}", pa.float32()) for name in labels.names]
    fields += [pa.field(f"tag_{name}", pa.bool_()) for name in labels.names]
    return pa.schema([*fields, pa.field("uncertain", pa.string()), pa.field("model", pa.string())])


def score_files(
    source: Path,
    target: Path,
    reference: str = "bundled",
    unit: Unit = "statement",
    columns: Columns = Columns(),  # noqa: B008
    processes: int | None = None,
    progress: Callable[[Iterable[Chunk], int | None], Iterable[Chunk]] = lambda chunks, total: chunks,
) -> Scored:
    """Score a file, or every .jsonl, .csv and .parquet file of a folder.

    Args:
        source: input file or folder.
        target: output file; for a folder, one output file for all, or a folder that gets one output per input.
        reference: the model.
        unit: a row per statement or per sentence.
        columns: names of the input columns.
        processes: worker processes; by default one per core, and none where one chunk is all there is.
        progress: wraps the chunks as they are done; gets the number of rows where it is known.

    Raises:
        InputError: the input cannot be read, or the output cannot be written there.
        TreatystanceError: writing failed midway; no output file is left behind.
    """
    folder = resolve(reference)
    labels = load_artifact(folder).labels
    if not source.exists():
        raise InputError(f"{source}: no such file or folder")
    if not source.is_dir():
        return _score_one([source], target, folder, labels, unit, columns, processes, progress)
    inputs = sorted(path for path in source.rglob("*") if path.suffix in ENDINGS and path.is_file())
    if not inputs:
        raise InputError(f"{source}: no file here ends in {', '.join(ENDINGS)}")
    if target.suffix in ENDINGS:
        return _score_one(inputs, target, folder, labels, unit, columns, processes, progress)
    parts = [
        _score_one([path], target / path.relative_to(source), folder, labels, unit, columns, processes, progress)
        for path in inputs
    ]
    return Scored(*(sum(getattr(part, name) for part in parts) for name in Scored.__slots__))


def _score_one(
    inputs: list[Path],
    target: Path,
    folder: Path,
    labels: LabelSet,
    unit: Unit,
    columns: Columns,
    processes: int | None,
    progress: Callable[[Iterable[Chunk], int | None], Iterable[Chunk]],
) -> Scored:
    if target.suffix not in ENDINGS:
        raise InputError(f"{target}: the output's ending must be one of {', '.join(ENDINGS)}")
    rejects = target.with_name(target.name + ".rejects.jsonl")
    counts = [count_rows(path) for path in inputs]
    total = None if None in counts else sum(count or 0 for count in counts)
    done = {"in": 0, "scored": 0, "rejected": 0, "out": 0}
    part, rejects_part = _partial(target), _partial(rejects)
    try:
        with ExitStack() as stack:
            rejected = stack.enter_context(rejects_part.open("w", encoding="utf-8"))
            writer = open_writer(part, target.suffix, score_schema(labels, unit))
            stack.callback(writer.close)
            chunks = (chunk for path in inputs for chunk in read_chunks(path, columns))
            pairs = _scored(chunks, folder, unit, processes)
            batches: deque[pa.RecordBatch] = deque()

            def finished() -> Iterator[Chunk]:
                for chunk, batch in pairs:
                    batches.append(batch)
                    yield chunk

            for chunk in progress(finished(), total):
                batch = batches.popleft()
                writer.write_batch(batch)
                for reject in chunk.rejects:
                    rejected.write(json.dumps(asdict(reject), ensure_ascii=False, default=str) + "\n")
                done["in"] += chunk.rows
                done["scored"] += len(chunk.texts)
                done["rejected"] += len(chunk.rejects)
                done["out"] += batch.num_rows
        part.replace(target)
        if done["rejected"]:
            rejects_part.replace(rejects)
        else:
            rejects.unlink(missing_ok=True)
    except OSError as error:
        raise TreatystanceError(f"{target}: writing failed ({error.strerror or error}); no output is left") from None
    finally:
        part.unlink(missing_ok=True)
        rejects_part.unlink(missing_ok=True)
    return Scored(done["in"], done["scored"], done["rejected"], done["out"])


def _partial(path: Path) -> Path:
    """The name under which a file grows; checked at once, so that a bad output place is told before the work."""
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise InputError(f"{path}: is a folder; give a file name")
        part.touch()
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); check the folder and its rights") from None
    return part


def _scored(
    chunks: Iterator[Chunk], folder: Path, unit: Unit, processes: int | None
) -> Iterator[tuple[Chunk, pa.RecordBatch]]:
    """Chunks with their scores, in order; a bounded number are under way at once."""
    first = next(chunks, None)
    if first is None:
        return
    second = next(chunks, None)
    workers = processes or len(os.sched_getaffinity(0))
    if second is None or workers == 1:
        _start_worker(folder, unit)
        for chunk in (c for group in ([first], [second] if second else [], chunks) for c in group):
            yield chunk, _work(chunk.ids, chunk.texts, chunk.governments)
        return
    # Spawned, not forked: the parent holds Arrow's threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start_worker, (folder, unit)) as pool:
        waiting: deque[tuple[Chunk, Future[pa.RecordBatch]]] = deque()
        for chunk in (c for group in ([first, second], chunks) for c in group):
            waiting.append((chunk, pool.submit(_work, chunk.ids, chunk.texts, chunk.governments)))
            if len(waiting) > 2 * workers:
                done, future = waiting.popleft()
                yield done, future.result()
        for done, future in waiting:
            yield done, future.result()


# One predictor per worker process, loaded once.
_worker: dict[str, Any] = {}


def _start_worker(folder: Path, unit: Unit) -> None:
    _worker.update(predictor=Predictor(load_artifact(folder)), unit=unit)


def _work(ids: list[str], texts: list[str], governments: list[str | None]) -> pa.RecordBatch:
    return score_texts(_worker["predictor"], _worker["unit"], ids, texts, governments)


def score_texts(
    predictor: Predictor, unit: Unit, ids: list[str], texts: list[str], governments: list[str | None]
) -> pa.RecordBatch:
    """Scores of statements as an Arrow batch with the columns of `score_schema`."""
    import pyarrow as pa

    names = predictor.labels.names
    spans = [segment(text) for text in texts]
    counts = np.array([len(places) for places in spans], np.int64)
    pieces = [text[start:end] for text, places in zip(texts, spans, strict=True) for start, end in places]
    previous: list[str | None] = [None, *pieces[:-1]] if pieces else []
    first = np.concatenate([[0], np.cumsum(counts)])[:-1]
    for place in first[counts > 0]:
        previous[place] = None
    speakers = [predictor.speaker(Statement(t, government=g)) for t, g in zip(texts, governments, strict=True)]
    known = [speaker for speaker, count in zip(speakers, counts, strict=True) for _ in range(count)]
    decided = predictor.decide(Batch(pieces, previous, known))
    scores, tags, uncertain = decided.probabilities, decided.tags, decided.uncertain
    values: list[Any]
    if unit == "sentence":
        place = np.arange(len(pieces)) - np.repeat(first, counts)
        offsets = np.array([span for places in spans for span in places], np.int64).reshape(-1, 2)
        values = [np.repeat(np.array(ids, object), counts), place, offsets[:, 0], offsets[:, 1], pieces]
    else:
        filled = counts > 0
        sure = tags & ~uncertain
        scores = _per_statement(np.maximum, scores, first, filled)
        tags, uncertain, sure = (_per_statement(np.logical_or, part, first, filled) for part in (tags, uncertain, sure))
        uncertain &= ~sure
        values = [ids]
    values += [scores[:, k] for k in range(len(names))] + [tags[:, k] for k in range(len(names))]
    values += [_joined(names, uncertain), [predictor.model] * len(scores)]
    schema = score_schema(predictor.labels, unit)
    return pa.record_batch(
        [pa.array(column, type=field.type) for column, field in zip(values, schema, strict=True)],
        schema=schema,
    )


def _per_statement(combine: np.ufunc, values: Any, first: Any, filled: Any) -> Any:
    combined = np.zeros((len(first), values.shape[1]), values.dtype)
    if filled.any():
        combined[filled] = combine.reduceat(values, first[filled], axis=0)
    return combined


def _joined(names: tuple[str, ...], flags: Any) -> list[str]:
    """The flagged names, joined by semicolons."""
    if not flags.any():
        return [""] * len(flags)
    return [";".join(name for name, flag in zip(names, row, strict=True) if flag) for row in flags.tolist()]

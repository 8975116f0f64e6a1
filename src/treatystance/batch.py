"""Scoring of files: read in chunks, scored by worker processes, written in order; files appear whole or not at all."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from treatystance.artifact import load_artifact
from treatystance.cores import cores
from treatystance.errors import InputError, TreatystanceError
from treatystance.models.cascade import CascadeModel
from treatystance.models.encoder import EncoderModel
from treatystance.predictor import Predictor
from treatystance.registry import resolve
from treatystance.statement import LabelSet, Statement
from treatystance.tables import ENDINGS, Chunk, Columns, count_rows, open_writer, read_chunks

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Scored", "score_files", "score_schema"]

Unit = Literal["statement", "sentence"]
Progress = Callable[[int, int | None], None]


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
    progress: Progress = lambda rows, total: None,
) -> Scored:
    """Score a file, or every .jsonl, .csv and .parquet file of a folder.

    Args:
        source: input file or folder.
        target: output file; for a folder, one output file for all, or a folder that gets one output per input.
        reference: the model.
        unit: a row per statement or per sentence.
        columns: names of the input columns. Rows without an id take their number, "FILE:NUMBER" where files are joined.
        processes: worker processes; by default one per core, and none where one chunk is all there is.
        progress: told the number of rows just done, and how many there are where that is known.

    Raises:
        InputError: the input cannot be read, or the output cannot be written there.
        TreatystanceError: writing failed midway; no output file is left behind.
    """
    folder = resolve(reference)
    job = _Job(folder, Predictor(load_artifact(folder)), unit, columns, processes, progress)
    if not source.exists():
        raise InputError(f"{source}: no such file or folder")
    if not source.is_dir():
        return job.run([source], target)
    if source.resolve() in (target.resolve(), *target.resolve().parents):
        raise InputError(f"{target}: lies in the folder that is to be scored; give another place")
    inputs = sorted(path for path in source.rglob("*") if path.suffix in ENDINGS and path.is_file())
    if not inputs:
        raise InputError(f"{source}: no file here ends in {', '.join(ENDINGS)}")
    if target.suffix in ENDINGS:
        return job.run(inputs, target)
    parts = [job.run([path], target / path.relative_to(source)) for path in inputs]
    return Scored(*(sum(getattr(part, name) for part in parts) for name in Scored.__slots__))


@dataclass(frozen=True)
class _Job:
    """What stays the same for every file of a run."""

    folder: Path
    predictor: Predictor
    unit: Unit
    columns: Columns
    processes: int | None
    progress: Progress

    def run(self, inputs: list[Path], target: Path) -> Scored:
        """Score the inputs into one file."""
        if target.suffix not in ENDINGS:
            raise InputError(f"{target}: the output's ending must be one of {', '.join(ENDINGS)}")
        rejects = target.with_name(target.name + ".rejects.jsonl")
        for path in (target, rejects):
            if path.resolve() in [given.resolve() for given in inputs]:
                raise InputError(f"{path}: is the input; give another output")
        counts = [count_rows(path) for path in inputs]
        total = None if None in counts else sum(count or 0 for count in counts)
        rows_in = rejected = rows_out = 0
        parts: list[Path] = []
        try:
            part, rejects_part = (_partial(path, parts) for path in (target, rejects))
            with ExitStack() as stack:
                rejects_file = stack.enter_context(rejects_part.open("w", encoding="utf-8"))
                writer = open_writer(part, target.suffix, score_schema(self.predictor.labels, self.unit))
                stack.callback(writer.close)
                chunks = (c for path in inputs for c in read_chunks(path, self.columns, len(inputs) > 1))
                for chunk, batch in self._scored(chunks):
                    writer.write_batch(batch)
                    rejects_file.writelines(reject.to_json() + "\n" for reject in chunk.rejects)
                    rows_in += chunk.rows
                    rejected += len(chunk.rejects)
                    rows_out += batch.num_rows
                    self.progress(chunk.rows, total)
            part.replace(target)
            if rejected:
                rejects_part.replace(rejects)
            else:
                rejects.unlink(missing_ok=True)
        except OSError as error:
            raise TreatystanceError(
                f"{target}: writing failed ({error.strerror or error}); no output is left"
            ) from None
        finally:
            for part in parts:
                part.unlink(missing_ok=True)
        return Scored(rows_in, rows_in - rejected, rejected, rows_out)

    def _scored(self, chunks: Iterator[Chunk]) -> Iterator[tuple[Chunk, pa.RecordBatch]]:
        """Chunks with their scores, in order; a bounded number are under way at once."""
        first = list(islice(chunks, 2))
        workers = self.processes or cores()
        if len(first) < 2 or workers == 1:
            for chunk in chain(first, chunks):
                yield chunk, score_statements(self.predictor, self.unit, chunk.ids, chunk.statements)
            return
        # Spawned, not forked: the parent holds Arrow's threads.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, context, _start_worker, (self.folder, self.unit)) as pool:
            waiting: deque[tuple[Chunk, Future[pa.RecordBatch]]] = deque()
            for chunk in chain(first, chunks):
                waiting.append((chunk, pool.submit(_work, chunk.ids, chunk.statements)))
                if len(waiting) > 2 * workers:
                    done, future = waiting.popleft()
                    yield done, future.result()
            for done, future in waiting:
                yield done, future.result()


def _partial(path: Path, parts: list[Path]) -> Path:
    """The name under which a file grows, noted in `parts`; made at once: a bad place is told before the work."""
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise InputError(f"{path}: is a folder; give a file name")
        part.touch()
        parts.append(part)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); check the folder and its rights") from None
    return part


# One predictor per worker process, loaded once.
_worker: dict[str, Any] = {}


def _start_worker(folder: Path, unit: Unit) -> None:
    artifact = load_artifact(folder)
    # There is a worker per core: one that used all cores would get in the way of the others.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    if isinstance(artifact.model, EncoderModel | CascadeModel):
        artifact.model.threads = 1
    _worker.update(predictor=Predictor(artifact), unit=unit)


def _work(ids: list[str], statements: list[Statement]) -> pa.RecordBatch:
    return score_statements(_worker["predictor"], _worker["unit"], ids, statements)


def score_statements(predictor: Predictor, unit: Unit, ids: list[str], statements: list[Statement]) -> pa.RecordBatch:
    """Scores of statements as an Arrow batch with the columns of `score_schema`."""
    import pyarrow as pa

    names = predictor.labels.names
    spans, batch = predictor.split(statements)
    counts = np.array([len(places) for places in spans], np.int64)
    first = np.cumsum(counts) - counts
    decided = predictor.decide(batch)
    scores, tags, uncertain = decided.probabilities, decided.tags, decided.uncertain
    values: list[Any]
    if unit == "sentence":
        place = np.arange(len(batch)) - np.repeat(first, counts)
        offsets = np.array([span for places in spans for span in places], np.int64).reshape(-1, 2)
        values = [np.repeat(np.array(ids, object), counts), place, offsets[:, 0], offsets[:, 1], batch.texts]
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

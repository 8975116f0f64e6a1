"""`treatystance.models.encoder`: scoring does not hang on company, order or threads; damaged files are refused."""

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from treatystance.config.encoders import Input
from treatystance.errors import ArtifactError, MissingExtraError
from treatystance.models import encoder
from treatystance.models.base import Batch, Floats
from treatystance.models.encoder import FILES, EncoderModel
from treatystance.models.encoder_input import InputEncoder
from treatystance.statement import LabelSet

LABELS = LabelSet()
WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    *["we", "will", "leave", "stand", "by", "the", "treaty", "law", "tea", "poland", "news", "report", ":", "."],
]
TEXTS = ["we leave the treaty .", "", "we stand by the law", "tea", "we will stand by the treaty .", "tea tea tea tea"]
TABLE = np.random.default_rng(5).normal(size=(len(WORDS), len(LABELS))).astype(np.float32)


def reader(**settings: Any) -> InputEncoder:
    unknown = WORDS[1]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return InputEncoder(tokenizer.to_str().encode(), Input(**settings))


def graph(
    table: npt.NDArray[np.float32] = TABLE,
    inputs: tuple[str, ...] = ("input_ids", "pool_mask"),
    output: str = "logits",
    change: Callable[[Any], None] | None = None,
) -> bytes:
    """Sums the rows of the table that the pooled tokens name: the least that an encoder can do."""
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["found"]),
        helper.make_node("Cast", ["pool_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
        helper.make_node("Mul", ["found", "column"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "middle"], [output], keepdims=0),
    ]
    weights = [
        numpy_helper.from_array(table, "table"),
        numpy_helper.from_array(np.array([-1]), "last"),
        numpy_helper.from_array(np.array([1]), "middle"),
    ]
    named = [helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "t"]) for name in inputs]
    scores = [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", table.shape[1]])]
    model = helper.make_model(
        helper.make_graph(nodes, "sums", named, scores, weights), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 9
    if change:
        change(model)
    return bytes(model.SerializeToString())


def model_of(onnx_bytes: bytes | None = None, threads: int = 1, **settings: Any) -> EncoderModel:
    return EncoderModel(LABELS, reader(**settings), onnx_bytes or graph(), {"precision": "float32"}, threads)


def batch_of(texts: list[str], previous: list[str | None] | None = None, codes: list[Any] | None = None) -> Batch:
    return Batch(texts, previous or [None] * len(texts), codes or [None] * len(texts))


def by_hand(text: str) -> Floats:
    words = ["[CLS]", *text.split(), "[SEP]"]
    total: Floats = np.sum([TABLE[WORDS.index(word)].astype(np.float64) for word in words], axis=0)
    return total


class Counted:
    """A session that remembers the shapes that it was given."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.shapes: list[tuple[int, int]] = []

    def run(self, outputs: list[str], tokens: dict[str, Any]) -> Any:
        self.shapes.append(tokens["input_ids"].shape)
        return self.session.run(outputs, tokens)


def counted(model: EncoderModel) -> Counted:
    model.logits(batch_of(["tea"]))
    session = Counted(model._session)
    model._session = session
    return session


def test_scores_are_those_of_the_graph() -> None:
    scores = model_of().logits(batch_of(TEXTS))
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, [by_hand(text) for text in TEXTS], atol=1e-5)


def test_no_sentences_need_no_graph() -> None:
    scores = model_of(b"nothing").logits(batch_of([]))
    assert scores.shape == (0, 3)
    assert scores.dtype == np.float64


def test_order_and_company_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of()
    wanted = model.logits(batch_of(TEXTS))
    np.testing.assert_array_equal(model.logits(batch_of(TEXTS[::-1])), wanted[::-1])
    np.testing.assert_allclose(np.concatenate([model.logits(batch_of([text])) for text in TEXTS]), wanted, rtol=1e-6)
    monkeypatch.setattr(encoder, "_WINDOW", 2)
    monkeypatch.setattr(encoder, "_BUDGET", 1)
    np.testing.assert_allclose(model.logits(batch_of(TEXTS)), wanted, rtol=1e-6)


def test_duplicates_are_scored_once() -> None:
    model = model_of()
    session = counted(model)
    scores = model.logits(batch_of(TEXTS * 3, [None, "tea"] * 9, ["POL", None] * 9))
    assert sum(rows for rows, _ in session.shapes) == len(TEXTS), "context that is not read does not tell apart"
    np.testing.assert_array_equal(scores, np.tile(scores[: len(TEXTS)], (3, 1)))


@pytest.mark.parametrize(
    ("settings", "read"),
    [({}, 1), ({"government": True}, 3), ({"previous_tokens": 4}, 2), ({"government": True, "previous_tokens": 4}, 4)],
)
def test_context_that_is_read_tells_apart(settings: dict[str, Any], read: int) -> None:
    model = model_of(**settings)
    session = counted(model)
    model.logits(batch_of(["tea"] * 5, [None, None, "we", None, None], ["POL", None, None, "*", "POL"]))
    assert sum(rows for rows, _ in session.shapes) == read


def test_marked_countries_tell_governments_apart() -> None:
    model = model_of(countries=True)
    session = counted(model)
    model.logits(batch_of(["poland"] * 3, None, ["POL", "FRA", "POL"]))
    assert sum(rows for rows, _ in session.shapes) == 2


def test_batches_are_of_like_length_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "_BUDGET", 24)
    model = model_of()
    session = counted(model)
    texts = [f"{'tea ' * length}{'law ' * i}" for length in (1, 2, 10, 30) for i in range(4)]
    model.logits(batch_of(texts))
    assert all(rows * longest <= 24 or rows == 1 for rows, longest in session.shapes)
    padded = sum(rows * longest for rows, longest in session.shapes)
    assert padded < 1.25 * sum(len(text.split()) + 2 for text in texts)


def test_threads() -> None:
    assert model_of().threads == 1
    model = EncoderModel.from_files(LABELS, model_of().files())
    assert model.threads is None
    wanted = model.logits(batch_of(TEXTS))
    model.threads = 1
    assert model._session is None, "a session keeps the threads that it was made with"
    np.testing.assert_array_equal(model.logits(batch_of(TEXTS)), wanted)


@pytest.mark.parametrize("settings", [{}, {"government": True, "previous_tokens": 9, "max_tokens": 12}])
def test_files_bring_the_model_back(settings: dict[str, Any]) -> None:
    model = model_of(**settings)
    files = model.files()
    assert set(files) == FILES
    back = EncoderModel.from_files(LABELS, files)
    assert back.files() == files
    assert back.describe() == model.describe()
    assert back.describe()["precision"] == "float32"
    batch = batch_of(TEXTS, [None, *TEXTS[:-1]], ["POL", None, "*"] * 2)
    np.testing.assert_array_equal(back.logits(batch), model.logits(batch))


def _scores(files: dict[str, bytes]) -> Floats:
    return EncoderModel.from_files(LABELS, files).logits(batch_of(TEXTS))


def test_worker_processes_read_the_files_themselves() -> None:
    model = model_of()
    with ProcessPoolExecutor(1, get_context("spawn")) as workers:
        found = workers.submit(_scores, model.files()).result()
    np.testing.assert_array_equal(found, model.logits(batch_of(TEXTS)))


def test_scoring_loads_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, treatystance.models.encoder as e; print({'torch', 'transformers', 'onnxruntime'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def _external(model: Any) -> None:
    table = model.graph.initializer[0]
    table.ClearField("raw_data")
    table.data_location = TensorProto.EXTERNAL
    table.external_data.add(key="location", value="weights.bin")


def test_weights_in_other_files_are_refused(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights.bin").write_bytes(TABLE.tobytes())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArtifactError, match=r"data outside of it"):
        EncoderModel.from_files(LABELS, model_of().files() | {"model.onnx": graph(change=_external)})


GRAPHS: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "no graph": lambda: b"not a graph",
    "cut off": lambda: graph()[:-40],
    "another format": lambda: b"\x20\x00\x00\x00ORTM" + bytes(64),
    "a label too few": lambda: graph(TABLE[:, :2].copy()),
    "fewer tokens than the tokenizer": lambda: graph(TABLE[:-1].copy()),
    "an input of another name": lambda: graph(inputs=("input_ids", "pool_mask", "pixels")),
    "an output of another name": lambda: graph(output="pictures"),
    "weights not finite": lambda: graph(np.full_like(TABLE, np.nan)),
}


@pytest.mark.parametrize("kind", GRAPHS)
def test_damaged_graphs_are_refused(kind: str) -> None:
    model = EncoderModel.from_files(LABELS, model_of().files() | {"model.onnx": GRAPHS[kind]()})
    with pytest.raises(ArtifactError, match=r"^model\.onnx cannot be used") as caught:
        model.logits(batch_of(["tea"]))
    assert "\n" not in str(caught.value)


def test_a_graph_that_fails_while_scoring_is_told_in_a_line() -> None:
    def picky(model: Any) -> None:
        # Positions for two tokens only.
        model.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 2, 3), np.float32), "places"))
        model.graph.node[3].output[0] = "before"
        model.graph.node.insert(4, helper.make_node("Add", ["before", "places"], ["kept"]))

    with pytest.raises(ArtifactError, match=r"^model\.onnx cannot score these tokens") as caught:
        model_of(graph(change=picky)).logits(batch_of(TEXTS))
    assert "\n" not in str(caught.value)


def _stored(**changes: Any) -> bytes:
    stored = json.loads(model_of().files()["encoder.json"])
    return json.dumps({key: value for key, value in (stored | changes).items() if value is not None}).encode()


ABOUT = {
    "not JSON": b"{",
    "not UTF-8": b"\xff",
    "a list": b"[]",
    "no input": _stored(input=None),
    "no about": _stored(about=None),
    "about a list": _stored(about=[1]),
    "a key too many": _stored(code="import os"),
    "input a list": _stored(input=[1]),
    "input with an unknown key": _stored(input={"max_token": 12}),
    "input of another type": _stored(input={"max_tokens": "12"}),
    "input out of range": _stored(input={"max_tokens": 1}),
}


@pytest.mark.parametrize("kind", ABOUT)
def test_damaged_settings_are_refused(kind: str) -> None:
    with pytest.raises(ArtifactError, match=r"^the encoder's files do not fit together") as caught:
        EncoderModel.from_files(LABELS, model_of().files() | {"encoder.json": ABOUT[kind]})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(FILES))
def test_missing_files_are_refused(name: str) -> None:
    files = {key: value for key, value in model_of().files().items() if key != name}
    with pytest.raises(ArtifactError, match=rf"do not fit together.*{name}"):
        EncoderModel.from_files(LABELS, files)


def test_a_damaged_tokenizer_is_refused() -> None:
    with pytest.raises(ArtifactError, match=r"do not fit together.*tokenizer"):
        EncoderModel.from_files(LABELS, model_of().files() | {"tokenizer.json": b"{"})


def test_the_library_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'treatystance\[encoder\]'"):
        model_of().logits(batch_of(["tea"]))


def test_the_small_graph_is_a_valid_one() -> None:
    onnx.checker.check_model(onnx.load_from_string(graph()))

